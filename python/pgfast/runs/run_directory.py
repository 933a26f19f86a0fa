"""The directory of one run, and its lock."""

from __future__ import annotations

import fcntl
import os
import re
import weakref
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TextIO

from pgfast.runs.checkpoints import clean_leftovers
from pgfast.runs.files import fsync_directory, is_temporary, remove_temporaries

__all__ = ["LostRunDirectoryError", "RunDirectory"]


class LostRunDirectoryError(RuntimeError):
    """The run directory was moved or deleted while a training was writing it."""


class RunDirectory:
    """The paths in a run directory, which this process holds locked until :meth:`close`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_path = path / "config.json"  # all settings, and the machine
        self.progress_path = path / "progress.csv"
        self.checkpoints = path / "checkpoints"
        self.model_path = path / "model.safetensors"
        self.evaluations_path = path / "evaluations.csv"
        self.episodes_path = path / "episodes.csv"
        self.best_model_path = path / "best_model.safetensors"
        self._lock = _acquire_lock(path)
        _open_directories.add(self)

    @staticmethod
    def default_path(*, algo: str, env_id: str | None, seed: int, root: Path = Path("runs")) -> Path:
        """``root/<algo>-<env_id>-<seed>``; characters other than letters, digits and ``_ . -`` become ``_``."""
        return root / re.sub(r"[^\w.-]", "_", f"{algo}-{env_id or 'custom'}-{seed}", flags=re.ASCII)

    @classmethod
    def create(
        cls, path: Path | None, *, algo: str, env_id: str | None, seed: int, root: Path = Path("runs")
    ) -> RunDirectory:
        """A new directory: ``path``, or with None the first free one of :meth:`default_path`, else ``-2``, ``-3``, ...

        Parents are created as needed. A directory ``path`` may exist if it is empty, or if a process was killed before
        it had described its run there.

        Raises ``FileExistsError`` if ``path`` exists, another ``OSError`` if the directory cannot be created.
        """
        if path is not None and path.is_dir() and all(_is_left_behind(entry.name) for entry in path.iterdir()):
            return cls(path)
        first = cls.default_path(algo=algo, env_id=env_id, seed=seed, root=root)
        numbered = (first if k == 1 else first.with_name(f"{first.name}-{k}") for k in count(1))
        for made in numbered if path is None else [path]:
            try:
                made.mkdir(parents=True)
                break
            except OSError as error:
                if not (isinstance(error, FileExistsError) and os.path.lexists(made)):
                    raise type(error)(f"cannot create the run directory {made}: {error.strerror}") from error
                if path is not None:  # else another run has taken this number
                    raise FileExistsError(
                        f"the run directory {path} exists already; choose another, or resume it"
                    ) from error
        fsync_directory(made.parent)
        return cls(made)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """An existing run directory, to continue its run. Half-written files of a crash are removed.

        Raises ``FileNotFoundError`` if it is not a run directory, ``BlockingIOError`` if another process has locked it.
        """
        if not (path / "config.json").is_file():
            raise FileNotFoundError(f"{path} is not a run directory: it has no config.json")
        run = cls(path)
        clean_leftovers(run.checkpoints)
        remove_temporaries(path)
        return run

    def require_in_place(self) -> None:
        """Raises :class:`LostRunDirectoryError` if the path no longer leads to the directory that is locked."""
        with suppress(OSError):
            if os.path.samestat((self.path / ".lock").stat(), os.fstat(self._lock.fileno())):
                return
        raise LostRunDirectoryError(
            f"the run directory {self.path} was moved or deleted, so the training ends; its saves are where it is now"
        )

    def close(self) -> None:
        """Releases the lock. A second call does nothing."""
        if not self._lock.closed:
            fcntl.flock(self._lock, fcntl.LOCK_UN)  # for every copy of the descriptor, before this one is closed
            self._lock.close()


def _is_left_behind(name: str) -> bool:
    return name == ".lock" or is_temporary(name)


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


# A forked worker must not hold the lock of a run whose process was killed.
_open_directories: weakref.WeakSet[RunDirectory] = weakref.WeakSet()


def _forget_locks() -> None:
    for run in _open_directories:
        run._lock.close()


os.register_at_fork(after_in_child=_forget_locks)
