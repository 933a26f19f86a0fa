"""Going on with a run from its last checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pgfast.training.agent import Agent
from pgfast.training.checkpoints import read_latest
from pgfast.training.files import CheckpointError
from pgfast.training.loading import restore_agent
from pgfast.training.loop import Meter, Run, train
from pgfast.training.progress import make_reporter
from pgfast.training.progress_log import ProgressLog
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
    """Opens a run directory at its newest whole checkpoint.

    ``total_timesteps`` is the run's total; None for the one it was started with. A checkpoint of a synchronisation
    point goes on bit for bit; after any other save the games begin anew, and ``messages`` says so.

    Raises :class:`~pgfast.training.files.CheckpointError` (nothing to resume from), ``ValueError`` (the run is
    complete), ``OSError`` (another process is writing the run).
    """
    directory = RunDirectory.open(path)
    try:
        config = directory.read_config()
        checkpoint, arrays, state, skipped = read_latest(directory.checkpoints)
        messages = [f"skipped {broken}: {reason}" for broken, reason in skipped]
        agent = restore_agent(checkpoint, arrays, state, env=None)
        if agent.source is None:
            raise CheckpointError(path, "the run was not started from an environment id, so it cannot be resumed")
        try:
            agent.load_state(arrays, state)
            synchronised, wall_time = bool(state["synchronised"]), float(state["wall_time"])
            meter, progress_bytes = Meter(state["meter"]), int(state["progress_bytes"])
            total = int(config["total_timesteps"]) if total_timesteps is None else total_timesteps
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(checkpoint, f"{type(error).__name__}: {error}") from None
        if agent.timesteps >= total:
            raise ValueError(
                f"{path} is complete at {agent.timesteps:,} timesteps; "
                "give a larger total with --total-timesteps to go on"
            )
        exact = "exactly" if synchronised else "with new games (the save was not at a synchronisation point)"
        messages.append(f"resuming {path} at {agent.timesteps:,} timesteps, {exact}")
        directory.write_config({**config, "total_timesteps": total})
        log = ProgressLog.resume(directory.progress_path, progress_bytes)
        run = Run(directory, log, resumed_at=agent.timesteps + 1)
    except BaseException:
        directory.close()
        raise
    return Resumption(agent, run, meter, wall_time, total, messages)
