"""Random number generators that a caller can hold: a seed, a stream and a position."""

from __future__ import annotations

import operator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pgfast._native import core
from pgfast._streams import USER

__all__ = ["Rng"]

Key: TypeAlias = tuple[int, int, int, int]  # (seed, native stream, environment, step): identifies a random number
_MAX_STREAM = 0xFFFF - USER


class Rng:
    """A counter-based random number generator, Philox4x32-10.

    Two generators with the same ``seed`` and ``stream`` produce the same numbers; different streams are independent.
    ``position`` is the whole state and may be set. Each draw of a batch advances it by one.

    Args:
        seed: in [0, 2^64).
        stream: in [0, 65520).

    Raises:
        TypeError: if an argument is not an int.
        ValueError: if an argument is out of range.

    Source: Salmon et al. (2011).
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
        """Makes a generator on a stream reserved for the package (:mod:`pgfast._streams`)."""
        rng = cls(seed)
        rng._native_stream = native_stream
        return rng

    def next_key(self) -> Key:
        """Returns the key of the next draw, with environment 0, and advances ``position``."""
        step = self.position
        self.position += 1
        return self.seed, self._native_stream, 0, step

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Draws ``count`` numbers, uniform in [0, 1).

        Raises:
            ValueError: if ``count`` is below 1.
        """
        return core.random_uniform(*self.next_key(), count)

    def __repr__(self) -> str:
        return f"Rng(seed={self.seed}, stream={self.stream}, position={self.position})"


def _as_int(name: str, value: int) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"Rng: {name} must be an int, got {type(value).__name__}") from None


def as_rng(rng: int | Rng) -> Rng:
    """Returns a new generator for an int seed, and a generator unchanged."""
    return rng if isinstance(rng, Rng) else Rng(rng)
