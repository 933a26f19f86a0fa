"""The training loop: collect, update, report, synchronise, save."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from pgfast.learning.settings import OptimizerSettings
from pgfast.metrics import MetricsSinceRow
from pgfast.profiling import REPORTS
from pgfast.reporting.progress import Reporter
from pgfast.reporting.tensorboard import open_events
from pgfast.runs.run import Run
from pgfast.training.signals import SignalGuard
from pgfast.training.trainer import Trainer

__all__ = ["Callback", "create_run", "train"]

Callback: TypeAlias = Callable[[Any, dict[str, Any]], bool | None]


def create_run(trainer: Trainer, path: Path | None, total_timesteps: int, preset: str | None) -> Run:
    """A new run directory for a training, named after it if ``path`` is None. Raises ``FileExistsError``."""
    config = {
        "algo": trainer.name,
        "env_id": trainer.env_id,
        "preset": preset,
        "settings": asdict(trainer.settings),
        "total_timesteps": total_timesteps,
    }
    return Run.create(path, config, trainer.learner.metrics, open_events)


def train(
    trainer: Trainer,
    target: int,
    *,
    run: Run | None,
    reporter: Reporter,
    callback: Callback | None = None,
    metrics: MetricsSinceRow | None = None,
    wall_time: float = 0.0,
) -> None:
    """Trains to ``target`` timesteps, the end of a whole update.

    ``metrics`` and ``wall_time`` continue those of a checkpoint. A signal ends the training after the update, saved. An
    error of an environment or a number that is not finite ends it with the state after the last whole update saved.
    """
    s = trainer.settings
    since_row = metrics or MetricsSinceRow()
    began = time.perf_counter() - wall_time
    last_row_time, last_row_timesteps = time.perf_counter(), trainer.timesteps

    def attempt(what: str, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            reporter.message(
                f"could not {what} at {trainer.timesteps:,} timesteps: {error}; training goes on, and tries again"
            )

    def save(synchronised: bool) -> None:
        if run is not None and run.saved_at != trainer.timesteps:
            progress = {
                "synchronised": synchronised,
                "metrics": dict(since_row.state()),
                "wall_time": time.perf_counter() - began,
            }
            state, model = trainer.state(), trainer.learner.model()
            with REPORTS:
                attempt("save", lambda: run.save(state, model, trainer.metadata(), progress))

    def report() -> bool:
        nonlocal last_row_time, last_row_timesteps
        now = time.perf_counter()
        row: dict[str, Any] = {
            "timesteps": trainer.timesteps,
            "updates": trainer.updates,
            "updates_skipped": trainer.updates_skipped,
            **trainer.sampler.statistics.row(),
            **since_row.take(),
            "steps_per_second": (trainer.timesteps - last_row_timesteps) / max(now - last_row_time, 1e-9),
            "wall_time": now - began,
        }
        last_row_time, last_row_timesteps = now, trainer.timesteps
        if run is not None:
            attempt("write a row of progress", lambda: run.write(row))
            with suppress(OSError):  # told already when the save was first tried
                if run.retry():
                    reporter.message(f"saved the state of {run.saved_at:,} timesteps after all")
        reporter.update(trainer.timesteps, row)
        return callback is None or callback(trainer, row) is not False

    if isinstance(s, OptimizerSettings) and s.learning_rate_schedule == "linear":
        assert s.schedule_timesteps is not None
        if target > s.schedule_timesteps:
            reporter.message(
                f"the learning rate is 0 from {s.schedule_timesteps:,} timesteps on; the policy stays as it is there"
            )

    with SignalGuard() as guard:
        if trainer.sampler.env is None:
            trainer.start_environments()
        if run is not None and not run.is_saved:  # so that there is something to go on from, whatever happens
            save(synchronised=trainer.updates == 0)
        going_on = True
        try:
            while going_on and trainer.timesteps < target and guard.received is None:
                before = trainer.timesteps
                since_row.add(trainer.advance(reporter.message))
                with REPORTS:
                    if trainer.timesteps // s.report_every > before // s.report_every:
                        going_on = report()
                    else:
                        reporter.update(trainer.timesteps, None)
                if trainer.timesteps // s.sync_every > before // s.sync_every:
                    trainer.start_environments()
                    save(synchronised=True)
        except BaseException as error:
            trainer.close()  # perhaps in the middle of a rollout: the next call starts new episodes
            if isinstance(error, Exception):  # of a broken environment or number, not of an impatient user
                save(synchronised=False)
            raise
        if trainer.timesteps >= target and trainer.timesteps != last_row_timesteps:
            report()
        save(synchronised=False)
    guard.raise_if_received()
