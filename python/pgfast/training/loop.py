"""The training loop: collect, update, report, synchronise, save."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from pgfast.profiling import REPORTS, START
from pgfast.training.advance import advance
from pgfast.training.agent import Agent, Callback
from pgfast.training.progress import Reporter, make_reporter
from pgfast.training.run import Run
from pgfast.training.settings import OptimizerSettings
from pgfast.training.signals import SignalGuard

__all__ = ["Meter", "learn", "train"]


class Meter:
    """Means of the losses since the last row; ``state`` is what ``sums`` were in a checkpoint.

    Raises ``TypeError`` or ``ValueError`` for another.
    """

    def __init__(self, state: dict[str, list[float]] | None = None) -> None:
        self.sums: dict[str, list[float]] = {}
        for name, (total, count) in (state or {}).items():
            if not (math.isfinite(total) and type(count) is int and count > 0):
                raise ValueError(f"sums of {name} must be a finite total and a count of at least 1")
            self.sums[name] = [float(total), count]

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

    ``meter`` and ``wall_time`` go on from a checkpoint. A signal ends the training after the update, saved. An error
    of an environment or a number that is not finite ends it with the state after the last whole update saved.
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
            reporter.message(
                f"could not {what} at {agent.timesteps:,} timesteps: {error}; training goes on, and tries again"
            )

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
            "updates_skipped": agent.skips.total,
            **agent.scores.row(),
            **meter.take(),
            "explained_variance": explained_variance(agent.last_values, agent.last_returns),
            **agent.figures(),
            "steps_per_second": (agent.timesteps - last_row_timesteps) / max(now - last_row_time, 1e-9),
            "wall_time": now - began,
        }
        last_row_time, last_row_timesteps = now, agent.timesteps
        if run is not None:
            attempt("write a row of progress", lambda: run.write(row))
            with suppress(OSError):  # told already when the save was first tried
                if run.retry():
                    reporter.message(f"saved the state of {run.saved_at:,} timesteps after all")
        reporter.update(agent.timesteps, row)
        return callback is None or callback(agent, row) is not False

    if isinstance(s, OptimizerSettings) and s.learning_rate_schedule == "linear":
        assert s.schedule_timesteps is not None
        if target > s.schedule_timesteps:
            reporter.message(
                f"the learning rate is 0 from {s.schedule_timesteps:,} timesteps on; the policy stays as it is there"
            )

    with SignalGuard() as guard:
        with START:
            agent.ensure_environments()
        if run is not None and not run.is_saved:  # so that there is something to go on from, whatever happens
            save(synchronised=agent.updates == 0)
        going_on = True
        try:
            while going_on and agent.timesteps < target and guard.received is None:
                before = agent.timesteps
                meter.add(advance(agent, reporter.message))
                with REPORTS:
                    if agent.timesteps // s.report_every > before // s.report_every:
                        going_on = report()
                    else:
                        reporter.update(agent.timesteps, None)
                if agent.timesteps // s.sync_every > before // s.sync_every:
                    with START:
                        agent.start_environments()
                    save(synchronised=True)
        except BaseException as error:
            agent.close()  # perhaps in the middle of a rollout: whoever goes on starts new games
            if isinstance(error, Exception):  # of a broken environment or number, not of an impatient user
                save(synchronised=False)
            raise
        if agent.timesteps >= target and agent.timesteps != last_row_timesteps:
            report()
        save(synchronised=False)
    guard.raise_if_received()
