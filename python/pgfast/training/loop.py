"""The training loop: collect, update, report, synchronize, save."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from pgfast.metrics import MetricsSinceRow
from pgfast.profiling import REPORTS
from pgfast.reporting.progress import Reporter, make_reporter
from pgfast.reporting.tensorboard import TensorBoardLog, open_events
from pgfast.runs.run_directory import LostRunDirectoryError
from pgfast.runs.session import RunConfig, Session
from pgfast.training.signals import SignalGuard
from pgfast.training.trainer import Trainer

__all__ = ["Callback", "create_session", "train"]

Callback: TypeAlias = Callable[[Any, dict[str, Any]], Any]


def create_session(trainer: Trainer, path: Path | None, total_timesteps: int, preset: str | None) -> Session:
    """A new run directory for a training; see :meth:`pgfast.runs.session.Session.create`."""
    config = RunConfig(
        algo=trainer.name,
        env_id=trainer.env_id,
        preset=preset,
        settings=asdict(trainer.settings),
        total_timesteps=total_timesteps,
    )
    return Session.create(path, config)


def train(
    trainer: Trainer,
    total_timesteps: int,
    *,
    session: Session | None = None,
    callback: Callback | None = None,
    progress_bar: bool = True,
    messages: Sequence[str] = (),
) -> None:
    """Trains until the first whole update at or past ``total_timesteps`` of the run.

    Progress, checkpoints and the model go to ``session``; without one nothing is written. A signal ends the training
    after the update, saved. An error of an environment or a number that is not finite ends it too, with the state after
    the last whole update saved. ``messages`` are shown first.
    """
    with closing(make_reporter(total_timesteps, trainer.timesteps, enabled=progress_bar)) as reporter:
        for text in messages:
            reporter.message(text)
        if session is None:
            _Loop(trainer, total_timesteps, None, None, reporter, callback).run()
            return
        session.begin(total_timesteps, trainer.learner.metrics, trainer.settings.keep_checkpoints)
        resumed_at = None if session.checkpoint is None else trainer.timesteps
        with open_events(session.directory.path, resumed_at) as events:
            _Loop(trainer, total_timesteps, session, events, reporter, callback).run()


class _Loop:
    """One call of :func:`train`."""

    def __init__(
        self,
        trainer: Trainer,
        total_timesteps: int,
        session: Session | None,
        events: TensorBoardLog | None,
        reporter: Reporter,
        callback: Callback | None,
    ) -> None:
        self.trainer, self.total_timesteps = trainer, total_timesteps
        self.session, self.events, self.reporter, self.callback = session, events, reporter, callback
        self.metrics = MetricsSinceRow() if session is None else session.metrics
        now = time.perf_counter()
        self.began = now - (0.0 if session is None else session.wall_time)
        self.row_time, self.row_timesteps, self.save_time = now, trainer.timesteps, now

    def run(self) -> None:
        trainer, s = self.trainer, self.trainer.settings
        for text in [*([] if self.session is None else self.session.messages), *s.remarks(self.total_timesteps)]:
            self.reporter.message(text)
        with SignalGuard() as guard:
            if trainer.sampler.env is None:
                trainer.start_environments()
            if self.session is not None and self.session.checkpoint is None:  # so that any later crash can be resumed
                self.save(synchronized=trainer.updates == 0)
            wanted = True
            try:
                while wanted and trainer.timesteps < self.total_timesteps and guard.received is None:
                    before = trainer.timesteps
                    self.metrics.add(trainer.advance(self.reporter.message))
                    with REPORTS:
                        if trainer.timesteps // s.report_every > before // s.report_every:
                            wanted = self.report()
                        else:
                            self.reporter.update(trainer.timesteps, None)
                    if s.eval_every and trainer.timesteps // s.eval_every > before // s.eval_every:
                        wanted = self.evaluate() and wanted
                    if trainer.timesteps // s.sync_every > before // s.sync_every:
                        trainer.start_environments()
                        self.save(synchronized=True)
                    elif self.is_save_due(before):
                        self.save(synchronized=False)
            except BaseException as error:
                trainer.close()  # perhaps in the middle of a rollout: the next call starts new episodes
                # Not for an impatient second Ctrl-C, nor without a place to save to.
                if isinstance(error, Exception) and not isinstance(error, LostRunDirectoryError):
                    self.save(synchronized=False)
                raise
            if trainer.timesteps >= self.total_timesteps and trainer.timesteps != self.row_timesteps:
                self.report()
            self.save(synchronized=False)
        guard.raise_if_received()

    def report(self) -> bool:
        """Writes and shows a row, and returns whether the callback wants to continue."""
        trainer, now = self.trainer, time.perf_counter()
        row: dict[str, Any] = {
            "timesteps": trainer.timesteps,
            "updates": trainer.updates,
            "updates_skipped": trainer.updates_skipped,
            **trainer.sampler.statistics.row(),
            **self.metrics.take(),
            "steps_per_second": (trainer.timesteps - self.row_timesteps) / max(now - self.row_time, 1e-9),
            "wall_time": now - self.began,
        }
        self.row_time, self.row_timesteps = now, trainer.timesteps
        session, events = self.session, self.events
        if session is not None:
            self.attempt("write a row of progress", lambda: session.write(row))
            if events is not None:
                self.attempt("write a TensorBoard event", lambda: events.write(row))
            with suppress(OSError):  # reported when the save was first tried
                if session.retry():
                    self.reporter.message(f"saved the state at {session.saved_at:,} timesteps, which had failed before")
        self.reporter.update(trainer.timesteps, row)
        answer = None if self.callback is None else self.callback(trainer, row)
        if answer is not None and not answer:
            return False
        s, returns = trainer.settings, trainer.sampler.statistics.returns
        return not (s.eval_every is None and len(returns) == returns.maxlen and self.is_reached(row["return_mean"]))

    def evaluate(self) -> bool:
        """Evaluates the policy, and returns whether to continue."""
        trainer, session, s = self.trainer, self.session, self.trainer.settings
        with REPORTS:
            result = trainer.evaluate(s.eval_episodes, seed=s.seed)
        text = f"return {result.return_mean:.1f} +- {result.return_std:.1f} over {s.eval_episodes} episodes"
        self.reporter.message(f"evaluation at {trainer.timesteps:,} timesteps: {text}")
        if session is not None:
            row = {
                "timesteps": trainer.timesteps,
                "episodes": s.eval_episodes,
                "episodes_cut": result.cut,
                "return_mean": result.return_mean,
                "return_std": result.return_std,
                "return_min": float(result.returns.min()),
                "return_max": float(result.returns.max()),
                "length_mean": float(result.lengths.mean()),
                "wall_time": time.perf_counter() - self.began,
            }
            model, metadata = trainer.learner.model(), trainer.metadata()
            self.attempt("write an evaluation", lambda: session.write_evaluation(row, model, metadata))
        return not self.is_reached(result.return_mean)

    def is_reached(self, return_mean: float) -> bool:
        """Whether the training ends because of its return, and a message if it does."""
        goal = self.trainer.settings.stop_at_return
        if goal is None or return_mean < goal:
            return False
        self.reporter.message(f"the mean return reached {goal:g} at {self.trainer.timesteps:,} timesteps")
        return True

    def is_save_due(self, before: int) -> bool:
        """Whether the update that began at ``before`` timesteps ends where a further checkpoint is asked for."""
        s = self.trainer.settings
        if s.checkpoint_every and self.trainer.timesteps // s.checkpoint_every > before // s.checkpoint_every:
            return True
        return bool(s.save_minutes) and time.perf_counter() - self.save_time > 60.0 * s.save_minutes

    def save(self, *, synchronized: bool) -> None:
        """Saves the trainer unless this state is saved already."""
        trainer, session = self.trainer, self.session
        if session is None or session.saved_at == trainer.timesteps:
            return
        self.save_time = time.perf_counter()
        with REPORTS:
            state, model, metadata = trainer.state(), trainer.learner.model(), trainer.metadata()
            wall_time = time.perf_counter() - self.began
            self.attempt(
                "save", lambda: session.save(state, model, metadata, synchronized=synchronized, wall_time=wall_time)
            )

    def attempt(self, what: str, write: Callable[[], object]) -> None:
        """Writes, or reports that the disk failed."""
        try:
            write()
        except OSError as error:
            self.reporter.message(
                f"could not {what} at {self.trainer.timesteps:,} timesteps: {error}; "
                "training continues, and the write is retried at the next row"
            )
