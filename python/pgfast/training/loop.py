"""The training loop: collect, update, report, synchronize, save."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from pgfast.envs.failures import with_cure
from pgfast.metrics import METRICS, RUN_METRICS, MetricsSinceRow, Row
from pgfast.profiling import REPORTS, START
from pgfast.reporting.progress import Reporter, make_reporter
from pgfast.reporting.tensorboard import TensorBoardLog, open_events
from pgfast.runs.run_directory import LostRunDirectoryError
from pgfast.runs.session import RunConfig, Session
from pgfast.sampling.episode_recorder import EPISODE_COLUMNS, EpisodeRecorder
from pgfast.training.byte_ranges import ByteRanges
from pgfast.training.callbacks import Callbacks
from pgfast.training.distributed import start_crew
from pgfast.training.distributed.driver import AllWorkersLostError
from pgfast.training.signals import SignalGuard
from pgfast.training.trainer import Trainer

__all__ = ["create_session", "train"]

Written = TypeVar("Written")


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
    callbacks: Callbacks | None = None,
    progress_bar: bool = True,
    messages: Sequence[str] = (),
) -> None:
    """Trains until the first whole update at or past ``total_timesteps`` of the run.

    Progress, checkpoints and the model go to ``session``; without one nothing is written. A signal ends the training
    after the update, saved. An error of an environment, a number that is not finite or an error of a callback ends it
    too, with the state after the last whole update saved. ``messages`` are shown first.
    """
    s, callbacks = trainer.settings, Callbacks() if callbacks is None else callbacks
    metrics = METRICS | callbacks.metrics
    made = make_reporter(total_timesteps, trainer.timesteps, enabled=progress_bar, metrics=metrics)
    with closing(made) as reporter:
        for text in messages:
            reporter.message(text)
        if session is None:
            _Loop(trainer, total_timesteps, None, None, reporter, callbacks).run()
            return
        session.begin(
            total_timesteps,
            (*trainer.local_learner.metrics, *callbacks.metrics),
            s.keep_checkpoints,
            (*EPISODE_COLUMNS, *s.info_keys) if s.log_episodes else None,
        )
        resumed_at = None if session.checkpoint is None else trainer.timesteps
        with open_events(session.directory.path, session.config, metrics, resumed_at) as events:
            _Loop(trainer, total_timesteps, session, events, reporter, callbacks).run()


class _Loop:
    """One call of :func:`train`."""

    def __init__(
        self,
        trainer: Trainer,
        total_timesteps: int,
        session: Session | None,
        events: TensorBoardLog | None,
        reporter: Reporter,
        callbacks: Callbacks,
    ) -> None:
        self.trainer, self.total_timesteps = trainer, total_timesteps
        self.session, self.events, self.reporter, self.callbacks = session, events, reporter, callbacks
        self.metrics = MetricsSinceRow() if session is None else session.metrics
        now = time.perf_counter()
        self.began = now - (0.0 if session is None else session.wall_time)
        self.row_time, self.row_timesteps, self.save_time = now, trainer.timesteps, now
        is_logged = session is not None and trainer.settings.log_episodes
        self.recorder = EpisodeRecorder(trainer.settings.info_keys, self.began) if is_logged else None
        trainer.sampler.hand_over(infos=callbacks.wants_infos, recorder=self.recorder)
        self.byte_ranges = ByteRanges(trainer)
        self.is_over = False

    def run(self) -> None:
        trainer, s = self.trainer, self.trainer.settings
        with SignalGuard() as guard:  # before the first line: whoever has read it may send a signal
            for text in [*([] if self.session is None else self.session.messages), *s.remarks(self.total_timesteps)]:
                self.reporter.message(text)
            self.start(guard)
            with self.callbacks.running(trainer):
                try:
                    if self.session is not None and self.session.checkpoint is None:  # so that any crash can be resumed
                        self.save(synchronized=trainer.updates == 0)
                    wanted = True
                    while wanted and trainer.timesteps < self.total_timesteps and guard.received is None:
                        wanted = self.advance()
                    self.is_over = True
                    if trainer.timesteps >= self.total_timesteps and trainer.timesteps != self.row_timesteps:
                        self.report()
                except BaseException as error:
                    self.is_over = True
                    trainer.close()  # perhaps in the middle of a rollout: the next call starts new episodes
                    # Not for an impatient second Ctrl-C, nor without a place to save to.
                    if isinstance(error, Exception) and not isinstance(
                        error, LostRunDirectoryError | AllWorkersLostError
                    ):
                        self.save(synchronized=False)
                    raise
                self.save(synchronized=False)
                if trainer.crew is not None:
                    trainer.crew.refresh()  # the agent has learned, whatever becomes of the workers
        guard.raise_if_received()

    def start(self, guard: SignalGuard) -> None:
        """Starts the environments and the workers, unless they go on from the last call."""
        trainer = self.trainer
        try:
            if trainer.crew is not None:
                trainer.crew.push()
            elif trainer.settings.num_workers > 1:
                with START:
                    start_crew(trainer, self.reporter.message, lambda: guard.received is not None)
                trainer.start_environments()
            elif trainer.sampler.env is None:
                trainer.start_environments()
        except BaseException:
            trainer.close()
            raise

    def advance(self) -> bool:
        """Makes an update and all that is due after it; returns whether to continue."""
        trainer, s = self.trainer, self.trainer.settings
        before = trainer.timesteps
        self.metrics.add(trainer.advance(self.reporter.message))
        hint = None if trainer.crew else self.byte_ranges.hint(trainer.sampler.rollout, trainer.timesteps)
        if hint is not None:
            self.reporter.message(hint)

        def is_due(interval: int | None) -> bool:
            return interval is not None and trainer.timesteps // interval > before // interval

        with REPORTS:
            wanted = self.callbacks.on_rollout(trainer, trainer.sampler.infos)
            if is_due(s.report_every):
                wanted = self.report() and wanted
            else:
                self.reporter.update(trainer.timesteps, None)
        if is_due(s.eval_every):
            wanted = self.evaluate() and wanted
        if is_due(s.sync_every):
            trainer.start_environments()
            self.save(synchronized=True)
        elif is_due(s.checkpoint_every) or 0.0 < 60.0 * s.save_minutes < time.perf_counter() - self.save_time:
            self.save(synchronized=False)
        return wanted

    def report(self) -> bool:
        """Writes and shows a row, and returns whether to continue."""
        trainer, now = self.trainer, time.perf_counter()
        names = (*RUN_METRICS, *trainer.local_learner.metrics, *self.callbacks.metrics)
        row: Row = {
            **dict.fromkeys(names, math.nan),
            "timesteps": trainer.timesteps,
            "updates": trainer.updates,
            "updates_skipped": trainer.updates_skipped,
            **trainer.sampler.statistics.row(),
            **self.metrics.take(),
            "steps_per_second": (trainer.timesteps - self.row_timesteps) / max(now - self.row_time, 1e-9),
            "wall_time": now - self.began,
        }
        self.row_time, self.row_timesteps = now, trainer.timesteps
        try:
            wanted = self.callbacks.on_row(trainer, row)
        finally:  # an error of a callback ends the training, but the row is not lost
            self.write(row)
        s, returns = trainer.settings, trainer.sampler.statistics.returns
        if s.eval_every is None and len(returns) == returns.maxlen and self.is_reached(row["return_mean"]):
            return False
        return wanted

    def write(self, row: Row) -> None:
        """Writes a row, and what could not be written before."""
        session, events = self.session, self.events
        if session is not None:
            self.write_episodes()
            self.attempt("write a row of progress", lambda: session.write(row))
            if events is not None:
                self.attempt("write a TensorBoard event", lambda: events.write(row))
            path = None
            with suppress(OSError):  # reported when the save was first tried
                path = session.retry()
            if path is not None:
                self.reporter.message(f"saved the state at {session.saved_at:,} timesteps, which had failed before")
                self.callbacks.on_checkpoint(self.trainer, path)
        self.reporter.update(self.trainer.timesteps, row)

    def write_episodes(self) -> None:
        """Writes the episodes that ended since the last call."""
        session, recorder = self.session, self.recorder
        if session is not None and recorder is not None:
            self.attempt("write the log of episodes", lambda: session.write_episodes(recorder.take()))

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
            events = self.events
            if events is not None:
                self.attempt("write a TensorBoard event", lambda: events.write_evaluation(row))
        return not self.is_reached(result.return_mean)

    def is_reached(self, return_mean: float) -> bool:
        """Whether the training ends because of its return, and a message if it does."""
        goal = self.trainer.settings.stop_at_return
        if goal is None or not return_mean >= goal:
            return False
        self.reporter.message(f"the mean return reached {goal:g} at {self.trainer.timesteps:,} timesteps")
        return True

    def save(self, *, synchronized: bool) -> None:
        """Saves the trainer unless this state is saved already."""
        trainer, session = self.trainer, self.session
        if session is None or session.saved_at == trainer.timesteps:
            return
        self.save_time = time.perf_counter()
        with REPORTS:
            self.write_episodes()
            state, model, metadata = trainer.state(), trainer.learner.model(), trainer.metadata()
            wall_time = time.perf_counter() - self.began
            path = self.attempt(
                "save", lambda: session.save(state, model, metadata, synchronized=synchronized, wall_time=wall_time)
            )
            if path is not None:
                self.callbacks.on_checkpoint(trainer, path)

    def attempt(self, what: str, write: Callable[[], Written]) -> Written | None:
        """Writes and returns what ``write`` does, or reports that the disk failed."""
        try:
            return write()
        except OSError as error:
            rest = "" if self.is_over else "; training continues, and the write is retried at the next row"
            reason = with_cure(str(error))
            self.reporter.message(f"could not {what} at {self.trainer.timesteps:,} timesteps: {reason}{rest}")
            return None
