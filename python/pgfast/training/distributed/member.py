"""A worker: it does what the driver says, and computes each update together with the other workers."""

from __future__ import annotations

import time
import zlib
from contextlib import nullcontext
from typing import Any, NamedTuple, TypeVar

from pgfast.metrics import Metrics
from pgfast.profiling import WAITING, Profile, active_profile
from pgfast.reduce import Reduce, WorkersChanged
from pgfast.sampling.episode_recorder import EpisodeRecorder
from pgfast.state import flatten, unflatten
from pgfast.training.byte_ranges import ByteRanges
from pgfast.training.distributed.messages import Channel, Message, describe_error, encode, error_of
from pgfast.training.trainer import Trainer

__all__ = ["DriverLostError", "serve"]

T = TypeVar("T")


class DriverLostError(BaseException):
    """The driver has ended. Not an ``Exception``: no update may take it for an error of its own."""


def serve(channel: Channel, trainer: Trainer) -> None:
    """Serves the driver at the other end with a new trainer until it says stop or has ended."""
    member = _Member(_ToDriver(channel), trainer)
    try:
        member.run()
    except DriverLostError:
        pass
    finally:
        trainer.close()
        channel.close()


class _ToDriver:
    """The connection to the driver."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def send(self, message: Message) -> None:
        try:
            with WAITING:
                self._channel.send(encode(message))
        except OSError as error:
            raise DriverLostError from error

    def receive(self) -> Message:
        try:
            with WAITING:
                return self._channel.receive()
        except (EOFError, OSError) as error:
            raise DriverLostError from error


class _DriverReduce(Reduce):
    """The sums over all workers, which the driver computes."""

    def __init__(self, channel: _ToDriver, first_environment: int) -> None:
        self.workers, self.rank = 1, 0
        self._channel, self._first_environment = channel, first_environment
        self._agreed: Exception | None = None  # the error that all workers raise

    def begin(self, *counts: int) -> list[tuple[int, ...]]:
        answer = self._ask("begin", counts)
        self.workers, self.rank = len(answer["value"]), answer["rank"]
        return [tuple(each) for each in answer["value"]]

    def sum(self, value: T) -> T:
        return _like(value, self._ask("sum", value)["value"])  # type: ignore[no-any-return]

    def gather(self, value: float) -> list[float]:
        return list(self._ask("gather", value)["value"])

    def raised(self, error: Exception) -> Exception:
        if error is self._agreed:
            return error
        while True:
            try:
                self._ask("raised", describe_error(error, self._first_environment))
            except WorkersChanged:
                continue
            except Exception as agreed:
                return agreed

    def _ask(self, call: str, value: Any) -> Message:
        self._channel.send({"call": call, "value": value})
        answer = self._channel.receive()
        if "command" in answer:  # the driver no longer waits for this update
            raise DriverLostError
        if "changed" in answer:
            raise WorkersChanged
        if "error" in answer:
            self._agreed = error_of(answer["error"])
            raise self._agreed
        return answer


def _like(value: Any, result: Any) -> Any:
    """A sum with the tuples of ``value``, which travel as lists."""
    if not isinstance(value, tuple):
        return result
    return tuple(_like(part, total) for part, total in zip(value, result, strict=True))


class _Counts(NamedTuple):
    """Counts of a worker's episodes; the driver is told how they change."""

    cut: int
    restarts: int

    @classmethod
    def of(cls, trainer: Trainer) -> _Counts:
        statistics = trainer.sampler.statistics
        return cls(statistics.episodes_cut, statistics.env_restarts)


class _Member:
    def __init__(self, channel: _ToDriver, trainer: Trainer) -> None:
        self._channel, self._trainer = channel, trainer
        self._first_environment = trainer.share.first
        trainer.reduce = _DriverReduce(channel, self._first_environment)
        self._recorder = EpisodeRecorder(trainer.settings.info_keys, time.perf_counter(), self._first_environment)
        trainer.sampler.hand_over(infos=False, recorder=self._recorder)
        self._profile, self._profile_number = Profile(), 0
        self._byte_ranges: ByteRanges | None = None

    def run(self) -> None:
        """Answers one command after the other."""
        commands = {"load": self._load, "start": self._start, "advance": self._advance, "state": self._state}
        while True:
            message = self._channel.receive()
            if message["command"] == "stop":
                return
            before = _Counts.of(self._trainer)
            try:
                answer = commands[message["command"]](message)
            except Exception as error:
                answer = {"error": describe_error(error, self._first_environment)}
            cut, restarts = (now - then for now, then in zip(_Counts.of(self._trainer), before, strict=True))
            self._channel.send(
                {
                    "answer": answer,
                    "episodes": self._recorder.take(),
                    "open": self._trainer.sampler.statistics.open_episodes,
                    "cut": cut,
                    "restarts": restarts,
                }
            )

    def _load(self, message: Message) -> Message:
        self._trainer.learner.load_state(unflatten(message["arrays"], message["values"]))
        self._trainer.load_counts(message["counts"])
        self._byte_ranges = ByteRanges(self._trainer) if self._first_environment == 0 else None
        return {}

    def _start(self, message: Message) -> Message:
        self._note_restarts(message)
        self._trainer.start_environments()
        return {}

    def _note_restarts(self, message: Message) -> None:
        sampler = self._trainer.sampler
        sampler.note_restarts(message["restarts"] - sampler.statistics.env_restarts)

    def _advance(self, message: Message) -> Message:
        self._note_restarts(message)
        trainer, messages = self._trainer, list[str]()
        number = message["profile"]  # 0 for none
        if number != self._profile_number:
            self._profile, self._profile_number = Profile(), number
        is_profiled = number and active_profile() is None  # a thread's time is in that of the driver
        with self._profile if is_profiled else nullcontext():
            metrics: Metrics = trainer.advance(messages.append)
        if self._byte_ranges is not None:
            hint = self._byte_ranges.hint(trainer.sampler.rollout, trainer.timesteps)
            messages += [] if hint is None else [hint]
        return {
            "metrics": metrics,
            "messages": messages,
            "counts": trainer.counts(),
            "checksum": zlib.crc32(trainer.policy.parameters.data),
            "profile": self._profile.seconds,
        }

    def _state(self, message: Message) -> Message:
        arrays, values = flatten(self._trainer.learner.state())
        return {"arrays": arrays, "values": values}
