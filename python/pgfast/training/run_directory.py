"""The directory that holds everything of one run, and its lock."""

from __future__ import annotations

import fcntl
import os
import re
import weakref
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from pgfast.training.checkpoints import clean_leftovers
from pgfast.training.files import fsync_directory, read_json, remove_temporaries, write_json_atomically

__all__ = ["RunDirectory"]


class RunDirectory:
    """A run directory that this process has locked, from :meth:`create` or :meth:`open` until :meth:`close`.

    It says where things are; what is written there is the business of who writes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: TextIO | None = _acquire_lock(path)
        _open_directories.add(self)

    @classmethod
    def create(cls, path: Path | None, *, algo: str, env_id: str, seed: int, root: Path = Path("runs")) -> RunDirectory:
        """A new directory: ``path``, or with None the first free one of ``root/<algo>-<env_id>-<seed>[-k]``, k >= 2.

        Characters of the name other than letters, digits and ``_ . -`` become ``_``. Parents are made as needed.

        Raises ``FileExistsError`` if ``path`` exists, another ``OSError`` if the directory cannot be made.
        """
        if path is not None:
            try:
                path.mkdir(parents=True)
            except FileExistsError as error:
                raise FileExistsError(f"the run directory {path} exists already; name another, or resume it") from error
            except OSError as error:
                raise _explained(error, path) from error
        else:
            path = _make_numbered(root, re.sub(r"[^\w.-]", "_", f"{algo}-{env_id}-{seed}", flags=re.ASCII))
        fsync_directory(path.parent)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """An existing run directory, to go on in it. What a crash left half written in it is removed.

        Raises ``FileNotFoundError`` if it is not one, ``BlockingIOError`` if another process has locked it.
        """
        if not (path / "config.json").is_file():
            raise FileNotFoundError(f"{path} is not a run directory: it has no config.json")
        run = cls(path)
        clean_leftovers(run.checkpoints)
        remove_temporaries(path)
        return run

    @property
    def config_path(self) -> Path:
        """``config.json``: all settings, and what the run ran on."""
        return self.path / "config.json"

    @property
    def progress_path(self) -> Path:
        """``progress.csv``, see :class:`~pgfast.training.progress_log.ProgressLog`."""
        return self.path / "progress.csv"

    @property
    def checkpoints(self) -> Path:
        """Parent of the checkpoints, made by the first, see :mod:`pgfast.training.checkpoints`."""
        return self.path / "checkpoints"

    @property
    def videos(self) -> Path:
        """Directory of the videos, made by who writes the first."""
        return self.path / "videos"

    @property
    def model_path(self) -> Path:
        """``model.safetensors``, see :mod:`pgfast.training.models`."""
        return self.path / "model.safetensors"

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes ``config.json``, atomically. Raises as :func:`~pgfast.training.files.write_json_atomically` does."""
        write_json_atomically(self.config_path, config)

    def read_config(self) -> dict[str, Any]:
        """Reads ``config.json``. Raises :class:`~pgfast.training.files.CheckpointError`."""
        return read_json(self.config_path)

    def close(self) -> None:
        """Gives the lock back. A second call does nothing."""
        if self._lock is not None:
            fcntl.flock(self._lock, fcntl.LOCK_UN)  # for every copy of the descriptor, before this one is closed
        self._forget_lock()

    def _forget_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
        self._lock = None

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _make_numbered(root: Path, name: str) -> Path:
    try:
        root.mkdir(parents=True, exist_ok=True)
        for k in count(1):
            path = root / (name if k == 1 else f"{name}-{k}")
            try:
                path.mkdir()
            except FileExistsError:  # another run has it, perhaps since a moment ago
                continue
            return path
    except OSError as error:
        raise _explained(error, root / name) from error
    raise AssertionError("count() does not end")


def _explained(error: OSError, path: Path) -> OSError:
    return type(error)(f"cannot make the run directory {path}: {error.strerror}")


def _acquire_lock(path: Path) -> TextIO:
    lock = (path / ".lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        owner = lock.read(20).strip()
        lock.close()
        raise BlockingIOError(f"the run directory {path} is in use by process {owner or '(unknown)'}") from error
    except OSError as error:
        lock.close()
        raise type(error)(f"cannot lock the run directory {path}: {error.strerror}") from error
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


# A forked worker must not keep the lock of a run whose process was killed.
_open_directories: weakref.WeakSet[RunDirectory] = weakref.WeakSet()


def _forget_locks() -> None:
    for run in _open_directories:
        run._forget_lock()


os.register_at_fork(after_in_child=_forget_locks)
