"""Action distributions over rows."""

from __future__ import annotations

import numpy as np

from pgfast._native import core
from pgfast._typing import FloatArray, IntArray
from pgfast.random import Rng, as_rng

__all__ = ["Categorical"]


class Categorical:
    """A categorical distribution for each row of ``logits`` ``[B, A]``: p = softmax(logits).

    Logits must be finite, float32 or float64, C-contiguous; values up to 1e38 either way are exact. Methods raise
    ``TypeError`` or ``ValueError`` as :mod:`pgfast.kernels` does.
    """

    def __init__(self, logits: FloatArray) -> None:
        self.logits = logits

    def log_prob(self, actions: IntArray) -> FloatArray:
        """log p(actions), ``[B]``, for ``actions`` ``[B]`` int64 in [0, A)."""
        return core.categorical_log_prob(self.logits, actions)

    def entropy(self) -> FloatArray:
        """H = -sum_a p_a log p_a, ``[B]``, in nats."""
        return core.categorical_entropy(self.logits)

    def kl(self, other: Categorical) -> FloatArray:
        """KL(self, other) = sum_a p_a (log p_a - log q_a), ``[B]``, in nats, never negative."""
        return core.categorical_kl(self.logits, other.logits)

    def probabilities(self) -> FloatArray:
        """p, ``[B, A]``."""
        return core.categorical_probabilities(self.logits)

    def likelihood_ratio(self, old: Categorical, actions: IntArray) -> FloatArray:
        """p(actions) / p_old(actions), ``[B]``; the log-ratio is clamped to +-80 so that the ratio stays finite."""
        new_log_prob, old_log_prob = self.log_prob(actions), old.log_prob(actions)
        if new_log_prob.dtype != old_log_prob.dtype:
            raise TypeError(
                f"Categorical.likelihood_ratio: old must be {new_log_prob.dtype} as logits, got {old_log_prob.dtype}"
            )
        # Clamped first: for logits near the largest float both may be -inf, whose difference is not a number.
        lowest = np.finfo(new_log_prob.dtype).min / 2
        log_ratio = np.maximum(new_log_prob, lowest) - np.maximum(old_log_prob, lowest)
        ratio: FloatArray = np.exp(np.clip(log_ratio, -80.0, 80.0))
        return ratio

    def sample(self, rng: int | Rng) -> IntArray:
        """Actions ``[B]`` int64; row b draws its own number from ``rng`` (a seed, or a generator that advances)."""
        return self.sample_with_log_prob(rng)[0]

    def sample_with_log_prob(self, rng: int | Rng) -> tuple[IntArray, FloatArray]:
        """:meth:`sample`, and the log-probability ``[B]`` of what was drawn."""
        seed, stream, step = as_rng(rng).next_key()
        return core.categorical_sample(self.logits, seed, stream, 0, step)

    def mode(self) -> IntArray:
        """The most probable action, ``[B]`` int64; the first where several are."""
        return core.categorical_mode(self.logits)
