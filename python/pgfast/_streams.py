"""The streams of the counter-based random numbers: one per use, so that no two uses draw the same numbers.

(seed, stream, environment, step) identifies a number; see ``cpp/pgfast/base/random.hpp``.
"""

INITIAL_WEIGHTS = 1  # fixed in cpp/pgfast/nn/initialization.cpp
ACTIONS = 2
ENVIRONMENT_SEEDS = 3
EVALUATION_ACTIONS = 4
EVALUATION_SEEDS = 5
PREDICTION = 6
BASELINE_BATCHES = 7
FISHER_ROWS = 8
MINIBATCHES = 9
CRITIC_SAMPLES = 10
USER = 16  # pgfast.Rng(seed, stream) draws from USER + stream
