"""Categorical distributions: one choice per row, or several independent ones."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any, Self

from pgfast._native import core
from pgfast._typing import BoolArray, FloatArray, IntArray
from pgfast.distributions.distribution import Distribution

__all__ = ["Categorical", "MultiCategorical"]


class _GroupedCategorical(Distribution[IntArray]):
    """One choice per group of columns of ``logits``; ``sizes`` None is one group with actions ``[B]``.

    ``mask`` is True where an action may be taken; None allows all.
    """

    logits: FloatArray
    sizes: tuple[int, ...] | None = None
    mask: BoolArray | None

    def log_prob(self, actions: IntArray) -> FloatArray:
        """Returns log p(actions), ``[B]``; -inf if the mask forbids an action.

        log p(actions) = sum_k log p_k(actions_k)
        """
        return core.categorical_log_prob(self.logits, self.sizes, self.mask, actions)

    def entropy(self) -> FloatArray:
        """Returns the entropy, ``[B]``, in nats.

        H = -sum_k sum_a p_ka log p_ka
        """
        return core.categorical_entropy(self.logits, self.sizes, self.mask)

    def kl(self, other: Self) -> FloatArray:
        """Returns KL(self, other), ``[B]``, in nats, never negative; both must have the same sizes.

        KL(p, q) = sum_k sum_a p_ka (log p_ka - log q_ka)

        It is +inf if the mask of ``other`` forbids an action that ``self`` can take.
        """
        self._require_family("kl", "other", other)
        return core.categorical_kl(self.logits, self.sizes, self.mask, other.logits, other.mask)

    def likelihood_ratio(self, old: Self, actions: IntArray) -> FloatArray:
        self._require_family("likelihood_ratio", "old", old)
        return core.categorical_likelihood_ratio(self.logits, self.sizes, self.mask, old.logits, old.mask, actions)

    @property
    def draws(self) -> int:
        return 1 if self.sizes is None else len(self.sizes)

    def sample_at(
        self, seed: int, stream: int, environment: int, step: int, draw: int = 0
    ) -> tuple[IntArray, FloatArray]:
        """Draws actions by the inverse CDF and returns them with their log-probabilities ``[B]``.

        Row b uses the random numbers of (seed, stream, environment + b, step), group k that of draw
        ``draw`` + k.
        """
        return core.categorical_sample(self.logits, self.sizes, self.mask, seed, stream, environment, step, draw)

    def mode(self) -> IntArray:
        """Returns the most probable action of each group, int64; the first allowed one in a tie."""
        return core.categorical_mode(self.logits, self.sizes, self.mask)

    def gradient(
        self, actions: IntArray, weight_log_prob: FloatArray, weight_entropy: FloatArray | None = None
    ) -> tuple[FloatArray]:
        """Computes the gradient of weighted log-probabilities and entropies in the logits.

        f = sum_b weight_log_prob_b log p_b(actions_b) + weight_entropy_b H_b
        df / dlogits_a = weight_log_prob ([a = action] - p_a) - weight_entropy p_a (log p_a + H) in each group

        It is exactly 0 for actions that the mask forbids. The weight of a log-probability of -inf counts as 0.

        Args:
            actions: of B rows.
            weight_log_prob: ``[B]``, finite.
            weight_entropy: ``[B]``, finite; None for zero.

        Returns:
            ``(dlogits,)``, of the shape of ``logits``.
        """
        return (
            core.categorical_gradient(self.logits, self.sizes, self.mask, actions, weight_log_prob, weight_entropy),
        )


class Categorical(_GroupedCategorical):
    """A categorical distribution for each row: p = softmax(logits).

    Actions are ``[B]`` int64 in [0, A). Logits in [-1e38, 1e38] are exact, in float32 too. Beyond that range, a
    log-probability may be -inf and a KL divergence +inf. An action whose probability underflows to 0 adds nothing to
    entropy, KL divergence and their gradients, and is never drawn. The same holds for an action that the mask forbids:
    its probability is exactly 0, whatever its logit.

    Args:
        logits: ``[B, A]``, kept without a copy.
        mask: ``[B, A]`` bool, True for the actions that may be taken, at least one in each row; None if all may.
            Kept without a copy.
    """

    def __init__(self, logits: FloatArray, mask: BoolArray | None = None) -> None:
        self.logits, self.mask = logits, mask

    def probabilities(self) -> FloatArray:
        """Returns p, ``[B, A]``."""
        return core.categorical_probabilities(self.logits, self.mask)


class MultiCategorical(_GroupedCategorical):
    """K independent categorical distributions for each row.

    Actions are ``[B, K]`` int64, column k in [0, sizes[k]). Log-probability, entropy and KL divergence are sums over
    the K groups. A MultiBinary space has sizes of 2: the action is 1 with probability sigmoid(l_1 - l_0). Extreme
    logits and masks behave as in :class:`Categorical`, group by group.

    Args:
        logits: ``[B, sum(sizes)]``, the columns of the groups in order; kept without a copy.
        sizes: K ints of at least 1, the number of columns of each group.
        mask: ``[B, sum(sizes)]`` bool, True for the actions that may be taken, at least one in each group of each row;
            None if all may. Kept without a copy.

    Raises:
        TypeError: if a size is not an int.
    """

    sizes: tuple[int, ...]

    def __init__(self, logits: FloatArray, sizes: Iterable[int], mask: BoolArray | None = None) -> None:
        self.logits, self.mask = logits, mask
        try:
            self.sizes = tuple(operator.index(size) for size in sizes)
        except TypeError as error:
            raise TypeError(f"MultiCategorical: sizes must be ints: {error}") from None

    def _require_family(self, method: str, name: str, other: Distribution[Any]) -> None:
        super()._require_family(method, name, other)
        if isinstance(other, MultiCategorical) and other.sizes != self.sizes:
            raise ValueError(f"MultiCategorical.{method}: {name} must have sizes {self.sizes}, got {other.sizes}")
