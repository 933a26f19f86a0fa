"""The state of a training as one tree of arrays and JSON values.

A class that has state has one pair of methods: ``state()`` returns a mapping of names to arrays, JSON values and the
mappings of its parts, and ``load_state(tree)`` restores it. Files hold the tree flattened by :func:`flatten`: its
arrays by dotted path, and the rest as nested JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Protocol, TypeAlias

import numpy as np

from pgfast._typing import Array

__all__ = [
    "MAX_COUNT",
    "Stateful",
    "Tree",
    "flatten",
    "require_count",
    "require_positive",
    "require_same_shape",
    "restored_if_raised",
    "unflatten",
]

MAX_COUNT = 10**12 - 1
"""The largest count that a file may hold."""

Tree: TypeAlias = Mapping[str, Any]


class Stateful(Protocol):
    """A class with state."""

    def state(self) -> Tree:
        """Returns the tree; its arrays may be views."""

    def load_state(self, tree: Tree) -> None:
        """Restores a tree. Raises ``KeyError``, ``TypeError`` or ``ValueError`` if it does not fit."""


def flatten(tree: Tree) -> tuple[dict[str, Array], dict[str, Any]]:
    """``(arrays, values)``: the arrays of a tree by dotted path, and the tree without them."""
    arrays: dict[str, Array] = {}
    values: dict[str, Any] = {}
    for name, part in tree.items():
        if isinstance(part, np.ndarray):
            arrays[name] = part
        elif isinstance(part, Mapping):
            below, values[name] = flatten(part)
            arrays |= {f"{name}.{path}": array for path, array in below.items()}
        else:
            values[name] = part
    return arrays, values


def unflatten(arrays: Mapping[str, Array], values: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of :func:`flatten`.

    Raises:
        ValueError: if a path leads through a value that is not a mapping, or is the path of another value.
    """
    tree: dict[str, Any] = deepcopy(dict(values))
    for path, array in arrays.items():
        *parents, name = path.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
            if not isinstance(branch, dict):
                raise ValueError(f"array {path!r} is below a value that is not a mapping")
        if name in branch:
            raise ValueError(f"array {path!r} has the path of another value")
        branch[name] = array
    return tree


def require_same_shape(name: str, given: Array, expected: Array) -> None:
    """Raises ``ValueError`` unless an array from a file has the shape and dtype of the one that it replaces."""
    if given.shape != expected.shape or given.dtype != expected.dtype:
        raise ValueError(f"{name} must be {expected.dtype} {expected.shape}, got {given.dtype} {given.shape}")


def require_count(name: str, value: Any) -> int:
    """Returns a count from a file. Raises ``ValueError`` unless it is an int in [0, 10^12)."""
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        raise ValueError(f"{name} must be a whole number in [0, 10^12), got {value!r:.40}")
    return value


def require_positive(name: str, value: Any) -> float:
    """Returns a number from a file. Raises ``ValueError`` unless it is a float that is positive and finite."""
    if type(value) is not float or not 0.0 < value < math.inf:
        raise ValueError(f"{name} must be a positive and finite number, got {value!r:.40}")
    return value


class restored_if_raised:  # noqa: N801 - read as a statement: with restored_if_raised(policy, optimizer):
    """A block that changes its parts in several steps; if it raises, all of them are restored."""

    def __init__(self, *parts: Stateful) -> None:
        self._parts = parts

    def __enter__(self) -> None:
        self._before = [deepcopy(dict(part.state())) for part in self._parts]

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            for part, before in zip(self._parts, self._before, strict=True):
                part.load_state(before)
