"""Action spaces as plain data: components, which model files store, and the actions that environments take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from gymnasium import spaces

from pgfast._native import core
from pgfast._typing import Array
from pgfast.distributions.joint import split_actions

__all__ = ["ActionComponent", "ActionInfo", "ActionKind"]

ActionKind: TypeAlias = Literal["discrete", "multi_discrete", "multi_binary", "box"]

_LARGEST = 100_000  # size of an axis, and number of all choices and numbers
_MOST_COMPONENTS = 256
_MOST_KEYS = 16  # that lead to a component
_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_DTYPES: dict[str, tuple[str, ...]] = {
    "discrete": _INTEGERS,
    "multi_discrete": _INTEGERS,
    "multi_binary": _INTEGERS,
    "box": ("float16", "float32", "float64"),
}


@dataclass(frozen=True)
class ActionComponent:
    """One array of an action, of K entries: K choices counted from 0, or K numbers.

    ``path`` are the keys of the Dict and Tuple spaces that lead to it. A policy's batch of actions is int64 ``[B]``
    (Discrete), int64 ``[B, K]`` (MultiDiscrete, MultiBinary) or float32 ``[B, K]`` (Box, neither scaled nor clipped);
    an environment takes ``[B, *shape]`` in the dtype of the space.
    """

    path: tuple[str | int, ...]
    kind: ActionKind
    shape: tuple[int, ...]
    dtype: str
    sizes: tuple[int, ...] = ()  # [K] choices of each entry; none for a box
    first: tuple[int, ...] = ()  # [K] the environment's number of the first choice
    low: tuple[float | None, ...] = ()  # [K] bounds of a box; None if unbounded
    high: tuple[float | None, ...] = ()

    @classmethod
    def of(cls, path: tuple[str | int, ...], space: spaces.Space[Any]) -> ActionComponent:
        """Raises ``ValueError`` unless the space is Discrete, MultiDiscrete, MultiBinary or a Box of floats."""
        shape, dtype = tuple(int(size) for size in space.shape or ()), str(space.dtype)
        if isinstance(space, spaces.Discrete):
            return cls(path, "discrete", shape, dtype, (int(space.n),), (int(space.start),))
        if isinstance(space, spaces.MultiDiscrete):
            sizes, first = (tuple(int(value) for value in np.ravel(part)) for part in (space.nvec, space.start))
            return cls(path, "multi_discrete", shape, dtype, sizes, first)
        if isinstance(space, spaces.MultiBinary):
            count = math.prod(shape)
            return cls(path, "multi_binary", shape, dtype, (2,) * count, (0,) * count)
        if isinstance(space, spaces.Box) and dtype in _DTYPES["box"]:
            low, high = (
                tuple(float(bound) if math.isfinite(bound) else None for bound in np.ravel(side))
                for side in (space.low, space.high)
            )
            return cls(path, "box", shape, dtype, low=low, high=high)
        place = f'action "{_name(path)}"' if path else "the action space"
        if isinstance(space, spaces.Box):
            raise ValueError(f"{place} must not be a Box of {dtype}; {_cure(path, space)}")
        raise ValueError(
            f"{place} must be Discrete, MultiDiscrete, MultiBinary, a Box of floats, or a Dict or Tuple of these, "
            f"got {space}"
        )

    @property
    def name(self) -> str:
        """The keys of the path, separated by "/"; empty if the action is this component alone."""
        return _name(self.path)

    @property
    def size(self) -> int:
        """K"""
        return math.prod(self.shape)

    @cached_property
    def is_scalable(self) -> bool:
        """Whether an entry has two finite bounds other than -1 and 1."""
        return bool(self._scaled.any())

    def check(self) -> None:
        """Raises ``ValueError`` for a description that no action space can have; it may come from a file."""
        of = self._label
        if any(len(str(key)) > 200 for key in self.path) or len(self.path) > _MOST_KEYS:
            raise ValueError(f"the keys of an action must be short and at most {_MOST_KEYS}, got {self.path!s:.80}")
        if self.kind not in _DTYPES or self.dtype not in _DTYPES[self.kind]:
            raise ValueError(f"actions{of} of kind {self.kind!r:.40} and dtype {self.dtype!r:.40} are not supported")
        if not all(1 <= size <= _LARGEST for size in self.shape) or len(self.shape) > 4:
            raise ValueError(f"actions{of} of shape {self.shape} are not supported: up to 4 axes of 1 to {_LARGEST}")
        count = self.size
        if count > _LARGEST or (self.kind == "discrete" and self.shape):
            raise ValueError(f"{self.kind} actions{of} of shape {self.shape} are not supported")
        given = (self.sizes, self.first) if self.kind != "box" else (self.low, self.high)
        empty = (self.low, self.high) if self.kind != "box" else (self.sizes, self.first)
        if any(len(part) != count for part in given) or any(empty):
            raise ValueError(
                f"an action space{of} of kind {self.kind} and shape {self.shape} needs {count} entries a field"
            )
        if not all(1 <= size <= _LARGEST for size in self.sizes) or sum(self.sizes) > _LARGEST:
            raise ValueError(f"{self.sizes} choices are not supported: 1 to {_LARGEST}")
        if not all(abs(value) < 2**62 for value in self.first):
            raise ValueError(f"choices from {self.first} on are not supported: below 2^62")
        if self.first:
            least, most = np.iinfo(self.dtype).min, np.iinfo(self.dtype).max
            if not all(least <= a and a + n - 1 <= most for a, n in zip(self.first, self.sizes, strict=True)):
                raise ValueError(f"choices from {self.first} on do not fit {self.dtype}")

    def to_environment(self, actions: Array, *, action_scaling: bool) -> Array:
        """Converts a policy's actions ``[B, ...]`` to the environment's: ``[B, *shape]`` of its dtype.

        With ``action_scaling``, [-1, 1] is mapped onto the bounds of a Box where both are finite. Numbers are clipped
        to the bounds, and to those of the dtype.

        Raises:
            ValueError: for a choice out of range or a number that is not finite.
        """
        if self.kind == "box":
            low, high = self._bounds
            numbers = np.empty(actions.shape, np.float64 if self.dtype == "float16" else self.dtype)
            scaled = self._scaled if action_scaling and self.is_scalable else None
            row = core.to_bounds(np.ascontiguousarray(actions), low, high, scaled, numbers)
            if row >= 0:
                raise ValueError(f"the action{self._label} of environment {row} is not finite: {actions[row]}")
            return numbers.astype(self.dtype, copy=False).reshape(-1, *self.shape)
        choices = np.ascontiguousarray(actions).reshape(-1, self.size)
        first, end = self._bounds
        if not core.are_choices(choices, end):
            raise ValueError(f"actions{self._label} must be at least 0 and below {self.sizes}, got {actions.tolist()}")
        if self._is_shifted:
            choices = choices + first
        return choices.astype(self.dtype, copy=False).reshape(-1, *self.shape)

    def only_row(self, actions: Array) -> Any:
        """The action of a batch of one: a scalar of a Discrete space, else an array."""
        return actions[0] if self.kind == "discrete" else actions[0, ...]

    def __str__(self) -> str:
        numbers = (self.low, self.high) if self.kind == "box" else (self.sizes, self.first)
        before, after = map(_short, numbers)
        words = f"from {before} to {after}" if self.kind == "box" else f"of {before} choices from {after} on"
        return f"{self.name + ': ' if self.path else ''}{self.kind} {self.shape} {self.dtype} {words}"

    @property
    def _label(self) -> str:
        return f' "{self.name}"' if self.path else ""

    @cached_property
    def _bounds(self) -> tuple[Array, Array]:
        """(low, high) of a box, (first number, count) of choices; ``[K]`` each"""
        if self.kind != "box":
            return np.array(self.first, np.int64), np.array(self.sizes, np.int64)
        most = float(np.finfo(self.dtype).max)
        low = np.array([-most if bound is None else bound for bound in self.low])
        return low, np.array([most if bound is None else bound for bound in self.high])

    @cached_property
    def _scaled(self) -> Array:
        """``[K]`` bool, the entries of a box that ``action_scaling`` changes."""
        pairs = zip(self.low, self.high, strict=True)
        return np.array([None not in pair and pair != (-1.0, 1.0) for pair in pairs], np.bool_)

    @cached_property
    def _is_shifted(self) -> bool:
        """Whether a first choice of the environment has a number other than 0."""
        return any(self.first)


@dataclass(frozen=True)
class ActionInfo:
    """The components of an action space, in the order of its Dict and Tuple spaces.

    A policy's batch of actions is that of the only component; else an array ``[B]`` with a field for each component, as
    :class:`~pgfast.policies.JointFamily` describes it.
    """

    components: tuple[ActionComponent, ...]

    @classmethod
    def of(cls, space: spaces.Space[Any]) -> ActionInfo:
        """Raises ``ValueError`` for a space that has other components, or a Dict or a Tuple without any."""
        info = cls(tuple(_components(space, ())))
        info.check()
        return info

    def check(self) -> None:
        """Raises ``ValueError`` for a description that no agent supports; it may come from a file."""
        if not 1 <= len(self.components) <= _MOST_COMPONENTS:
            raise ValueError(f"actions need 1 to {_MOST_COMPONENTS} components, got {len(self.components)}")
        for component in self.components:
            component.check()
        if sum(sum(component.sizes) or component.size for component in self.components) > _LARGEST:
            raise ValueError(f"the components of an action have more than {_LARGEST} choices and numbers")
        _nested([(component.path, None) for component in self.components])

    @cached_property
    def choices(self) -> tuple[int, ...]:
        """The numbers of choices of all entries that have choices, in order."""
        return tuple(size for component in self.components for size in component.sizes)

    @property
    def is_scalable(self) -> bool:
        """Whether ``action_scaling`` changes a number of an action."""
        return any(component.is_scalable for component in self.components)

    def to_environment(self, actions: Any, *, action_scaling: bool, single: bool = False) -> Any:
        """Converts a policy's actions to the batch that the vector environment takes: a tree of arrays ``[B, *shape]``.

        Args:
            actions: B of them.
            action_scaling: whether [-1, 1] stands for the bounds of a Box.
            single: returns the action of a batch of one, in the space's own structure.

        Raises:
            ValueError: for a choice out of range or a number that is not finite, naming the component.
        """
        parts = (actions,) if len(self.components) == 1 else split_actions(actions)
        converted = []
        for component, part in zip(self.components, parts, strict=True):
            array = component.to_environment(part, action_scaling=action_scaling)
            converted.append((component.path, component.only_row(array) if single else array))
        return _nested(converted)

    def fits(self, other: ActionInfo) -> bool:
        """Whether the actions of ``other`` have the same meaning for a policy, up to their bounds and first choices."""

        def meaning(info: ActionInfo) -> list[tuple[Any, ...]]:
            return [(component.path, component.sizes, component.size) for component in info.components]

        return meaning(self) == meaning(other)

    def __str__(self) -> str:
        return "; ".join(map(str, self.components))


def _components(space: spaces.Space[Any], path: tuple[str | int, ...]) -> list[ActionComponent]:
    if not isinstance(space, (spaces.Dict, spaces.Tuple)):
        return [ActionComponent.of(path, space)]
    place = f'action "{_name(path)}"' if path else "the action space"
    parts: list[tuple[Any, spaces.Space[Any]]]
    parts = list(space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces))
    if not parts:
        raise ValueError(f"{place} must not be an empty {type(space).__name__}")
    if isinstance(space, spaces.Dict) and not all(isinstance(key, str) for key, _ in parts):
        raise ValueError(f"{place} must be a Dict with strings as keys, got {[key for key, _ in parts]!r:.80}")
    return [component for key, part in parts for component in _components(part, (*path, key))]


def _nested(values: Sequence[tuple[tuple[str | int, ...], Any]]) -> Any:
    """Values at their paths, in a dict for names and a tuple for numbers.

    Raises ``ValueError`` if the paths are not those of one tree.
    """
    if len(values) == 1 and not values[0][0]:
        return values[0][1]
    parts: dict[str | int, list[tuple[tuple[str | int, ...], Any]]] = {}
    for path, value in values:
        if not path:
            raise ValueError("the components of an action need different paths, none within another")
        parts.setdefault(path[0], []).append((path[1:], value))
    if all(isinstance(key, str) for key in parts):
        return {key: _nested(part) for key, part in parts.items()}
    if list(parts) != list(range(len(parts))):
        raise ValueError(f"the parts of an action must be all named or numbered from 0, got {list(parts)!r:.80}")
    return tuple(_nested(part) for part in parts.values())


def _cure(path: tuple[str | int, ...], space: spaces.Box) -> str:
    """How an environment with this Box gets actions that a policy can take."""
    dtype, low, high = str(space.dtype), np.ravel(space.low), np.ravel(space.high)
    if dtype not in ("bool", *_INTEGERS):
        return "its dtype must be float16, float32 or float64"
    counts = [int(b) - int(a) + 1 for a, b in zip(low, high, strict=True)]
    convert = "action"
    if dtype == "bool":
        cure = f"MultiBinary({list(space.shape)})"
    elif sum(counts) <= _LARGEST:
        start = [int(a) for a in low]
        cure = f"MultiDiscrete({_code(counts, space.shape)}, start={_code(start, space.shape)})"
    else:
        convert, cure = "action.round()", 'Box(env.action_space.low, env.action_space.high, dtype="float64")'
    if path:
        return f"make it {cure} and convert it in a gymnasium.wrappers.TransformAction"
    function = f"lambda action: {convert}.astype({dtype!r})"
    return f"make it {cure}, by gymnasium.wrappers.TransformAction(env, {function}, action_space)"


def _code(numbers: list[int], shape: tuple[int, ...]) -> str:
    """An array in Python."""
    if len(numbers) > 8 and len(set(numbers)) == 1:
        return f"numpy.full({shape}, {numbers[0]})"
    return f"{np.reshape(numbers, shape).tolist()!s:.200}"


def _name(path: tuple[str | int, ...]) -> str:
    return "/".join(map(str, path))


def _short(numbers: Sequence[float | None]) -> str:
    """The numbers of an array in a message: one if all are equal."""
    return f"{numbers[0]}" if len(set(numbers)) == 1 else f"{list(numbers)!s:.80}"
