"""An environment's spaces as plain data, which model files store."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from gymnasium import spaces

from pgfast._typing import Array
from pgfast.envs.observations import ObservationInfo

__all__ = ["ActionInfo", "ActionKind", "SpaceInfo"]

ActionKind: TypeAlias = Literal["discrete", "multi_discrete", "multi_binary", "box"]

_LARGEST = 100_000  # size of an axis of observations or actions
_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_DTYPES: dict[str, tuple[str, ...]] = {
    "discrete": _INTEGERS,
    "multi_discrete": _INTEGERS,
    "multi_binary": _INTEGERS,
    "box": ("float32", "float64"),
}


@dataclass(frozen=True)
class ActionInfo:
    """An action space of K components: K choices counted from 0, or K numbers.

    A policy's batch of actions is int64 ``[B]`` (Discrete), int64 ``[B, K]`` (MultiDiscrete, MultiBinary) or float32
    ``[B, K]`` (Box, not clipped); an environment takes ``[B, *shape]`` in the dtype of the space.
    """

    kind: ActionKind
    shape: tuple[int, ...]
    dtype: str
    sizes: tuple[int, ...] = ()  # [K] choices of each component; none for a box
    first: tuple[int, ...] = ()  # [K] the environment's number of the first choice
    low: tuple[float | None, ...] = ()  # [K] bounds of a box; None if unbounded
    high: tuple[float | None, ...] = ()

    @classmethod
    def of(cls, space: spaces.Space[Any]) -> ActionInfo:
        """Raises ``ValueError`` unless the space is Discrete, MultiDiscrete, MultiBinary or a Box of floats."""
        shape = tuple(int(size) for size in space.shape or ())
        dtype = str(space.dtype)
        if isinstance(space, spaces.Discrete):
            return cls("discrete", shape, dtype, (int(space.n),), (int(space.start),))
        if isinstance(space, spaces.MultiDiscrete):
            sizes, first = (tuple(int(value) for value in np.ravel(part)) for part in (space.nvec, space.start))
            return cls("multi_discrete", shape, dtype, sizes, first)
        if isinstance(space, spaces.MultiBinary):
            count = math.prod(shape)
            return cls("multi_binary", shape, dtype, (2,) * count, (0,) * count)
        if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
            low, high = (
                tuple(float(bound) if math.isfinite(bound) else None for bound in np.ravel(side))
                for side in (space.low, space.high)
            )
            return cls("box", shape, dtype, low=low, high=high)
        raise ValueError(
            f"the action space must be Discrete, MultiDiscrete, MultiBinary or a Box of floats, got {space}"
        )

    def check(self) -> None:
        """Raises ``ValueError`` for a description that no action space can have; it may come from a file."""
        if self.kind not in _DTYPES or self.dtype not in _DTYPES[self.kind]:
            raise ValueError(f"actions of kind {self.kind!r} and dtype {self.dtype!r} are not supported")
        if not all(1 <= size <= _LARGEST for size in self.shape) or len(self.shape) > 4:
            raise ValueError(f"actions of shape {self.shape} are not supported: up to 4 axes of 1 to {_LARGEST}")
        count = self.components
        if count > _LARGEST or (self.kind == "discrete" and self.shape):
            raise ValueError(f"{self.kind} actions of shape {self.shape} are not supported")
        given = (self.sizes, self.first) if self.kind != "box" else (self.low, self.high)
        empty = (self.low, self.high) if self.kind != "box" else (self.sizes, self.first)
        if any(len(part) != count for part in given) or any(empty):
            raise ValueError(
                f"an action space of kind {self.kind} and shape {self.shape} needs {count} entries a field"
            )
        if not all(1 <= size <= _LARGEST for size in self.sizes) or sum(self.sizes) > _LARGEST:
            raise ValueError(f"{self.sizes} choices are not supported: 1 to {_LARGEST}")
        if not all(abs(value) < 2**62 for value in self.first):
            raise ValueError(f"choices from {self.first} on are not supported: below 2^62")
        if self.first:
            least, most = np.iinfo(self.dtype).min, np.iinfo(self.dtype).max
            if not all(least <= a and a + n - 1 <= most for a, n in zip(self.first, self.sizes, strict=True)):
                raise ValueError(f"choices from {self.first} on do not fit {self.dtype}")

    @property
    def components(self) -> int:
        """K"""
        return math.prod(self.shape)

    @cached_property
    def _bounds(self) -> tuple[Array, Array]:
        """(low, high) of a box, (first number, count) of choices; ``[K]`` each"""
        if self.kind != "box":
            return np.array(self.first, np.int64), np.array(self.sizes, np.int64)
        low = np.array([-np.inf if bound is None else bound for bound in self.low])
        return low, np.array([np.inf if bound is None else bound for bound in self.high])

    @cached_property
    def _is_shifted(self) -> bool:
        """Whether a first choice of the environment has a number other than 0."""
        return any(self.first)

    def to_environment(self, actions: Array) -> Array:
        """Converts a policy's actions ``[B, ...]`` to the environment's: ``[B, *shape]`` of its dtype.

        Clips numbers to the bounds of a Box.

        Raises:
            ValueError: for a choice out of range or a number that is not finite.
        """
        if self.kind == "box":
            if not np.isfinite(actions).all():
                row = int(np.flatnonzero(~np.isfinite(actions).all(axis=1))[0])
                raise ValueError(f"the action of environment {row} is not finite: {actions[row]}")
            low, high = self._bounds
            return np.minimum(np.maximum(actions, low), high).astype(self.dtype).reshape(-1, *self.shape)
        choices = actions.reshape(-1, self.components)
        first, end = self._bounds
        if (choices < 0).any() or (choices >= end).any():
            raise ValueError(f"actions must be at least 0 and below {self.sizes}, got {actions.tolist()}")
        if self._is_shifted:
            choices = choices + first
        return choices.astype(self.dtype, copy=False).reshape(-1, *self.shape)


@dataclass(frozen=True)
class SpaceInfo:
    """An observation space and an action space."""

    observation: ObservationInfo
    action: ActionInfo

    @classmethod
    def of(cls, observation: spaces.Space[Any], action: spaces.Space[Any]) -> SpaceInfo:
        """Raises ``ValueError`` for observations or actions of a kind or a size that no agent supports."""
        info = cls(ObservationInfo.of(observation), ActionInfo.of(action))
        info.check()
        return info

    def check(self) -> None:
        """Raises ``ValueError`` for spaces that no agent supports."""
        self.observation.check()
        self.action.check()

    def fits(self, other: SpaceInfo) -> bool:
        """Whether an agent for these spaces can act in environments with those of ``other``."""
        return self.observation.fits(other.observation) and self.action == other.action

    def __str__(self) -> str:
        return f"observations {self.observation} and actions {self.action}"
