"""The metrics of an update, and their merge into one row of progress."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from pgfast.state import Tree

__all__ = ["LATEST", "Metrics", "MetricsSinceRow"]

Metrics: TypeAlias = dict[str, float | None]
"""Numbers of one update by the names of ``progress.csv``; None for one that is not defined."""

LATEST = frozenset({"explained_variance", "failed_updates", "learning_rate"})
"""Metrics of which a row shows the last update's; of all others it shows the mean over its updates."""


class MetricsSinceRow:
    """Sums and counts of the metrics of all updates since the last row."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}

    def add(self, metrics: Metrics) -> None:
        """Takes in one update."""
        for name, value in metrics.items():
            if name in LATEST:
                self._sums.pop(name, None)
            if value is not None:
                total = self._sums.setdefault(name, [0.0, 0])
                total[0] += value
                total[1] += 1

    def take(self) -> Metrics:
        """Returns the values of the row and begins the next."""
        row: Metrics = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return row

    def state(self) -> Tree:
        """``[sum, count]`` by name."""
        return dict(self._sums)

    def load_state(self, tree: Tree) -> None:
        """Raises ``TypeError`` or ``ValueError`` for other than sums of known metrics."""
        self._sums = {name: _checked_sum(name, entry) for name, entry in _as_mapping(tree).items()}

    @property
    def names(self) -> set[str]:
        """The metrics that have a sum."""
        return set(self._sums)


def _as_mapping(tree: Any) -> Mapping[str, Any]:
    if not isinstance(tree, Mapping):
        raise TypeError("the sums of metrics must be a mapping")
    return tree


def _checked_sum(name: str, entry: Any) -> list[float]:
    total, count = entry
    if not (math.isfinite(total) and type(count) is int and count > 0):
        raise ValueError(f"sums of {name} must be a finite total and a count of at least 1")
    return [float(total), count]
