"""A run directory being written: progress, TensorBoard events, checkpoints, model."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from pgfast._native import native_info
from pgfast._typing import Array
from pgfast.runs.checkpoints import write_checkpoint
from pgfast.runs.files import write_json_atomically
from pgfast.runs.models import write_model
from pgfast.runs.progress_log import ProgressLog
from pgfast.runs.run_directory import RunDirectory
from pgfast.state import Tree, flatten

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


class Events(Protocol):
    """A second place that rows are written to."""

    def write(self, row: Mapping[str, float | int | None], timesteps: int) -> None:
        """Writes a row. Raises ``OSError``."""

    def close(self) -> None:
        """Closes it. Raises ``OSError``."""


OpenEvents: TypeAlias = Callable[[Path, int | None], Events | None]
"""(run directory, first timestep that is not known yet or None) -> where its rows go beside ``progress.csv``."""

_Save: TypeAlias = tuple[dict[str, Array], dict[str, Any], dict[str, Array], dict[str, Any]]


class Run:
    """Writes a run directory.

    A failing disk harms nothing that is there already: rows of progress wait for the next, and a save is kept in memory
    until :meth:`retry` writes it or a newer one replaces it.
    """

    def __init__(
        self,
        directory: RunDirectory,
        metrics: tuple[str, ...],
        open_events: OpenEvents,
        *,
        progress_bytes: int | None = None,
        resumed_at: int | None = None,
    ) -> None:
        """``progress_bytes`` of ``progress.csv`` belong to what is resumed; None for a run without a save."""
        self.directory = directory
        self.is_saved = progress_bytes is not None  # there is something to resume from
        self.saved_at: int | None = None  # timesteps of the last save of this process
        if progress_bytes is None:
            directory.progress_path.unlink(missing_ok=True)  # of a run that was ended before its first save was whole
            self._log = ProgressLog(directory.progress_path, (*FIELDS, *metrics))
        else:
            self._log = ProgressLog.resume(directory.progress_path, progress_bytes)
        self._events = open_events(directory.path, resumed_at)
        self._waiting: _Save | None = None

    @classmethod
    def create(
        cls, path: Path | None, config: dict[str, Any], metrics: tuple[str, ...], open_events: OpenEvents
    ) -> Run:
        """A new run directory with its ``config.json``, which also describes the machine.

        Raises ``FileExistsError`` if ``path`` exists.
        """
        directory = RunDirectory.create(
            path, algo=config["algo"], env_id=config["env_id"] or "custom", seed=config["settings"]["seed"]
        )
        write_json_atomically(directory.config_path, {**config, **_describe_machine()})
        return cls(directory, metrics, open_events)

    def write(self, row: dict[str, Any]) -> None:
        """Writes one row of progress. Raises ``OSError``; ``progress.csv`` gets the row with the next then."""
        self._log.write(row)
        if self._events is not None:
            self._events.write(row, int(row["timesteps"]))

    def save(self, state: Tree, model: dict[str, Array], metadata: dict[str, Any], progress: dict[str, Any]) -> None:
        """Writes a checkpoint and the model file. Raises ``OSError``.

        Args:
            state: everything that the rest of the training depends on.
            model: arrays of the model file.
            metadata: of the model file, ``timesteps`` among it; the checkpoint has it too.
            progress: what the loop needs to go on, JSON values.
        """
        arrays, values = flatten(state)
        content = {**metadata, "state": values, **progress, "progress_bytes": self._log.byte_length}
        self._waiting = None
        try:
            self._write(arrays, content, model, metadata)
        except OSError:
            self._waiting = deepcopy((arrays, content, model, metadata))  # training goes on, and moves the parameters
            raise

    def retry(self) -> bool:
        """Writes the save that failed, if one did; True if that succeeded now. Raises ``OSError``."""
        if self._waiting is None:
            return False
        self._write(*self._waiting)
        self._waiting = None
        return True

    def _write(
        self, arrays: dict[str, Array], content: dict[str, Any], model: dict[str, Array], metadata: dict[str, Any]
    ) -> None:
        timesteps = metadata["timesteps"]
        self._log.sync()  # a checkpoint must not know of rows that a power cut takes away
        write_checkpoint(self.directory.checkpoints, timesteps, arrays, content)
        write_model(self.directory.model_path, model, metadata)
        self.saved_at = timesteps

    def close(self) -> None:
        """Closes the files and releases the lock."""
        self._log.close()
        if self._events is not None:
            with suppress(OSError):  # a full disk; the rows are in progress.csv
                self._events.close()
        self.directory.close()


def _describe_machine() -> dict[str, Any]:
    packages: dict[str, str | None] = {}
    for name in ("pgfast", "numpy", "gymnasium", "ale-py", "safetensors"):
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = None
    return {
        "packages": packages,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "native": native_info(),
        "command": sys.argv,
    }
