"""The common interface of the distributions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, Self, TypeVar

from pgfast._typing import Array, FloatArray
from pgfast.random import Rng, as_rng

__all__ = ["Distribution"]

Actions = TypeVar("Actions", bound=Array)


class Distribution(ABC, Generic[Actions]):
    """A distribution of actions for each of B rows, all of one family.

    Parameters are float32 or float64, finite and C-contiguous. The methods check them; the constructor does not.
    Results are new arrays of the parameters' dtype, with one number per row, ``[B]``, unless stated otherwise. A result
    is infinite if its value lies outside the range of the dtype; it is never NaN.

    Every method raises ``TypeError`` if a dtype is wrong or the families differ, and ``ValueError`` if a shape or
    layout is wrong, a number is not finite, or an action is out of range.
    """

    @abstractmethod
    def log_prob(self, actions: Actions) -> FloatArray:
        """Returns log p(actions), ``[B]``."""

    @abstractmethod
    def entropy(self) -> FloatArray:
        """Returns the entropy H, ``[B]``, in nats."""

    @abstractmethod
    def kl(self, other: Self) -> FloatArray:
        """Returns KL(self, other), ``[B]``, in nats, never negative."""

    @abstractmethod
    def likelihood_ratio(self, old: Self, actions: Actions) -> FloatArray:
        """Returns p(actions) / p_old(actions), ``[B]``.

        The log-ratio is clamped to [-80, 80], which keeps the ratio finite and positive in either dtype. If both
        log-probabilities are the same infinity, the ratio is 1.
        """

    def sample(self, rng: int | Rng) -> Actions:
        """Draws an action for each row.

        Args:
            rng: a seed, or a generator, which advances by one position. Every row draws different numbers.
        """
        return self.sample_with_log_prob(rng)[0]

    def sample_with_log_prob(self, rng: int | Rng) -> tuple[Actions, FloatArray]:
        """Returns the actions of :meth:`sample` and their log-probabilities ``[B]``."""
        return self.sample_at(*as_rng(rng).next_key())

    @property
    @abstractmethod
    def draws(self) -> int:
        """Number of draws that the sample of a row takes."""

    @abstractmethod
    def sample_at(
        self, seed: int, stream: int, environment: int, step: int, draw: int = 0
    ) -> tuple[Actions, FloatArray]:
        """Draws actions with the random numbers of a key; row b uses (seed, stream, environment + b, step).

        Args:
            seed: of 64 bits.
            stream: of 16 bits, one of ``pgfast._streams``.
            environment: of 32 bits.
            step: of 48 bits.
            draw: the first of each row's ``draws``, of 32 bits.

        Returns:
            The actions and their log-probabilities ``[B]``.
        """

    @abstractmethod
    def mode(self) -> Actions:
        """Returns the most probable action of each row."""

    @abstractmethod
    def gradient(
        self, actions: Actions, weight_log_prob: FloatArray, weight_entropy: FloatArray | None = None
    ) -> tuple[FloatArray, ...]:
        """Computes the gradient of weighted log-probabilities and entropies in the parameters.

        f = sum_b weight_log_prob_b log p_b(actions_b) + weight_entropy_b H_b

        Args:
            actions: of B rows.
            weight_log_prob: ``[B]``, finite.
            weight_entropy: ``[B]``, finite; None for zero.

        Returns:
            The gradient of f in each parameter array, of its shape.
        """

    def _require_family(self, method: str, name: str, other: Distribution[Any]) -> None:
        """Raises ``TypeError`` unless ``other`` is of the same family."""
        family = type(self)
        if not isinstance(other, family):
            raise TypeError(
                f"{family.__name__}.{method}: {name} must be a {family.__name__}, got {type(other).__name__}"
            )
