"""A batch of observations in memory that processes share."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces

from pgfast._typing import Array

__all__ = ["SharedBatch", "can_share"]

_ALIGNMENT = 64  # bytes: a cache line, so that workers do not write to the same one


class SharedBatch:
    """Observations of N environments, arrays ``[N, ...]`` in the structure of their space.

    The memory has no name in the file system, and ends with the last process that has it.

    Args:
        space: of one observation, for which :func:`can_share` holds.
        num_envs: N.
        handle: of the memory that another process has made, owned from now on; None to make it.
    """

    def __init__(self, space: spaces.Space[Any], num_envs: int, handle: int | None = None) -> None:
        size = sum(_bytes(leaf, num_envs) for leaf in _leaves(space))
        self._handle = _new_file(size) if handle is None else handle
        self._memory = mmap.mmap(self._handle, size)
        self._offset = 0
        self._batch = self._arrays(space, num_envs)

    @property
    def handle(self) -> int:
        """The file descriptor of the memory."""
        return self._handle

    def write(self, index: int, observation: Any) -> None:
        """Writes the observation of an environment. Raises ``ValueError`` or ``TypeError`` if it does not fit."""
        _write(self._batch, index, observation)

    def copy(self) -> Any:
        """Copies the batch."""
        return _copy(self._batch)

    def close(self) -> None:
        """Closes the handle; the memory remains while the batch is in use."""
        os.close(self._handle)

    def _arrays(self, space: spaces.Space[Any], num_envs: int) -> Any:
        if isinstance(space, spaces.Dict):
            return {key: self._arrays(part, num_envs) for key, part in space.spaces.items()}
        if isinstance(space, spaces.Tuple):
            return tuple(self._arrays(part, num_envs) for part in space.spaces)
        assert space.shape is not None
        shape = (num_envs, *space.shape)
        array = np.frombuffer(self._memory, space.dtype, math.prod(shape), self._offset).reshape(shape)
        self._offset += _bytes(space, num_envs)
        return array


def can_share(space: spaces.Space[Any]) -> bool:
    """Whether observations are arrays of numbers, or Dicts and Tuples of these."""
    return all(leaf.shape is not None and np.dtype(leaf.dtype).kind in "biuf" for leaf in _leaves(space))


def _leaves(space: spaces.Space[Any]) -> Iterator[spaces.Space[Any]]:
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        for part in space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces:
            yield from _leaves(part)
    else:
        yield space


def _bytes(leaf: spaces.Space[Any], num_envs: int) -> int:
    size = num_envs * math.prod(leaf.shape or ()) * np.dtype(leaf.dtype).itemsize
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _new_file(size: int) -> int:
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("pgfast observations")
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    os.truncate(handle, size)
    return handle


def _write(batch: Any, index: int, observation: Any) -> None:
    if isinstance(batch, dict):
        for key, part in batch.items():
            _write(part, index, observation[key])
    elif isinstance(batch, tuple):
        for part, value in zip(batch, observation, strict=True):
            _write(part, index, value)
    else:
        row: Array = batch[index, ...]
        if np.shape(observation) != row.shape:
            raise ValueError(f"an observation of shape {np.shape(observation)}, not {row.shape}")
        np.copyto(row, observation, casting="same_kind")


def _copy(batch: Any) -> Any:
    if isinstance(batch, dict):
        return {key: _copy(part) for key, part in batch.items()}
    if isinstance(batch, tuple):
        return tuple(map(_copy, batch))
    return np.array(batch)
