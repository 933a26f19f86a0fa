"""Random numbers that a caller can hold: a seed, a stream and a position."""

from __future__ import annotations

import operator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pgfast._native import core
from pgfast._streams import USER

__all__ = ["Rng"]

Key: TypeAlias = tuple[int, int, int, int]  # (seed, native stream, environment, step), which name a random number
_MAX_STREAM = 0xFFFF - USER


class Rng:
    """A counter-based random number generator (Philox4x32-10, Salmon et al. 2011).

    Two generators with the same ``seed`` and ``stream`` give the same numbers; different streams are independent.
    ``position`` is the whole state: set it to go back. Each draw of a batch advances it by one.

    Raises ``ValueError`` unless 0 <= seed < 2^64 and 0 <= stream < 65520.
    """

    def __init__(self, seed: int, stream: int = 0) -> None:
        seed, stream = _as_int("seed", seed), _as_int("stream", stream)
        if not 0 <= seed < 2**64:
            raise ValueError(f"Rng: seed must be in [0, 2^64), got {seed}")
        if not 0 <= stream <= _MAX_STREAM:
            raise ValueError(f"Rng: stream must be in [0, {_MAX_STREAM}], got {stream}")
        self.seed = seed
        self.stream = stream
        self.position = 0
        self._native_stream = USER + self.stream

    @classmethod
    def internal(cls, seed: int, native_stream: int) -> Rng:
        """A generator on one of the package's own streams (:mod:`pgfast._streams`)."""
        rng = cls(seed)
        rng._native_stream = native_stream
        return rng

    def next_key(self) -> Key:
        """The key of the next draw, of environment 0; advances ``position``."""
        step = self.position
        self.position += 1
        return self.seed, self._native_stream, 0, step

    def uniform(self, count: int) -> NDArray[np.float64]:
        """``count`` numbers, uniform in [0, 1). Raises ``ValueError`` if count < 1."""
        return core.random_uniform(*self.next_key(), count)

    def __repr__(self) -> str:
        return f"Rng(seed={self.seed}, stream={self.stream}, position={self.position})"


def _as_int(name: str, value: int) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"Rng: {name} must be an int, got {type(value).__name__}") from None


def as_rng(rng: int | Rng) -> Rng:
    """An int seed as a fresh generator; a generator as it is."""
    return rng if isinstance(rng, Rng) else Rng(rng)
