"""The interface between an update and the workers that compute it together.

Every worker computes its part of a sum, and ``reduce.sum`` adds the parts in worker order. All workers make the same
calls in the same order and hold equal parameters, so they stay equal bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar

__all__ = ["ALONE", "Reduce", "WorkersChanged", "add"]

T = TypeVar("T")


class WorkersChanged(Exception):  # noqa: N818 - it asks for a repetition
    """Raised on all other workers if one is lost during an update, which they then compute again without it."""


class Reduce(ABC):
    """Sums and lists over the ``workers`` workers of one update; this worker has index ``rank``."""

    workers: int
    rank: int

    def begin(self, *counts: int) -> list[tuple[int, ...]]:
        """Begins an update, or begins it again: fixes its workers, and sets ``workers`` and ``rank``.

        Returns the counts that each worker passed, in worker order.
        """
        return [counts]

    def raised(self, error: Exception) -> Exception:
        """Returns the error that all workers raise because this one has failed with ``error``."""
        return error

    @abstractmethod
    def sum(self, value: T) -> T:
        """Returns the sum over all workers, in worker order, of a number, an array, or a tuple of these.

        Arrays must have the same shape and dtype on every worker. The result is the same on every worker and may be
        ``value`` itself.
        """

    @abstractmethod
    def gather(self, value: float) -> list[float]:
        """Returns the numbers that the workers passed, in worker order."""


def add(values: Sequence[Any]) -> Any:
    """Returns the sum of numbers, arrays of one shape or tuples of these, from the first to the last.

    Raises:
        ValueError: if the shapes differ.
    """
    total, *rest = values
    if isinstance(total, tuple):
        return tuple(add(parts) for parts in zip(*values, strict=True))
    for value in rest:
        if getattr(value, "shape", ()) != getattr(total, "shape", ()):
            raise ValueError(f"the workers sum arrays of shapes {[getattr(each, 'shape', ()) for each in values]}")
        total = total + value
    return total


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
