"""The run directory of a training: created or resumed, then written until it is closed."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Self, TypeAlias

import msgspec

from pgfast._native import native_info
from pgfast._typing import Array
from pgfast.metrics import RUN_METRICS, MetricsSinceRow
from pgfast.runs.checkpoints import Checkpoint, list_checkpoints, read_latest, write_checkpoint
from pgfast.runs.files import CheckpointError, checked_content, read_json, write_json_atomically
from pgfast.runs.model_metadata import ModelMetadata
from pgfast.runs.models import write_model
from pgfast.runs.progress_log import ProgressLog
from pgfast.runs.run_directory import RunDirectory
from pgfast.state import Tree, flatten

__all__ = ["Session"]

_Save: TypeAlias = tuple[dict[str, Array], dict[str, Any], dict[str, Array], dict[str, Any]]


class _Position(msgspec.Struct, frozen=True):
    """The part of a checkpoint that the loop continues from."""

    synchronized: bool
    wall_time: float
    progress_bytes: Annotated[int, msgspec.Meta(ge=1)]
    metrics: dict[str, Any]


class Session:
    """A run directory and what a training continues from: ``with Session.create(...) as session: train(...)``.

    ``checkpoint`` is the one to resume from, None for a run without one; ``metrics`` and ``wall_time`` are those since
    the last row and since the run began; ``messages`` are for the user; ``saved_at`` is the timestep of the last save
    of this process.

    A failing disk harms nothing that is there already: a row waits for the next one, and a save is kept in memory until
    :meth:`retry` writes it or a newer save replaces it.
    """

    def __init__(self, directory: RunDirectory, config: dict[str, Any]) -> None:
        self.directory, self.config = directory, config
        self.checkpoint: Checkpoint | None = None
        self.metrics = MetricsSinceRow()
        self.wall_time = 0.0
        self.messages: list[str] = []
        self.saved_at: int | None = None
        self._progress_bytes: int | None = None
        self._log: ProgressLog | None = None
        self._failed_save: _Save | None = None

    @classmethod
    def create(cls, path: Path | None, config: Mapping[str, Any]) -> Session:
        """A new run directory with its ``config.json``, which also describes the machine.

        Args:
            path: the directory, which must not exist; None for ``runs/<algo>-<env_id>-<seed>``.
            config: "algo", "env_id", "settings", "total_timesteps" and more, all JSON values.

        Raises:
            FileExistsError: if ``path`` exists.
            OSError: if the directory cannot be made.
        """
        directory = RunDirectory.create(
            path, algo=config["algo"], env_id=config["env_id"] or "custom", seed=config["settings"]["seed"]
        )
        session = cls(directory, {**config, **_describe_machine()})
        write_json_atomically(directory.config_path, session.config)
        return session

    @classmethod
    def resume(cls, path: Path) -> Session:
        """A run directory at its newest whole checkpoint, or at its beginning if no save was ever finished.

        Raises:
            CheckpointError: if there is nothing to resume from.
            OSError: if it is not a run directory, or another process is writing it.
        """
        directory = RunDirectory.open(path)
        try:
            session = cls(directory, read_json(directory.config_path))
            if list_checkpoints(directory.checkpoints):
                session._continue_from(read_latest(directory.checkpoints))
            else:
                session.messages.append(f"resuming {path} at its beginning: nothing was saved yet")
        except BaseException:
            directory.close()
            raise
        return session

    def _continue_from(self, found: tuple[Checkpoint, list[str]]) -> None:
        self.checkpoint, skipped = found
        with checked_content(self.checkpoint.path):
            position = msgspec.convert(self.checkpoint.content, _Position)
            self.metrics.load_state(position.metrics)
        self.wall_time, self._progress_bytes = position.wall_time, position.progress_bytes
        timesteps, path = int(self.checkpoint.path.name), self.directory.path
        kind = "exactly" if position.synchronized else "with new episodes (the save was not at a synchronization point)"
        self.messages += [*skipped, f"resuming {path} at {timesteps:,} timesteps, {kind}"]

    @property
    def total_timesteps(self) -> int:
        """The length of the run by its ``config.json``. Raises ``CheckpointError`` if there is none."""
        total = self.config.get("total_timesteps")
        if type(total) is not int:
            raise CheckpointError(self.directory.config_path, f"total_timesteps is {total!r:.40}, not a whole number")
        return total

    def begin(self, total_timesteps: int, metrics: Sequence[str]) -> None:
        """Opens ``progress.csv``, from which the rows after the checkpoint are removed.

        Args:
            total_timesteps: the length of the run, beyond the checkpoint.
            metrics: the names of the algorithm's metrics.

        Raises:
            ValueError: if the run is complete.
            CheckpointError: if the file is shorter than the checkpoint says.
            OSError: if a file cannot be written.
        """
        path = self.directory.progress_path
        timesteps = 0 if self.checkpoint is None else int(self.checkpoint.path.name)
        if timesteps >= total_timesteps:
            raise ValueError(
                f"{self.directory.path} is complete at {timesteps:,} timesteps; "
                "to continue, give a larger total with --total-timesteps"
            )
        if self._progress_bytes is None:
            path.unlink(missing_ok=True)  # left by a run that ended before its first save
            self._log = ProgressLog(path, (*RUN_METRICS, *metrics))
        else:
            self._log = ProgressLog.resume(path, self._progress_bytes)
        if self.config.get("total_timesteps") != total_timesteps:
            self.config["total_timesteps"] = total_timesteps
            write_json_atomically(self.directory.config_path, self.config)

    def write(self, row: Mapping[str, Any]) -> None:
        """Writes a row of ``progress.csv``. Raises ``OSError``; the row is then written with the next one."""
        assert self._log is not None
        self._log.write(row)

    def save(
        self, state: Tree, model: dict[str, Array], metadata: ModelMetadata, *, synchronized: bool, wall_time: float
    ) -> None:
        """Writes a checkpoint and the model file. Raises ``OSError``.

        Args:
            state: everything that the rest of the training depends on.
            model: the arrays of the model file.
            metadata: of both.
            synchronized: whether the environments have just restarted at a synchronization point.
            wall_time: seconds since the run began.
        """
        assert self._log is not None
        arrays, values = flatten(state)
        position = _Position(synchronized, wall_time, self._log.byte_length, dict(self.metrics.state()))
        described = metadata.as_json()
        content = {**described, "state": values, **msgspec.structs.asdict(position)}
        self._failed_save = None
        try:
            self._write(arrays, content, model, described)
        except OSError:
            self._failed_save = deepcopy((arrays, content, model, described))  # training continues in these arrays
            raise

    def retry(self) -> bool:
        """Writes the save that failed, if there is one; returns whether it did. Raises ``OSError``."""
        if self._failed_save is None:
            return False
        self._write(*self._failed_save)
        self._failed_save = None
        return True

    def _write(
        self, arrays: dict[str, Array], content: dict[str, Any], model: dict[str, Array], metadata: dict[str, Any]
    ) -> None:
        assert self._log is not None
        self._log.sync()  # a checkpoint must not count rows that a power cut can take away
        write_checkpoint(self.directory.checkpoints, metadata["timesteps"], arrays, content)
        write_model(self.directory.model_path, model, metadata)
        self.saved_at = metadata["timesteps"]

    def close(self) -> None:
        """Closes the files and releases the lock. A second call does nothing."""
        if self._log is not None:
            self._log.close()
        self.directory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


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
