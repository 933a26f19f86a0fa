"""The interface that the distributions share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, Self, TypeVar

from pgfast._typing import Array, FloatArray
from pgfast.random import Rng, as_rng

__all__ = ["Distribution"]

Actions = TypeVar("Actions", bound=Array)


class Distribution(ABC, Generic[Actions]):
    """A distribution of actions for each of B rows, all of one family.

    Parameters are float32 or float64, finite and C-contiguous, and are looked at by the methods, not before. Results
    have their dtype and one number per row, ``[B]``; each is a new array. A result is infinite where its value lies
    outside the range of the dtype, and never NaN. Methods raise ``TypeError`` (dtype, another family) or ``ValueError``
    (shape, layout, range, a number that is not finite) as :mod:`pgfast.kernels` does.
    """

    @abstractmethod
    def log_prob(self, actions: Actions) -> FloatArray:
        """log p(actions), ``[B]``."""

    @abstractmethod
    def entropy(self) -> FloatArray:
        """H, ``[B]``, in nats."""

    @abstractmethod
    def kl(self, other: Self) -> FloatArray:
        """KL(self, other), ``[B]``, in nats, never negative."""

    @abstractmethod
    def likelihood_ratio(self, old: Self, actions: Actions) -> FloatArray:
        """p(actions) / p_old(actions), ``[B]``.

        The log-ratio is clamped to +-80, so that the ratio is finite and positive in either dtype. Where both
        log-probabilities are infinite alike, it is 1.
        """

    def sample(self, rng: int | Rng) -> Actions:
        """Actions; row b draws its own numbers from ``rng`` (a seed, or a generator that advances by one position)."""
        return self.sample_with_log_prob(rng)[0]

    def sample_with_log_prob(self, rng: int | Rng) -> tuple[Actions, FloatArray]:
        """:meth:`sample`, and the log-probability ``[B]`` of what was drawn."""
        return self.sample_at(*as_rng(rng).next_key())

    @abstractmethod
    def sample_at(self, seed: int, stream: int, environment: int, step: int) -> tuple[Actions, FloatArray]:
        """Actions and their log-probabilities; row b draws with (seed, stream, environment + b, step).

        ``seed`` has 64 bits, ``stream`` 16 (those of ``pgfast._streams``), ``environment`` 32, ``step`` 48.
        """

    @abstractmethod
    def mode(self) -> Actions:
        """The most probable actions."""

    @abstractmethod
    def gradient(
        self, actions: Actions, weight_log_prob: FloatArray, weight_entropy: FloatArray | None = None
    ) -> tuple[FloatArray, ...]:
        """Gradient of sum_b weight_log_prob_b log p_b(actions_b) + weight_entropy_b H_b at the parameters.

        Weights are ``[B]`` and finite; None for the second is zero. One array for each parameter, of its shape.
        """

    def _require_family(self, method: str, name: str, other: Distribution[Any]) -> None:
        """Another family, which has other parameters, is a TypeError."""
        family = type(self)
        if not isinstance(other, family):
            raise TypeError(
                f"{family.__name__}.{method}: {name} must be a {family.__name__}, got {type(other).__name__}"
            )
