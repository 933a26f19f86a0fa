"""The run directory of a training: created or resumed, then written until it is closed."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Self, TypeAlias

import msgspec

from pgfast._native import native_info
from pgfast._typing import Array
from pgfast.metrics import RUN_METRICS, MetricsSinceRow
from pgfast.runs.checkpoints import Checkpoint, list_checkpoints, read_latest, remove_later, write_checkpoint
from pgfast.runs.files import CheckpointError, checked_content, read_json, write_json_atomically
from pgfast.runs.model_metadata import ModelMetadata, StoredCount
from pgfast.runs.models import write_model
from pgfast.runs.progress_log import ProgressLog, read_header
from pgfast.runs.run_directory import RunDirectory
from pgfast.state import Tree, flatten

__all__ = ["Position", "RunConfig", "Session", "read_config"]

_Save: TypeAlias = tuple[dict[str, Array], dict[str, Any], dict[str, Array], dict[str, Any]]


class RunConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The part of ``config.json`` that a run is started from."""

    algo: str
    env_id: str | None
    preset: str | None
    settings: dict[str, Any]
    total_timesteps: Annotated[int, msgspec.Meta(ge=1)]
    packages: dict[str, str | None] = {}


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a checkpoint that the loop continues from."""

    timesteps: StoredCount
    synchronized: bool
    wall_time: float
    progress_bytes: Annotated[int, msgspec.Meta(ge=1)]
    metrics: dict[str, Any]
    evaluations_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    episodes_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    best_return: float | None = None

    @classmethod
    def parse(cls, checkpoint: Checkpoint) -> tuple[Position, MetricsSinceRow]:
        """The position, and the metrics since the last row. Raises ``CheckpointError``."""
        metrics = MetricsSinceRow()
        with checked_content(checkpoint.path):
            position = msgspec.convert(checkpoint.content, cls)
            metrics.load_state(position.metrics)
            if int(checkpoint.path.name) != position.timesteps:
                raise ValueError(f"has the name {checkpoint.path.name}, but was saved at {position.timesteps}")
        return position, metrics


class Session:
    """A run directory and what a training continues from: ``with Session.create(...) as session: train(...)``.

    ``checkpoint`` is the one to resume from, None for a run without one; ``metrics`` and ``wall_time`` are those since
    the last row and since the run began; ``messages`` are for the user; ``saved_at`` is the timestep of the last save
    of this process.

    A disk failure does not damage existing files: a row waits for the next one, and a save is kept in memory until
    :meth:`retry` writes it or a newer save replaces it.
    """

    def __init__(self, directory: RunDirectory, config: RunConfig, file: dict[str, Any]) -> None:
        self.directory, self.config = directory, config
        self._config_file = file
        self.checkpoint: Checkpoint | None = None
        self.metrics = MetricsSinceRow()
        self.wall_time = 0.0
        self.messages: list[str] = []
        self.saved_at: int | None = None
        self._progress_bytes: int | None = None
        self._synchronized: Path | None = None  # the newest checkpoint of a synchronization point
        self._keep = 3
        self._goes_back = False  # the user has given up the checkpoints after the one that is resumed
        self.best_return: float | None = None  # mean return of the best evaluation
        self._log: ProgressLog | None = None
        self._evaluations: ProgressLog | None = None
        self._evaluations_bytes: int | None = None
        self._episodes: ProgressLog | None = None
        self._episodes_bytes: int | None = None
        self._failed_save: _Save | None = None

    @classmethod
    def create(cls, path: Path | None, config: RunConfig) -> Session:
        """A new run directory with its ``config.json``, which also describes the machine.

        Args:
            path: the directory, which must not exist; None for ``runs/<algo>-<env_id>-<seed>``.
            config: with JSON values as settings.

        Raises:
            FileExistsError: if ``path`` exists.
            OSError: if the directory cannot be made.
        """
        directory = RunDirectory.create(path, algo=config.algo, env_id=config.env_id, seed=config.settings["seed"])
        file = {**msgspec.structs.asdict(config), **_describe_machine()}
        write_json_atomically(directory.config_path, file)
        return cls(directory, config, file)

    @classmethod
    def resume(cls, path: Path, *, exact: bool = False) -> Session:
        """A run directory at its newest whole checkpoint, or at its beginning if no save was ever finished.

        ``exact`` goes back to the newest checkpoint of a synchronization point.

        Raises:
            CheckpointError: if there is nothing to resume from.
            OSError: if it is not a run directory, or another process is writing it.
        """
        directory = RunDirectory.open(path)
        try:
            session = cls(directory, *read_config(directory.config_path))
            session._compare_instruction_sets()
            if list_checkpoints(directory.checkpoints):
                session._goes_back = exact
                session._continue_from(read_latest(directory.checkpoints, synchronized=exact))
            else:
                session.messages.append(f"resuming {path} at its beginning: nothing was saved yet")
        except BaseException:
            directory.close()
            raise
        return session

    def _compare_instruction_sets(self) -> None:
        native, now = self._config_file.get("native"), native_info()["isa"]
        before = native.get("isa") if isinstance(native, dict) else None
        if isinstance(before, str) and before != now:
            self.messages.append(
                f"the run was started with the instruction set {before:.20}, and continues with {now}, whose bits "
                f"differ; PGFAST_ISA={before:.20} keeps them"
            )

    def _continue_from(self, found: tuple[Checkpoint, list[str]]) -> None:
        self.checkpoint, skipped = found
        position, self.metrics = Position.parse(self.checkpoint)
        self.wall_time, self._progress_bytes = position.wall_time, position.progress_bytes
        self.best_return, self._evaluations_bytes = position.best_return, position.evaluations_bytes
        self._episodes_bytes = position.episodes_bytes
        with suppress(CheckpointError):
            self._synchronized = read_latest(self.directory.checkpoints, synchronized=True)[0].path
        kind = "exactly" if position.synchronized else "with new episodes (the save was not at a synchronization point)"
        self.messages += [*skipped, f"resuming {self.directory.path} at {position.timesteps:,} timesteps, {kind}"]

    def begin(
        self,
        total_timesteps: int,
        metrics: Sequence[str],
        keep_checkpoints: int = 3,
        episode_columns: Sequence[str] | None = None,
    ) -> None:
        """Opens ``progress.csv`` and ``episodes.csv``, from which the rows after the checkpoint are removed.

        An exact resume removes later checkpoints, too. Others leave them: whatever made them unreadable may pass.

        Args:
            total_timesteps: the length of the run, beyond the checkpoint.
            metrics: the names of the metrics besides those of every run.
            keep_checkpoints: how many are kept, besides the newest of a synchronization point.
            episode_columns: the columns of ``episodes.csv``; None for no such file.

        Raises:
            ValueError: if the run is complete, or its ``progress.csv`` lacks one of the metrics.
            CheckpointError: if a file is shorter than the checkpoint says.
            OSError: if a file cannot be written.
        """
        timesteps = 0 if self.checkpoint is None else int(self.checkpoint.path.name)
        if timesteps >= total_timesteps:
            raise ValueError(
                f"{self.directory.path} is complete at {timesteps:,} timesteps; "
                "to continue, give a larger total with --total-timesteps"
            )
        path = self.directory.progress_path
        if self._progress_bytes is not None and path.exists():
            new = set(metrics).difference(read_header(path))
            if new:
                raise ValueError(f"{path} has no column {min(new)}: a run that has begun takes no further metrics")
        self._keep = keep_checkpoints
        if self._goes_back:
            remove_later(self.directory.checkpoints, timesteps)
        self._log = self._open_log(path, (*RUN_METRICS, *metrics), self._progress_bytes)
        if episode_columns is not None:
            self._episodes = self._open_log(self.directory.episodes_path, episode_columns, self._episodes_bytes)
        path = self.directory.evaluations_path
        if self._evaluations_bytes is None:
            path.unlink(missing_ok=True)
        elif path.exists():
            self._evaluations = ProgressLog.resume(path, self._evaluations_bytes)
        if self.config.total_timesteps != total_timesteps:
            write_json_atomically(self.directory.config_path, {**self._config_file, "total_timesteps": total_timesteps})

    def _open_log(self, path: Path, columns: Sequence[str], byte_length: int | None) -> ProgressLog:
        """The file after its first ``byte_length`` bytes, or a new one if there are none or they are lost."""
        if byte_length is not None:
            if path.exists():
                return ProgressLog.resume(path, byte_length)
            self.messages.append(f"{path} is lost: a new one begins")
        path.unlink(missing_ok=True)  # left by a run that ended before its first save
        return ProgressLog(path, columns)

    def write(self, row: Mapping[str, Any]) -> None:
        """Writes a row of ``progress.csv``. Raises ``OSError``; the row is then written with the next one.

        Raises :class:`~pgfast.runs.run_directory.LostRunDirectoryError` as :meth:`save` does.
        """
        assert self._log is not None
        self.directory.require_in_place()
        self._log.write(row)

    def write_episodes(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes rows of ``episodes.csv``. Raises as :meth:`write` does."""
        assert self._episodes is not None
        self.directory.require_in_place()
        self._episodes.write(*rows)

    def write_evaluation(self, row: Mapping[str, Any], model: dict[str, Array], metadata: ModelMetadata) -> bool:
        """Writes a row of ``evaluations.csv``, and the model if it is the best so far; returns whether it is.

        Raises as :meth:`write` does.
        """
        self.directory.require_in_place()
        is_best = self.best_return is None or row["return_mean"] > self.best_return
        if is_best:
            self.best_return = row["return_mean"]
            write_model(self.directory.best_model_path, model, metadata.as_json())
        if self._evaluations is None:
            self._evaluations = ProgressLog(self.directory.evaluations_path, tuple(row))
        self._evaluations.write(row)
        return is_best

    def save(
        self, state: Tree, model: dict[str, Array], metadata: ModelMetadata, *, synchronized: bool, wall_time: float
    ) -> Path:
        """Writes a checkpoint and the model file; returns the path of the checkpoint.

        Raises ``OSError``, and :class:`~pgfast.runs.run_directory.LostRunDirectoryError` if the directory was moved or
        deleted.

        Args:
            state: everything that the rest of the training depends on.
            model: the arrays of the model file.
            metadata: of both.
            synchronized: whether the environments have just restarted at a synchronization point.
            wall_time: seconds since the run began.
        """
        assert self._log is not None
        arrays, values = flatten(state)
        position = Position(
            timesteps=metadata.timesteps,
            synchronized=synchronized,
            wall_time=wall_time,
            progress_bytes=self._log.byte_length,
            metrics=dict(self.metrics.state()),
            evaluations_bytes=None if self._evaluations is None else self._evaluations.byte_length,
            episodes_bytes=None if self._episodes is None else self._episodes.byte_length,
            best_return=self.best_return,
        )
        described = metadata.as_json()
        content = {**described, "state": values, **msgspec.structs.asdict(position)}
        self._failed_save = None
        try:
            return self._write(arrays, content, model, described)
        except OSError:
            self._failed_save = deepcopy((arrays, content, model, described))  # training continues in these arrays
            raise

    def retry(self) -> Path | None:
        """Writes the save that failed, if there is one; returns the path of its checkpoint. Raises ``OSError``."""
        if self._failed_save is None:
            return None
        written = self._write(*self._failed_save)
        self._failed_save = None
        return written

    def _write(
        self, arrays: dict[str, Array], content: dict[str, Any], model: dict[str, Array], metadata: dict[str, Any]
    ) -> Path:
        assert self._log is not None
        self.directory.require_in_place()
        for log in (self._log, self._evaluations, self._episodes):
            if log is not None:
                log.sync()  # a checkpoint must not count rows that a power cut can take away
        protected = None if content["synchronized"] else self._synchronized
        written = write_checkpoint(
            self.directory.checkpoints, metadata["timesteps"], arrays, content, self._keep, protected
        )
        if content["synchronized"]:
            self._synchronized = written
        write_model(self.directory.model_path, model, metadata)
        self.saved_at = metadata["timesteps"]
        return written

    def close(self) -> None:
        """Closes the files and releases the lock. A second call does nothing."""
        for log in (self._log, self._evaluations, self._episodes):
            if log is not None:
                log.close()
        self.directory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_config(path: Path) -> tuple[RunConfig, dict[str, Any]]:
    """A ``config.json``, and all of its content. Raises ``CheckpointError``."""
    file = read_json(path)
    with checked_content(path):
        return msgspec.convert(file, RunConfig), file


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
