"""Runs that train: new ones, and those that go on from their last checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from pgfast.agent import ALGORITHMS, Agent
from pgfast.loading import restore
from pgfast.metrics import MetricsSinceRow
from pgfast.reporting.progress import make_reporter
from pgfast.reporting.tensorboard import open_events
from pgfast.runs.checkpoints import list_checkpoints, read_latest
from pgfast.runs.files import CheckpointError, checked_content, read_json, write_json_atomically
from pgfast.runs.run import FIELDS, Run
from pgfast.runs.run_directory import RunDirectory
from pgfast.training.loop import train

__all__ = ["Session", "resume"]

# (agent, metrics since the last row, wall time, bytes of progress.csv or None without a save, messages)
_Found: TypeAlias = tuple[Agent, MetricsSinceRow, float, int | None, list[str]]


@dataclass
class Session:
    """A run ready to begin or to go on."""

    agent: Agent
    run: Run
    total_timesteps: int
    metrics: MetricsSinceRow = field(default_factory=MetricsSinceRow)
    wall_time: float = 0.0
    messages: list[str] = field(default_factory=list)

    def train(self) -> None:
        """Trains to ``total_timesteps`` and closes the run; see :func:`pgfast.training.loop.train`."""
        reporter = make_reporter(self.total_timesteps, self.agent.timesteps, enabled=True)
        try:
            for text in self.messages:
                reporter.message(text)
            train(
                self.agent,
                self.total_timesteps,
                run=self.run,
                reporter=reporter,
                metrics=self.metrics,
                wall_time=self.wall_time,
            )
        finally:
            reporter.close()
            self.run.close()


def resume(path: Path, total_timesteps: int | None = None) -> Session:
    """Opens a run directory at its newest whole checkpoint, or at its beginning if the first was never finished.

    ``total_timesteps`` is the run's total; None for the one it was started with. A checkpoint of a synchronisation
    point goes on bit for bit; after any other save the games begin anew, and ``messages`` says so.

    Raises :class:`~pgfast.runs.files.CheckpointError` (nothing to resume from), ``ValueError`` (the run is
    complete), ``OSError`` (another process is writing the run).
    """
    directory = RunDirectory.open(path)
    try:
        config = read_json(directory.config_path)
        total = config.get("total_timesteps") if total_timesteps is None else total_timesteps
        if type(total) is not int:
            raise CheckpointError(directory.config_path, f"total_timesteps is {total!r:.40}, not a whole number")
        found = _last_save(directory) if list_checkpoints(directory.checkpoints) else _beginning(directory, config)
        agent, metrics, wall_time, progress_bytes, messages = found
        if agent.timesteps >= total:
            raise ValueError(
                f"{path} is complete at {agent.timesteps:,} timesteps; "
                "give a larger total with --total-timesteps to go on"
            )
        run = Run(
            directory, agent.learner.metrics, open_events, progress_bytes=progress_bytes, resumed_at=agent.timesteps
        )
        write_json_atomically(directory.config_path, {**config, "total_timesteps": total})
    except BaseException:
        directory.close()
        raise
    return Session(agent, run, total, metrics, wall_time, messages)


def _last_save(directory: RunDirectory) -> _Found:
    checkpoint, arrays, content, skipped = read_latest(directory.checkpoints)
    messages = [f"skipped {broken}: {reason}" for broken, reason in skipped]
    agent = restore(checkpoint, arrays, content, env=None)
    if agent.source is None:
        raise CheckpointError(directory.path, "the run was not started from an environment id, so it cannot be resumed")
    with checked_content(checkpoint):
        synchronised, wall_time = bool(content["synchronised"]), float(content["wall_time"])
        progress_bytes, metrics = int(content["progress_bytes"]), MetricsSinceRow()
        metrics.load_state(content["metrics"])
    unknown = metrics.names - {*FIELDS, *agent.learner.metrics}
    if unknown:
        raise CheckpointError(checkpoint, f"has sums of {sorted(unknown)}, which are no columns of progress.csv")
    exact = "exactly" if synchronised else "with new games (the save was not at a synchronisation point)"
    messages.append(f"resuming {directory.path} at {agent.timesteps:,} timesteps, {exact}")
    return agent, metrics, wall_time, progress_bytes, messages


def _beginning(directory: RunDirectory, config: dict[str, Any]) -> _Found:
    """The start of a run that ended before its first save was whole."""
    with checked_content(directory.config_path):
        algorithm, env_id, settings = ALGORITHMS[config["algo"]], config["env_id"], config["settings"]
        if not isinstance(env_id, str):
            raise TypeError("the run was not started from an environment id, so it cannot be resumed")
        agent = algorithm(env_id, preset=None, **settings)
    return agent, MetricsSinceRow(), 0.0, None, [f"resuming {directory.path} at its beginning: nothing was saved yet"]
