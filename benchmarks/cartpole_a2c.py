"""A2C on CartPole-v1, 16 environments x 5 steps, compared with stable-baselines3 with the same settings.

stable-baselines3 gets one thread or all, whichever is faster for it. It has two 64-64 MLPs, one for the policy and one
for the value; pgfast has one for both.

python benchmarks/cartpole_a2c.py [--rounds 5] [--smoke]
"""

from __future__ import annotations

import pgfast
from harness import CONTINUE, Bench, main, training_speed
from peers.sb3_a2c import sb3_a2c

NUM_ENVS, N_STEPS = 16, 5
TIMESTEPS = 32_000  # per round


def measure(bench: Bench) -> None:
    timesteps = NUM_ENVS * N_STEPS if bench.smoke else TIMESTEPS
    settings = {"num_envs": NUM_ENVS, "n_steps": N_STEPS, "learning_rate": 7e-4, "entropy_coef": 0.0}
    ours = pgfast.A2C("CartPole-v1", preset=None, **settings, **CONTINUE)
    peer = sb3_a2c("CartPole-v1", NUM_ENVS, n_steps=N_STEPS)
    if not bench.smoke:
        training_speed(ours, timesteps // 2)
        peer.choose_threads(timesteps // 4)
    case = f"{NUM_ENVS} x {N_STEPS}"
    bench.compare_trainings(case, ours, peer, timesteps, peer="stable-baselines3", note=peer.note)


if __name__ == "__main__":
    main("cartpole_a2c", measure, __doc__, rounds=5)
