"""A run directory being written: progress, TensorBoard events, checkpoints, model."""

from __future__ import annotations

import platform
import sys
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from pgfast._native import native_info
from pgfast._typing import Array
from pgfast.training.agent import Agent
from pgfast.training.checkpoints import write_checkpoint
from pgfast.training.models import write_model
from pgfast.training.progress_log import ProgressLog
from pgfast.training.run_directory import RunDirectory
from pgfast.training.tensorboard import TensorBoardLog, tensorboard_available

__all__ = ["FIELDS", "Run"]

FIELDS = (
    "timesteps",
    "updates",
    "updates_skipped",
    "episodes",
    "episodes_cut",
    "env_restarts",
    "return_mean",
    "return_std",
    "return_min",
    "return_max",
    "return_latest",
    "length_mean",
    "policy_loss",
    "value_loss",
    "entropy",
    "explained_variance",
    "steps_per_second",
    "wall_time",
)


@dataclass(frozen=True)
class _Save:
    """What one save writes, as it was at that moment."""

    timesteps: int
    arrays: dict[str, Array]
    state: dict[str, Any]
    model: tuple[dict[str, Array], dict[str, Any]]


class Run:
    """Writes a run directory.

    Where the disk fails, nothing that is there already suffers: rows of progress wait for the next, a save is kept in
    memory and written by :meth:`retry`, or given up for a newer one.
    """

    def __init__(
        self,
        directory: RunDirectory,
        log: ProgressLog,
        *,
        resumed_at: int | None = None,
        is_saved: bool = False,
    ) -> None:
        self.directory = directory
        self._log = log
        self._events = TensorBoardLog(directory.path, purge_step=resumed_at) if tensorboard_available() else None
        self._waiting: _Save | None = None
        self.is_saved = is_saved  # there is something to go on from
        self.saved_at: int | None = None  # timesteps of the last save of this process

    @classmethod
    def create(cls, agent: Agent, path: Path | None, total_timesteps: int) -> Run:
        """A new run directory. Raises ``FileExistsError`` if ``path`` exists."""
        env_id = agent.env_id or "custom"
        directory = RunDirectory.create(path, algo=agent.name, env_id=env_id, seed=agent.settings.seed)
        directory.write_config(_describe(agent, total_timesteps))
        return cls(directory, ProgressLog(directory.progress_path, (*FIELDS, *agent.extra_fields)))

    def write(self, row: dict[str, Any]) -> None:
        """One row of progress. Raises ``OSError``; ``progress.csv`` gets the row with the next then."""
        self._log.write(row)
        if self._events is not None:
            self._events.write(row, int(row["timesteps"]))

    def save(self, agent: Agent, extra: dict[str, Any]) -> None:
        """A checkpoint and the model file, unless this state is saved already. Raises ``OSError``."""
        if self.saved_at == agent.timesteps:
            return
        arrays, state = agent.state()
        state = {**state, **extra, "progress_bytes": self._log.byte_length}
        save = _Save(agent.timesteps, arrays, state, (agent.arrays(), agent.metadata()))
        self._waiting = None
        try:
            self._write(save)
        except OSError:
            self._waiting = _copy(save)  # training goes on, and moves the parameters
            raise

    def retry(self) -> bool:
        """Writes the save that failed, if one did; True where that succeeded now. Raises ``OSError``."""
        if self._waiting is None:
            return False
        self._write(self._waiting)
        self._waiting = None
        return True

    def _write(self, save: _Save) -> None:
        self._log.sync()  # a checkpoint must not know of rows that a power cut takes away
        write_checkpoint(self.directory.checkpoints, save.timesteps, save.arrays, save.state)
        write_model(self.directory.model_path, *save.model)
        self.saved_at = save.timesteps

    def close(self) -> None:
        """Closes the files and gives the lock back."""
        self._log.close()
        if self._events is not None:
            with suppress(OSError):  # a full disk; the rows are in progress.csv
                self._events.close()
        self.directory.close()


def _copy(save: _Save) -> _Save:
    def copies(arrays: dict[str, Array]) -> dict[str, Array]:
        return {name: np.array(array) for name, array in arrays.items()}

    model_arrays, model_metadata = save.model
    return _Save(save.timesteps, copies(save.arrays), deepcopy(save.state), (copies(model_arrays), model_metadata))


def _describe(agent: Agent, total_timesteps: int) -> dict[str, Any]:
    """The content of config.json: what was run, with what, on what."""
    packages: dict[str, str | None] = {}
    for name in ("pgfast", "numpy", "gymnasium", "ale-py", "safetensors"):
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = None
    return {
        "algo": agent.name,
        "env_id": agent.env_id,
        "preset": agent.preset,
        "settings": asdict(agent.settings),
        "total_timesteps": total_timesteps,
        "packages": packages,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "native": native_info(),
        "command": sys.argv,
    }
