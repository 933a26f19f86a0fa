"""One choice per row, or several independent ones."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any, Self

from pgfast._native import core
from pgfast._typing import FloatArray, IntArray
from pgfast.distributions.distribution import Distribution

__all__ = ["Categorical", "MultiCategorical"]


class _GroupedCategorical(Distribution[IntArray]):
    """A choice in each group of the columns of ``logits``; ``sizes`` of None is one group, whose axis actions lack."""

    logits: FloatArray
    sizes: tuple[int, ...] | None = None

    def log_prob(self, actions: IntArray) -> FloatArray:
        """log p(actions) = sum_k log p_k(actions_k), ``[B]``, for int64 actions in the range of each group."""
        return core.categorical_log_prob(self.logits, self.sizes, actions)

    def entropy(self) -> FloatArray:
        """H = -sum_k sum_a p_ka log p_ka, ``[B]``, in nats."""
        return core.categorical_entropy(self.logits, self.sizes)

    def kl(self, other: Self) -> FloatArray:
        """KL(self, other) = sum_k sum_a p_ka (log p_ka - log q_ka), ``[B]``, in nats, never negative.

        Sizes must be the same.
        """
        self._require_family("kl", "other", other)
        return core.categorical_kl(self.logits, self.sizes, other.logits)

    def likelihood_ratio(self, old: Self, actions: IntArray) -> FloatArray:
        """p(actions) / p_old(actions), ``[B]``; the log-ratio is clamped to +-80 so that the ratio stays finite."""
        self._require_family("likelihood_ratio", "old", old)
        return core.categorical_likelihood_ratio(self.logits, self.sizes, old.logits, actions)

    def sample_at(self, seed: int, stream: int, environment: int, step: int) -> tuple[IntArray, FloatArray]:
        """Actions and their log-probabilities ``[B]``, by the inverse CDF; group k takes the number of draw k."""
        return core.categorical_sample(self.logits, self.sizes, seed, stream, environment, step)

    def mode(self) -> IntArray:
        """The most probable action of each group, int64; the first where several are."""
        return core.categorical_mode(self.logits, self.sizes)

    def gradient(
        self, actions: IntArray, weight_log_prob: FloatArray, weight_entropy: FloatArray | None = None
    ) -> tuple[FloatArray]:
        """``(dlogits,)``: the gradient of sum_b weight_log_prob_b log p_b(actions_b) + weight_entropy_b H_b.

        dlogits_a = weight_log_prob ([a = action] - p_a) - weight_entropy p_a (log p_a + H) in each group
        """
        return (core.categorical_gradient(self.logits, self.sizes, actions, weight_log_prob, weight_entropy),)


class Categorical(_GroupedCategorical):
    """A categorical distribution for each row of ``logits`` ``[B, A]``: p = softmax(logits).

    Actions are ``[B]`` int64 in [0, A). Logits up to 1e38 either way are exact, in float32 too; beyond, a
    log-probability may be -inf and a KL divergence +inf. An action whose probability underflows to 0 adds nothing to
    entropy, KL divergence and their gradients, and is never drawn.
    """

    def __init__(self, logits: FloatArray) -> None:
        self.logits = logits

    def probabilities(self) -> FloatArray:
        """p, ``[B, A]``."""
        return core.categorical_probabilities(self.logits)


class MultiCategorical(_GroupedCategorical):
    """K independent categorical distributions for each row of ``logits`` ``[B, sum(sizes)]``.

    ``sizes``, K ints of at least 1, say how many columns belong to each, in order. Actions are ``[B, K]`` int64, column
    k in [0, sizes[k]). Log-probability, entropy and KL divergence are sums over the K groups. A MultiBinary space has
    sizes of 2: the action is 1 with probability sigmoid(l_1 - l_0).

    Extremes are those of :class:`Categorical`, group by group. Raises ``TypeError`` if a size is not an int.
    """

    sizes: tuple[int, ...]

    def __init__(self, logits: FloatArray, sizes: Iterable[int]) -> None:
        self.logits = logits
        try:
            self.sizes = tuple(operator.index(size) for size in sizes)
        except TypeError as error:
            raise TypeError(f"MultiCategorical: sizes must be ints: {error}") from None

    def _require_family(self, method: str, name: str, other: Distribution[Any]) -> None:
        super()._require_family(method, name, other)
        if isinstance(other, MultiCategorical) and other.sizes != self.sizes:
            raise ValueError(f"MultiCategorical.{method}: {name} must have sizes {self.sizes}, got {other.sizes}")
