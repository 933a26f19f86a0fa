"""The interface between an update and the workers that compute it together.

Every worker computes its part of a sum, and ``reduce.sum`` adds the parts in worker order. All workers make the same
calls in the same order and hold equal parameters, so they stay equal bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypeVar

__all__ = ["ALONE", "Reduce"]

T = TypeVar("T")


class Reduce(ABC):
    """Sums and lists over the ``workers`` workers of one update; this worker has index ``rank``."""

    workers: int
    rank: int

    @abstractmethod
    def sum(self, value: T) -> T:
        """Returns the sum over all workers, in worker order, of a number, an array, or a tuple of these.

        Arrays must have the same shape and dtype on every worker. The result is the same on every worker and may be
        ``value`` itself.
        """

    @abstractmethod
    def gather(self, value: float) -> list[float]:
        """Returns the numbers that the workers passed, in worker order."""


class _Alone(Reduce):
    """The identity, for a single worker."""

    workers = 1
    rank = 0

    def sum(self, value: T) -> T:
        return value

    def gather(self, value: Any) -> list[Any]:
        return [value]


ALONE: Reduce = _Alone()
"""The ``Reduce`` of a run with one worker."""
