"""The training loop: collect, update, report, synchronise, save."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from pgfast._native import native_info
from pgfast.profiling import REPORTS, START
from pgfast.training.agent import Agent, Callback
from pgfast.training.checkpoints import write_checkpoint
from pgfast.training.progress import Reporter, make_reporter
from pgfast.training.progress_log import ProgressLog
from pgfast.training.run_directory import RunDirectory
from pgfast.training.signals import SignalGuard
from pgfast.training.tensorboard import TensorBoardLog, tensorboard_available

__all__ = ["FIELDS", "Run", "learn", "train"]

FIELDS = (
    "timesteps",
    "updates",
    "episodes",
    "episodes_cut",
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


class Meter:
    """Means of the losses since the last row."""

    def __init__(self, state: dict[str, list[float]] | None = None) -> None:
        self.sums: dict[str, list[float]] = state or {}

    def add(self, losses: dict[str, float]) -> None:
        """One update."""
        for name, value in losses.items():
            total = self.sums.setdefault(name, [0.0, 0])
            total[0] += value
            total[1] += 1

    def take(self) -> dict[str, float]:
        """The means, and starts again."""
        means = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums = {}
        return means


def explained_variance(values: np.ndarray[Any, Any] | None, returns: np.ndarray[Any, Any] | None) -> float | None:
    """1 - Var(R - V) / Var(R): 1 for a perfect value function, 0 for a constant one; None where R is constant."""
    if values is None or returns is None:
        return None
    variance = float(np.var(returns, dtype=np.float64))
    return None if variance == 0 else 1.0 - float(np.var(returns - values, dtype=np.float64)) / variance


class Run:
    """A run directory being written: progress, TensorBoard events, checkpoints, model."""

    def __init__(self, directory: RunDirectory, log: ProgressLog, *, resumed_at: int | None = None) -> None:
        self.directory = directory
        self._log = log
        self._events = TensorBoardLog(directory.path, purge_step=resumed_at) if tensorboard_available() else None
        self.resumed = resumed_at is not None
        self.saved_at: int | None = None  # timesteps of the last save of this process

    @classmethod
    def create(cls, agent: Agent, path: Path | None, total_timesteps: int) -> Run:
        """A new run directory. Raises ``FileExistsError`` if ``path`` exists."""
        env_id = agent.env_id or "custom"
        directory = RunDirectory.create(path, algo=agent.name, env_id=env_id, seed=agent.settings.seed)
        directory.write_config(describe(agent, total_timesteps))
        return cls(directory, ProgressLog(directory.progress_path, (*FIELDS, *agent.extra_fields)))

    def write(self, row: dict[str, Any]) -> None:
        """One row of progress."""
        self._log.write(row)
        if self._events is not None:
            self._events.write(row, int(row["timesteps"]))

    def save(self, agent: Agent, extra: dict[str, Any]) -> None:
        """A checkpoint and the model file, unless this state is saved already. Raises ``OSError``."""
        if self.saved_at == agent.timesteps:
            return
        arrays, state = agent.state()
        self._log.sync()  # a checkpoint must not know of rows that a power cut takes away
        state = {**state, **extra, "progress_bytes": self._log.byte_length}
        write_checkpoint(self.directory.checkpoints, agent.timesteps, arrays, state)
        agent.save(self.directory.model_path)
        self.saved_at = agent.timesteps

    def close(self) -> None:
        """Closes the files and gives the lock back."""
        self._log.close()
        if self._events is not None:
            self._events.close()
        self.directory.close()


def describe(agent: Agent, total_timesteps: int) -> dict[str, Any]:
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


def learn(
    agent: Agent, target: int, *, callback: Callback | None, progress_bar: bool, run_dir: str | Path | None
) -> None:
    """``Agent.learn``: trains to ``target`` timesteps, in a new run directory if one is given."""
    run = None if run_dir is None else Run.create(agent, Path(run_dir), target)
    reporter = make_reporter(target, agent.timesteps, enabled=progress_bar)
    try:
        train(agent, target, run=run, reporter=reporter, callback=callback)
    finally:
        reporter.close()
        if run is not None:
            run.close()


def train(
    agent: Agent,
    target: int,
    *,
    run: Run | None,
    reporter: Reporter,
    callback: Callback | None = None,
    meter: Meter | None = None,
    wall_time: float = 0.0,
) -> None:
    """Trains to ``target`` timesteps, the end of a whole update.

    ``meter`` and ``wall_time`` go on from a checkpoint. A signal ends the training after the update, saved.
    """
    s = agent.settings
    meter = meter or Meter()
    began = time.perf_counter() - wall_time
    last_row_time, last_row_timesteps = time.perf_counter(), agent.timesteps

    def extra(synchronised: bool) -> dict[str, Any]:
        return {"synchronised": synchronised, "meter": meter.sums, "wall_time": time.perf_counter() - began}

    def attempt(what: str, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            reporter.message(f"could not {what} at {agent.timesteps:,} timesteps: {error}; training goes on")

    def save(synchronised: bool) -> None:
        if run is not None:
            with REPORTS:
                attempt("save", lambda: run.save(agent, extra(synchronised)))

    def report() -> bool:
        nonlocal last_row_time, last_row_timesteps
        now = time.perf_counter()
        row: dict[str, Any] = {
            "timesteps": agent.timesteps,
            "updates": agent.updates,
            **agent.scores.row(),
            **meter.take(),
            "explained_variance": explained_variance(agent.last_values, agent.last_returns),
            **agent.figures(),
            "steps_per_second": (agent.timesteps - last_row_timesteps) / max(now - last_row_time, 1e-9),
            "wall_time": now - began,
        }
        last_row_time, last_row_timesteps = now, agent.timesteps
        if run is not None:
            attempt("write progress.csv", lambda: run.write(row))
        reporter.update(agent.timesteps, row)
        return callback is None or callback(agent, row) is not False

    with SignalGuard() as guard:
        with START:
            agent.ensure_environments()
        if run is not None and not run.resumed:  # so that there is something to go on from, whatever happens
            save(synchronised=agent.updates == 0)
        going_on = True
        while going_on and agent.timesteps < target and guard.received is None:
            before = agent.timesteps
            try:
                agent.collect()
                meter.add(agent.update())
            except BaseException:
                agent.close()  # in the middle of a rollout: whoever goes on starts new games
                raise
            agent.timesteps += agent.collector.rollout.rows
            agent.updates += 1
            with REPORTS:
                if agent.timesteps // s.report_every > before // s.report_every:
                    going_on = report()
                else:
                    reporter.update(agent.timesteps, None)
            if agent.timesteps // s.sync_every > before // s.sync_every:
                with START:
                    agent.start_environments()
                save(synchronised=True)
        if agent.timesteps >= target and agent.timesteps != last_row_timesteps:
            report()
        save(synchronised=False)
    guard.raise_if_received()
