"""Observation spaces as plain data: named leaves, which model files store, and the rows that networks read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import DTypeLike

from pgfast._typing import Array
from pgfast.nn.spec import Leaf, input_dtype

__all__ = ["LeafKind", "ObservationInfo", "ObservationLeaf", "ObservationRows"]

LeafKind: TypeAlias = Literal["box", "discrete", "multi_discrete", "multi_binary"]

_LARGEST = 100_000  # size of an axis
_MOST_ENTRIES = 2**26  # of a leaf
_MOST_LEAVES = 256
_LEAST_PIXELS = 7  # of an axis of an image without channels; shorter ones are tables
_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_DTYPES = ("bool", "float16", "float32", "float64", *_INTEGERS)


@dataclass(frozen=True)
class ObservationLeaf:
    """One array of an observation: a Box, Discrete, MultiDiscrete or MultiBinary space, and its place among the others.

    ``path`` are the keys of the Dict and Tuple spaces that lead to it. ``low`` and ``high`` are the least and the
    largest bound of a Box of integers. ``sizes`` and ``first`` are the number of choices and the first choice of each
    entry of a Discrete or MultiDiscrete space.
    """

    path: tuple[str | int, ...]
    kind: LeafKind
    shape: tuple[int, ...]
    dtype: str
    low: int | None = None
    high: int | None = None
    sizes: tuple[int, ...] = ()
    first: tuple[int, ...] = ()

    @classmethod
    def of(cls, path: tuple[str | int, ...], space: spaces.Space[Any]) -> ObservationLeaf:
        """Raises ``ValueError`` for a space of another class, or a Box of complex numbers."""
        shape, dtype = tuple(int(size) for size in space.shape or ()), str(space.dtype)
        if isinstance(space, spaces.Discrete):
            return cls(path, "discrete", (), dtype, sizes=(int(space.n),), first=(int(space.start),))
        if isinstance(space, spaces.MultiDiscrete):
            sizes, first = (tuple(int(value) for value in np.ravel(part)) for part in (space.nvec, space.start))
            return cls(path, "multi_discrete", shape, dtype, sizes=sizes, first=first)
        if isinstance(space, spaces.MultiBinary):
            return cls(path, "multi_binary", shape, dtype)
        if isinstance(space, spaces.Box) and dtype in _DTYPES:
            if dtype in _INTEGERS:
                return cls(path, "box", shape, dtype, int(space.low.min()), int(space.high.max()))
            return cls(path, "box", shape, dtype)
        cure = "; gymnasium.wrappers.FilterObservation leaves it out" if path else ""
        raise ValueError(
            f"observations must be made of Box, Discrete, MultiDiscrete and MultiBinary, in Dict and Tuple; "
            f"{_place(path)} is {space}{cure}"
        )

    @property
    def name(self) -> str:
        """The keys of the path, separated by "/"; empty if the observation is this leaf alone."""
        return "/".join(map(str, self.path))

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def is_bytes(self) -> bool:
        """Whether the leaf is a Box of uint8."""
        return self.kind == "box" and self.dtype == "uint8"

    @property
    def has_image_shape(self) -> bool:
        """Whether the leaf is a Box with the axes of an image: three; four for a stack of frames; or two, without
        channels, of at least 7 pixels.
        """
        axes = len(self.shape)
        return self.kind == "box" and (axes >= 3 or (axes == 2 and min(self.shape) >= _LEAST_PIXELS))

    @property
    def is_image(self) -> bool:
        """Whether the leaf is an image of bytes."""
        return self.is_bytes and self.has_image_shape

    @property
    def is_number(self) -> bool:
        """Whether the leaf holds quantities: a Box of floats or of integers other than bytes."""
        return self.kind == "box" and not self.is_bytes and self.dtype != "bool"

    def check(self) -> None:
        """Raises ``ValueError`` for a description that no space can have; it may come from a file."""
        where = _place(self.path)
        if any("." in str(key) or len(str(key)) > 200 for key in self.path) or len(self.path) > 16:
            raise ValueError(f"{where} is not supported: keys must be short and have no dot")
        if not all(1 <= size <= _LARGEST for size in self.shape) or len(self.shape) > 4:
            raise ValueError(f"{where} has shape {self.shape}, which is not supported: up to 4 axes of 1 to {_LARGEST}")
        if self.size > _MOST_ENTRIES:
            raise ValueError(f"{where} has {self.size:,} entries, which is not supported: up to 2^26")
        if self.dtype not in _DTYPES:
            raise ValueError(f"{where} has dtype {self.dtype!r:.40}, which is not supported")
        has_bounds = [bound is not None for bound in (self.low, self.high)]
        if has_bounds != [self.kind == "box" and self.dtype in _INTEGERS] * 2:
            raise ValueError(f"{where} needs the bounds of its integers, and no others")
        if self.low is not None and self.high is not None:
            limits = np.iinfo(self.dtype)
            if not limits.min <= self.low <= self.high <= limits.max:
                raise ValueError(f"{where} has bounds {self.low!r:.40} and {self.high!r:.40}, which do not fit")
        if self.kind not in ("discrete", "multi_discrete"):
            if self.sizes or self.first:
                raise ValueError(f"{where} is a {self.kind} and has no numbers of choices")
        else:
            if len(self.sizes) != self.size or len(self.first) != self.size:
                raise ValueError(f"{where} of shape {self.shape} needs {self.size} numbers of choices")
            if not all(1 <= size <= _LARGEST for size in self.sizes) or sum(self.sizes) > _LARGEST:
                raise ValueError(f"{where} has {self.sizes} choices, which is not supported: 1 to {_LARGEST}")
            if not all(abs(value) < 2**62 for value in self.first):
                raise ValueError(f"{where} counts from {self.first} on, which is not supported: below 2^62")


@dataclass(frozen=True)
class ObservationInfo:
    """The leaves of an observation space, in the order of its Dict and Tuple spaces."""

    leaves: tuple[ObservationLeaf, ...]

    @classmethod
    def of(cls, space: spaces.Space[Any]) -> ObservationInfo:
        """Raises ``ValueError`` for a space that has other leaves, or none."""
        info = cls(tuple(_leaves(space, ())))
        info.check()
        return info

    def check(self) -> None:
        """Raises ``ValueError`` for a description that no agent supports; it may come from a file."""
        if not 1 <= len(self.leaves) <= _MOST_LEAVES:
            raise ValueError(f"observations need 1 to {_MOST_LEAVES} leaves, got {len(self.leaves)}")
        if len({leaf.name for leaf in self.leaves}) < len(self.leaves):
            raise ValueError("the leaves of an observation need different names")
        for leaf in self.leaves:
            leaf.check()

    @property
    def raw_dtype(self) -> np.dtype[Any] | None:
        """The dtype of raw rows: None for one leaf, whose rows are its array; else a field for each leaf."""
        if len(self.leaves) == 1:
            return None
        return np.dtype([(leaf.name, leaf.dtype, leaf.shape) for leaf in self.leaves])

    def rows(self, observations: Any) -> Array:
        """Raw rows ``[B, ...]`` of a batch of observations: the array of the only leaf, or a structured array.

        Raises ``ValueError`` if a leaf is missing or has another shape.
        """
        arrays = [_at(observations, leaf.path) for leaf in self.leaves]
        if len(arrays) == 1:
            return arrays[0]
        batch = len(arrays[0]) if arrays[0].ndim else 0
        rows = np.zeros(batch, self.raw_dtype)
        for leaf, array in zip(self.leaves, arrays, strict=True):
            if array.shape != (batch, *leaf.shape):
                raise ValueError(f"{_place(leaf.path)} has shape {array.shape}, not {(batch, *leaf.shape)}")
            rows[leaf.name] = array
        return rows

    def batch(self, observation: Any) -> tuple[Array, bool]:
        """(raw rows ``[B, ...]``, whether it was a single observation) of one observation or a batch of them.

        Raises ``ValueError`` if a leaf is missing or has another shape.
        """
        arrays = [_at(observation, leaf.path) for leaf in self.leaves]
        single = arrays[0].shape == self.leaves[0].shape
        batch = () if single else arrays[0].shape[:1]
        for leaf, array in zip(self.leaves, arrays, strict=True):
            if array.shape != (*batch, *leaf.shape) or not (single or batch):
                of_leaf = f' in leaf "{leaf.name}"' if leaf.name else ""
                raise ValueError(f"obs must have shape {leaf.shape} or a batch of it{of_leaf}, got {array.shape}")
            if leaf.is_bytes and array.dtype != np.uint8:
                raise TypeError(f"obs must be uint8 like the environment's, got {array.dtype}")
        if single:
            arrays = [array[np.newaxis] for array in arrays]
        if len(arrays) == 1:
            return arrays[0], single
        rows = np.zeros(len(arrays[0]), self.raw_dtype)
        for leaf, array in zip(self.leaves, arrays, strict=True):
            rows[leaf.name] = array
        return rows, single

    def field(self, rows: Array, leaf: ObservationLeaf) -> Array:
        """A view ``[B, *shape]`` of a leaf of raw rows."""
        return rows if len(self.leaves) == 1 else rows[leaf.name]

    def fields(self, rows: Array) -> list[Array]:
        """Views ``[B, *shape]`` of the leaves of raw rows."""
        return [self.field(rows, leaf) for leaf in self.leaves]

    def fits(self, other: ObservationInfo) -> bool:
        """Whether the observations of ``other`` have the same meaning for a network, up to their precision."""

        def meaning(info: ObservationInfo) -> list[tuple[Any, ...]]:
            return [(leaf.path, leaf.kind, leaf.shape, leaf.is_bytes, leaf.sizes, leaf.first) for leaf in info.leaves]

        return meaning(self) == meaning(other)

    def __str__(self) -> str:
        return "; ".join(
            f"{leaf.name + ': ' if leaf.name else ''}{leaf.kind} {leaf.shape} {leaf.dtype}" for leaf in self.leaves
        )


class ObservationRows:
    """The rows of inputs of a network, and how raw rows become such rows.

    ``dtype`` and ``shape`` are those of a row: numbers or bytes if there is one leaf, else a structured scalar with a
    field for each leaf.

    Args:
        info: the leaves of the observation.
        leaves: the same as the network reads them.
        dtype: of the network.
    """

    def __init__(self, info: ObservationInfo, leaves: Sequence[Leaf], dtype: DTypeLike) -> None:
        self.info, self.leaves = info, tuple(leaves)
        self.dtype = input_dtype(leaves, dtype)
        self.shape = tuple(leaves[0].shape) if len(leaves) == 1 else ()
        self._first = [_first_choices(given, leaf) for given, leaf in zip(info.leaves, leaves, strict=True)]
        # One leaf that is stored as it comes, as most environments have.
        self._is_plain = len(self.leaves) == 1 and self._first[0] is None and not self.leaves[0].channels_last

    def zeros(self, *leading: int) -> Array:
        """Rows ``[*leading, ...]`` of zeros."""
        return np.zeros((*leading, *self.shape), self.dtype)

    def fields(self, rows: Array) -> dict[str, Array]:
        """Views ``[..., *leaf.shape]`` of the leaves of ``rows`` ``[..., *shape]``, by name."""
        if len(self.leaves) == 1:
            return {self.leaves[0].name: rows}
        return {leaf.name: rows[leaf.name] for leaf in self.leaves}

    def pack(self, raw: Array, rows: Array) -> None:
        """Writes raw rows ``[B, ...]`` to ``rows`` ``[B, *shape]``: the only cast of observations."""
        if self._is_plain:
            rows[:] = raw.reshape(rows.shape)
            return
        fields = self.fields(rows).values()
        for array, first, leaf, field in zip(self.info.fields(raw), self._first, self.leaves, fields, strict=True):
            if leaf.channels_last and array.ndim == 5:  # [B, frames, height, width, channels], the frames as channels
                frames = np.moveaxis(array, 1, 3)
                field.reshape(frames.shape)[:] = frames
            else:
                field[:] = np.reshape(array if first is None else array - first, field.shape)


def _first_choices(given: ObservationLeaf, leaf: Leaf) -> Array | None:
    """The numbers of the first choices, which are subtracted from codes; None if all are 0."""
    if leaf.kind != "codes":
        return None
    first = np.reshape(given.first, given.shape) if given.first else np.full(given.shape, given.low or 0)
    return first.astype(np.int64) if first.any() else None


def _leaves(space: spaces.Space[Any], path: tuple[str | int, ...]) -> list[ObservationLeaf]:
    if isinstance(space, spaces.Dict):
        parts: list[tuple[str | int, spaces.Space[Any]]] = [(str(key), part) for key, part in space.spaces.items()]
    elif isinstance(space, spaces.Tuple):
        parts = list(enumerate(space.spaces))
    else:
        return [ObservationLeaf.of(path, space)]
    return [leaf for key, part in parts for leaf in _leaves(part, (*path, key))]


def _at(observation: Any, path: tuple[str | int, ...]) -> Array:
    for key in path:
        try:
            observation = observation[key]
        except (KeyError, IndexError, TypeError):
            raise ValueError(f"the observation has no {_place(path)}") from None
    return np.asarray(observation)


def _place(path: tuple[str | int, ...]) -> str:
    return f'leaf "{"/".join(map(str, path))}"' if path else "it"
