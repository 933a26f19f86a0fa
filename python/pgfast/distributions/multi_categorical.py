"""Several independent choices per row."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from pgfast._native import core
from pgfast._typing import FloatArray, IntArray
from pgfast.distributions.distribution import Distribution

__all__ = ["MultiCategorical"]


class MultiCategorical(Distribution[IntArray]):
    """K independent categorical distributions for each row of ``logits`` ``[B, sum(sizes)]``.

    ``sizes``, K ints of at least 1, say how many columns belong to each, in order. Actions are ``[B, K]`` int64, column
    k in [0, sizes[k]). Log-probability, entropy and KL divergence are sums over the K groups. A MultiBinary space has
    sizes of 2: the action is 1 with probability sigmoid(l_1 - l_0).

    Extremes are those of :class:`Categorical`, group by group. Raises ``TypeError`` if a size is not an int.
    """

    def __init__(self, logits: FloatArray, sizes: Iterable[int]) -> None:
        self.logits = logits
        try:
            self.sizes = tuple(operator.index(size) for size in sizes)
        except TypeError as error:
            raise TypeError(f"MultiCategorical: sizes must be ints: {error}") from None

    def log_prob(self, actions: IntArray) -> FloatArray:
        """sum_k log p_k(actions_k), ``[B]``, for ``actions`` ``[B, K]`` int64."""
        return core.multi_categorical_log_prob(self.logits, self.sizes, actions)

    def entropy(self) -> FloatArray:
        """H = -sum_k sum_a p_ka log p_ka, ``[B]``, in nats."""
        return core.multi_categorical_entropy(self.logits, self.sizes)

    def kl(self, other: MultiCategorical) -> FloatArray:
        """KL(self, other) = sum_k KL(p_k, q_k), ``[B]``, in nats, never negative; the sizes must be the same."""
        self._require_family("kl", "other", other)
        return core.multi_categorical_kl(self.logits, self.sizes, other.logits)

    def likelihood_ratio(self, old: MultiCategorical, actions: IntArray) -> FloatArray:
        """p(actions) / p_old(actions), ``[B]``; the log-ratio is clamped to +-80 so that the ratio stays finite."""
        self._require_family("likelihood_ratio", "old", old)
        return core.multi_categorical_likelihood_ratio(self.logits, self.sizes, old.logits, actions)

    def sample_at(self, seed: int, stream: int, environment: int, step: int) -> tuple[IntArray, FloatArray]:
        """Actions ``[B, K]`` and their log-probabilities ``[B]``; group k draws with the number of draw k."""
        return core.multi_categorical_sample(self.logits, self.sizes, seed, stream, environment, step)

    def mode(self) -> IntArray:
        """The most probable action of each group, ``[B, K]`` int64; the first where several are."""
        return core.multi_categorical_mode(self.logits, self.sizes)

    def gradient(
        self, actions: IntArray, weight_log_prob: FloatArray, weight_entropy: FloatArray | None = None
    ) -> tuple[FloatArray]:
        """``(dlogits [B, sum(sizes)],)``: in the columns of each group the gradient of :meth:`Categorical.gradient`."""
        return (core.multi_categorical_gradient(self.logits, self.sizes, actions, weight_log_prob, weight_entropy),)

    def _require_family(self, method: str, name: str, other: Distribution[Any]) -> None:
        super()._require_family(method, name, other)
        if isinstance(other, MultiCategorical) and other.sizes != self.sizes:
            raise ValueError(f"MultiCategorical.{method}: {name} must have sizes {self.sizes}, got {other.sizes}")
