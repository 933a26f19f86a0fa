"""The seam between an update and the workers that share it.

Every worker computes its share of a sum, and ``reduce.sum`` adds the shares in the order of the workers. All workers
make the same calls in the same order, hold equal parameters, and therefore stay equal bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypeVar

__all__ = ["ALONE", "Reduce"]

T = TypeVar("T")


class Reduce(ABC):
    """Sums and lists over the workers of one update: ``workers`` is their number, ``rank`` the place of this one."""

    workers: int
    rank: int

    @abstractmethod
    def sum(self, value: T) -> T:
        """The sum over the workers, in their order, of a number, an array, or a tuple of either.

        Arrays have the same shape and dtype on every worker. The result may be ``value`` itself, and is the same on
        every worker.
        """

    @abstractmethod
    def gather(self, value: float) -> list[float]:
        """The number that each worker gave, in their order."""


class _Alone(Reduce):
    """One worker: the identity."""

    workers = 1
    rank = 0

    def sum(self, value: T) -> T:
        return value

    def gather(self, value: Any) -> list[Any]:
        return [value]


ALONE: Reduce = _Alone()
"""The reduce of a run with one worker."""
