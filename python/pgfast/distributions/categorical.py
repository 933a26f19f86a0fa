"""One choice per row."""

from __future__ import annotations

from pgfast._native import core
from pgfast._typing import FloatArray, IntArray
from pgfast.distributions.distribution import Distribution

__all__ = ["Categorical"]


class Categorical(Distribution[IntArray]):
    """A categorical distribution for each row of ``logits`` ``[B, A]``: p = softmax(logits).

    Actions are ``[B]`` int64 in [0, A). Logits up to 1e38 either way are exact, in float32 too; beyond, a
    log-probability may be -inf and a KL divergence +inf. An action whose probability underflows to 0 adds nothing to
    entropy, KL divergence and their gradients, and is never drawn.
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
        self._require_family("kl", "other", other)
        return core.categorical_kl(self.logits, other.logits)

    def probabilities(self) -> FloatArray:
        """p, ``[B, A]``."""
        return core.categorical_probabilities(self.logits)

    def likelihood_ratio(self, old: Categorical, actions: IntArray) -> FloatArray:
        """p(actions) / p_old(actions), ``[B]``; the log-ratio is clamped to +-80 so that the ratio stays finite."""
        self._require_family("likelihood_ratio", "old", old)
        return core.categorical_likelihood_ratio(self.logits, old.logits, actions)

    def sample_at(self, seed: int, stream: int, environment: int, step: int) -> tuple[IntArray, FloatArray]:
        """Actions ``[B]`` and their log-probabilities ``[B]``, by one uniform number per row and the inverse CDF."""
        return core.categorical_sample(self.logits, seed, stream, environment, step)

    def mode(self) -> IntArray:
        """The most probable action, ``[B]`` int64; the first where several are."""
        return core.categorical_mode(self.logits)

    def gradient(
        self, actions: IntArray, weight_log_prob: FloatArray, weight_entropy: FloatArray | None = None
    ) -> tuple[FloatArray]:
        """``(dlogits [B, A],)``: the gradient of sum_b weight_log_prob_b log p_b(action_b) + weight_entropy_b H_b.

        dlogits_a = weight_log_prob ([a = action] - p_a) - weight_entropy p_a (log p_a + H)
        """
        return (core.categorical_gradient(self.logits, actions, weight_log_prob, weight_entropy),)
