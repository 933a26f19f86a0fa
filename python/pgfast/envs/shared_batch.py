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

_ALIGNMENT = 64  # bytes: every leaf starts on a cache line


class SharedBatch:
    """Observations of N environments, arrays ``[N, ...]`` in the structure of their space.

    The memory has no name in the file system, and is freed when the last process unmaps it.

    Args:
        space: of one observation, for which :func:`can_share` holds.
        num_envs: N.
        handle: a descriptor of memory that another process made; this object closes it. None to make the memory.
    """

    def __init__(self, space: spaces.Space[Any], num_envs: int, handle: int | None = None) -> None:
        self.handle: int | None = _new_file() if handle is None else handle  # None once it is closed
        size = sum(_bytes(leaf, num_envs) for leaf in _leaves(space))
        try:
            if handle is None:
                os.truncate(self.handle, size)
            self._memory = mmap.mmap(self.handle, size)
        except BaseException:
            self.close_handle()
            raise
        self._offset = 0
        self._batch = self._arrays(space, num_envs)

    def write(self, index: int, observation: Any) -> None:
        """Writes the observation of an environment. Raises ``ValueError`` or ``TypeError`` if it does not fit."""
        _write(self._batch, index, observation, "")

    def copy(self) -> Any:
        """Copies the batch."""
        return _copy(self._batch)

    def close_handle(self) -> None:
        """Closes the handle, if it is open. The batch can still be read and written."""
        if self.handle is not None:
            os.close(self.handle)
            self.handle = None

    def close(self) -> None:
        """Frees this process's share of the memory; nothing if that has happened. The batch is gone."""
        self.close_handle()
        self._batch = None
        self._memory.close()

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
    """Whether observations are arrays of numbers, or Dicts and Tuples of these, none of them empty."""
    leaves = list(_leaves(space))
    are_arrays = all(leaf.shape is not None and np.dtype(leaf.dtype).kind in "biuf" for leaf in leaves)
    return are_arrays and bool(leaves) and all(math.prod(leaf.shape or ()) > 0 for leaf in leaves)


def _leaves(space: spaces.Space[Any]) -> Iterator[spaces.Space[Any]]:
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        for part in space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces:
            yield from _leaves(part)
    else:
        yield space


def _bytes(leaf: spaces.Space[Any], num_envs: int) -> int:
    size = num_envs * math.prod(leaf.shape or ()) * np.dtype(leaf.dtype).itemsize
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _new_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("pgfast observations")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(batch: Any, index: int, observation: Any, name: str) -> None:
    """Writes an observation, or the part of one that has this name."""
    place = f'leaf "{name}" of the observation' if name else "the observation"
    if isinstance(batch, (dict, tuple)):
        parts = batch.items() if isinstance(batch, dict) else enumerate(batch)
        for key, part in parts:
            try:
                value = observation[key]
            except (KeyError, IndexError, TypeError):
                raise ValueError(f'{place} has no "{key}"') from None
            _write(part, index, value, f"{name}/{key}" if name else str(key))
        return
    row: Array = batch[index, ...]
    if np.shape(observation) != row.shape:
        raise ValueError(f"{place} has shape {np.shape(observation)}, the observation space {row.shape}")
    np.copyto(row, observation, casting="same_kind")


def _copy(batch: Any) -> Any:
    if isinstance(batch, dict):
        return {key: _copy(part) for key, part in batch.items()}
    if isinstance(batch, tuple):
        return tuple(map(_copy, batch))
    return np.array(batch)
