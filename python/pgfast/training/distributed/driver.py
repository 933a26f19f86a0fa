"""The driver of a run with several workers: it starts and replaces them, and keeps the counts of the run."""

from __future__ import annotations

import time
import warnings
import zlib
from collections.abc import Callable, Iterable
from typing import Any

from pgfast.metrics import Metrics
from pgfast.profiling import WORKERS, Profile, active_profile
from pgfast.state import flatten, unflatten
from pgfast.training.distributed.backend import Backend
from pgfast.training.distributed.hub import Hub
from pgfast.training.distributed.messages import Channel, Message, encode, error_of
from pgfast.training.trainer import Crew, Trainer

__all__ = ["AllWorkersLostError", "DriverCrew"]

_REMINDER = 10.0  # seconds between messages about workers that have not started
_MOST_LOSSES = 10  # per worker, without an update between them


class AllWorkersLostError(RuntimeError):
    """No worker is left that has the state of the training, or they are lost faster than they can be replaced."""


class DriverCrew(Crew):
    """The workers of ``trainer``, which has no environments itself.

    Args:
        trainer: the driver's; its counts, statistics and learner are those of the run.
        backend: starts the workers.
        message: shows a message to the user.
        is_stopped: whether to wait no longer for workers that have not started.
    """

    def __init__(
        self, trainer: Trainer, backend: Backend, message: Callable[[str], None], is_stopped: Callable[[], bool]
    ) -> None:
        self._trainer, self._backend, self._message = trainer, backend, message
        self._is_stopped = is_stopped
        self._size: int = trainer.settings.num_workers
        self._hub = Hub(trainer.settings.worker_timeout, self._on_loss)
        self._open: dict[int, int] = {}  # episodes by slot
        self._losses = 0  # since the last update
        self._is_stale = False  # the workers have made an update that the driver's learner has not
        self._refreshed = trainer.counts()  # of the driver's learner
        self._checksum = _checksum(trainer)
        self._profiles = 0
        self._profile: Profile | None = None
        for slot in range(self._size):
            backend.start(slot)

    def start_environments(self) -> None:
        self._admit(wait_for_all=not self._hub.members)
        if self._hub.members:
            self._command("start", self._restarts())

    def push(self) -> None:
        self._admit(wait_for_all=False)
        self._load(self._slots())

    def advance(self, message: Callable[[str], None]) -> Metrics:
        self._message = message
        self._admit(wait_for_all=False)
        if not self._is_stale and _checksum(self._trainer) != self._checksum:  # a callback has changed the learner
            self._load(self._slots())
        profile = active_profile()
        if profile is not self._profile:
            self._profile, self._profiles = profile, self._profiles + 1
        with WORKERS:
            number = 0 if profile is None else self._profiles
            answers = self._command("advance", {"profile": number, **self._restarts()})
        if profile is not None:
            profile.workers = [answer["profile"] for answer in answers.values() if answer["profile"]]
        self._losses = 0
        self._is_stale = True
        slot, first = next(iter(answers.items()))
        for text in first["messages"]:
            message(text)
        self._trainer.load_counts(first["counts"])
        different = [other for other, answer in answers.items() if answer["checksum"] != first["checksum"]]
        if different:
            message(f"the parameters of workers {different} differ from those of worker {slot}, which they are given")
            self._trainer.sampler.statistics.worker_restarts += len(different)
            self._load(different)
        metrics: Metrics = first["metrics"]
        return metrics

    def refresh(self) -> None:
        while self._is_stale:
            for state in self._command("state", {}, self._slots()[:1]).values():  # none if that worker is lost
                self._trainer.local_learner.load_state(unflatten(state["arrays"], state["values"]))
                self._is_stale = False
                self._refreshed, self._checksum = self._trainer.counts(), _checksum(self._trainer)

    def close(self) -> None:
        try:
            self.refresh()
        except Exception:  # no worker is left: the agent is what it was when it was last looked at
            self._trainer.load_counts(self._refreshed)
        finally:
            self._trainer.sampler.statistics.merge([], cut=sum(self._open.values()), restarts=0, now_open=0)
            self._hub.close()
            for slot in range(self._size):
                self._backend.stop(slot)
            self._backend.close()

    def _slots(self) -> list[int]:
        return [member.slot for member in self._hub.members]

    def _admit(self, *, wait_for_all: bool) -> None:
        """Adds workers that have started since the last call, with the state of the others."""
        began = reminded = time.monotonic()
        has_begun = not wait_for_all
        added: list[int] = []
        while True:
            connected = self._backend.connected(1.0 if wait_for_all else 0.0)
            if connected and not added:
                self.refresh()  # from the others
            for slot, connection in connected.items():
                self._hub.add(slot, Channel(connection, self._trainer.settings.worker_timeout))
                added.append(slot)
            outdated, reason = self._backend.outdated()
            if outdated:
                self._start_again(outdated, reason)
                added = [slot for slot in added if slot not in outdated]
                wait_for_all = True  # those that go on may be few
            missing = self._size - len(self._hub.members)
            if not (missing and wait_for_all) or self._is_stopped():
                break
            if time.monotonic() - reminded > _REMINDER:
                text = f"waiting for {missing} of {self._size} workers: {self._backend.needs()}"
                if reminded == began:  # seen without a progress bar, too
                    warnings.warn(text, RuntimeWarning, stacklevel=2)
                self._message(f"after {time.monotonic() - began:.0f} s {text}")
                reminded = time.monotonic()
        if added:
            self._load(added)
            if has_begun:  # the others have their environments
                self._command("start", self._restarts(), added)

    def _restarts(self) -> Message:
        return {"restarts": self._trainer.sampler.statistics.env_restarts}

    def _load(self, slots: Iterable[int]) -> None:
        """Gives workers the state of the run."""
        arrays, values = flatten(self._trainer.learner.state())
        self._command("load", {"arrays": arrays, "values": values, "counts": self._trainer.counts()}, slots)
        self._checksum = _checksum(self._trainer)

    def _command(self, name: str, content: Message, slots: Iterable[int] | None = None) -> dict[int, Message]:
        """Lets workers carry out a command, and returns their answers. Raises the error of the first that failed."""
        replies = self._hub.command(name, content, None if slots is None else list(slots))
        self._count(replies)
        if not self._hub.members:
            raise AllWorkersLostError("all workers were lost; pgfast resume goes on from the last checkpoint")
        if self._losses > _MOST_LOSSES * self._size:
            raise AllWorkersLostError(f"{self._losses} workers were lost since the last update")
        answers: dict[int, Message] = {slot: reply["answer"] for slot, reply in replies.items()}
        for answer in answers.values():
            if "error" in answer:
                raise error_of(answer["error"])
        return answers

    def _count(self, replies: dict[int, Message]) -> None:
        """Adds the episodes that workers report to those of the run."""
        trainer, recorder = self._trainer, self._trainer.sampler.recorder
        rows: list[dict[str, Any]] = []
        for slot, reply in replies.items():
            self._open[slot] = reply["open"]
            # With whole episodes, a worker may take more steps than the mean of all.
            latest = reply["answer"].get("counts", trainer.counts())["timesteps"]
            rows += [{**row, "timesteps": min(row["timesteps"], latest)} for row in reply["episodes"]]
        rows.sort(key=lambda row: (row["timesteps"], row["environment"]))
        trainer.sampler.statistics.merge(
            [(row["return"], row["length"]) for row in rows],
            cut=sum(reply["cut"] for reply in replies.values()),
            restarts=sum(reply["restarts"] for reply in replies.values()),
            now_open=sum(self._open.values()),
        )
        if recorder is not None:  # the age of the run is known here alone
            recorder.extend({**row, "seconds": round(recorder.seconds, 3)} for row in rows)

    def _on_loss(self, slot: int, reason: str) -> None:
        statistics = self._trainer.sampler.statistics
        statistics.merge([], cut=self._open.pop(slot, 0), restarts=0, now_open=sum(self._open.values()))
        statistics.worker_restarts += 1
        self._losses += 1
        self._message(
            f"lost worker {slot} after {self._trainer.timesteps:,} timesteps: {reason}. The others go on and a new one "
            "will join them; from here on, the bits of the run depend on this"
        )
        self._backend.stop(slot)
        self._backend.start(slot)

    def _start_again(self, slots: list[int], reason: str) -> None:
        """Replaces workers that are not lost, of which those that had begun are counted as if they were."""
        statistics = self._trainer.sampler.statistics
        for slot in slots:
            self._hub.remove(slot)
            if slot in self._open:
                statistics.merge([], cut=self._open.pop(slot), restarts=0, now_open=sum(self._open.values()))
                statistics.worker_restarts += 1
            self._backend.stop(slot)
            self._backend.start(slot)
        self._message(f"workers {slots} start again after {self._trainer.timesteps:,} timesteps: {reason}")


def _checksum(trainer: Trainer) -> int:
    """Returns the checksum of the driver's learner, which a callback may change."""
    arrays, values = flatten(trainer.local_learner.state())
    return zlib.crc32(b"".join(encode({"arrays": arrays, "values": values})))
