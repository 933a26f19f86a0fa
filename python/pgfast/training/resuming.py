"""Going on with a run from its last checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgfast.training.agent import Agent
from pgfast.training.checkpoints import list_checkpoints, read_latest
from pgfast.training.files import CheckpointError
from pgfast.training.loading import ALGORITHMS, restore_agent
from pgfast.training.loop import Meter, train
from pgfast.training.progress import make_reporter
from pgfast.training.progress_log import ProgressLog
from pgfast.training.run import FIELDS, Run
from pgfast.training.run_directory import RunDirectory

__all__ = ["Resumption", "resume"]


@dataclass
class Resumption:
    """A run ready to go on."""

    agent: Agent
    run: Run
    meter: Meter
    wall_time: float
    total_timesteps: int
    messages: list[str]

    def train(self) -> None:
        """Goes on to ``total_timesteps``; see :func:`pgfast.training.loop.train`."""
        reporter = make_reporter(self.total_timesteps, self.agent.timesteps, enabled=True)
        try:
            for text in self.messages:
                reporter.message(text)
            train(
                self.agent,
                self.total_timesteps,
                run=self.run,
                reporter=reporter,
                meter=self.meter,
                wall_time=self.wall_time,
            )
        finally:
            reporter.close()
            self.run.close()


def resume(path: Path, total_timesteps: int | None = None) -> Resumption:
    """Opens a run directory at its newest whole checkpoint, or at its beginning if the first was never finished.

    ``total_timesteps`` is the run's total; None for the one it was started with. A checkpoint of a synchronisation
    point goes on bit for bit; after any other save the games begin anew, and ``messages`` says so.

    Raises :class:`~pgfast.training.files.CheckpointError` (nothing to resume from), ``ValueError`` (the run is
    complete), ``OSError`` (another process is writing the run).
    """
    directory = RunDirectory.open(path)
    try:
        config = directory.read_config()
        total = config.get("total_timesteps") if total_timesteps is None else total_timesteps
        if type(total) is not int:
            raise CheckpointError(directory.config_path, f"total_timesteps is {total!r:.40}, not a whole number")
        found = _last_save(directory) if list_checkpoints(directory.checkpoints) else _beginning(directory, config)
        if found.agent.timesteps >= total:
            raise ValueError(
                f"{path} is complete at {found.agent.timesteps:,} timesteps; "
                "give a larger total with --total-timesteps to go on"
            )
        log = _open_log(directory, found)
        directory.write_config({**config, "total_timesteps": total})
        run = Run(directory, log, resumed_at=found.agent.timesteps + 1, is_saved=found.progress_bytes is not None)
    except BaseException:
        directory.close()
        raise
    return Resumption(found.agent, run, found.meter, found.wall_time, total, found.messages)


@dataclass
class _Found:
    """Where a run stopped."""

    agent: Agent
    meter: Meter
    wall_time: float
    progress_bytes: int | None  # of progress.csv that belong to it; None for a run without a save
    messages: list[str]


def _last_save(directory: RunDirectory) -> _Found:
    checkpoint, arrays, state, skipped = read_latest(directory.checkpoints)
    messages = [f"skipped {broken}: {reason}" for broken, reason in skipped]
    agent = restore_agent(checkpoint, arrays, state, env=None)
    if agent.source is None:
        raise CheckpointError(directory.path, "the run was not started from an environment id, so it cannot be resumed")
    try:
        agent.load_state(arrays, state)
        synchronised, wall_time = bool(state["synchronised"]), float(state["wall_time"])
        meter, progress_bytes = Meter(state["meter"]), int(state["progress_bytes"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CheckpointError(checkpoint, f"{type(error).__name__}: {error}") from None
    unknown = meter.sums.keys() - {*FIELDS, *agent.extra_fields}
    if unknown:
        raise CheckpointError(checkpoint, f"has sums of {sorted(unknown)}, which are no columns of progress.csv")
    exact = "exactly" if synchronised else "with new games (the save was not at a synchronisation point)"
    messages.append(f"resuming {directory.path} at {agent.timesteps:,} timesteps, {exact}")
    return _Found(agent, meter, wall_time, progress_bytes, messages)


def _beginning(directory: RunDirectory, config: dict[str, Any]) -> _Found:
    """Of a run that was ended before its first save was whole."""
    try:
        algorithm, env_id, settings = ALGORITHMS[config["algo"]], config["env_id"], config["settings"]
        if not isinstance(env_id, str):
            raise TypeError("the run was not started from an environment id, so it cannot be resumed")
        agent = algorithm(env_id, preset=None, **settings)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(directory.config_path, f"{type(error).__name__}: {error}") from None
    return _Found(agent, Meter(), 0.0, None, [f"resuming {directory.path} at its beginning: nothing was saved yet"])


def _open_log(directory: RunDirectory, found: _Found) -> ProgressLog:
    if found.progress_bytes is not None:
        return ProgressLog.resume(directory.progress_path, found.progress_bytes)
    directory.progress_path.unlink(missing_ok=True)
    return ProgressLog(directory.progress_path, (*FIELDS, *found.agent.extra_fields))
