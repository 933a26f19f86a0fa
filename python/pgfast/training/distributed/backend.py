"""The backends that start workers: threads here, and Ray in its own file."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from pgfast.training.distributed.member import serve
from pgfast.training.distributed.messages import Channel
from pgfast.training.trainer import Trainer

__all__ = ["Backend", "Threads"]


class Backend(ABC):
    """Starts workers, each with the trainer that ``make_trainer(slot)`` makes.

    A worker that has ended, whatever the reason, closes its connection.
    """

    def __init__(self, make_trainer: Callable[[int], Trainer]) -> None:
        self._make_trainer = make_trainer

    @abstractmethod
    def start(self, slot: int) -> None:
        """Begins to start the worker of a slot; returns without waiting for it."""

    @abstractmethod
    def connected(self, seconds: float) -> dict[int, Connection]:
        """The connections of workers that have started since the last call, waiting up to ``seconds`` for the first."""

    def outdated(self) -> tuple[list[int], str]:
        """The slots of connected workers whose bits would differ from those of workers started from now on, and why."""
        return [], ""

    @abstractmethod
    def needs(self) -> str:
        """The likely reason that workers have not started, as the end of a sentence."""

    @abstractmethod
    def stop(self, slot: int) -> None:
        """Ends the worker of a slot, if it has not ended, without waiting for it."""

    def close(self) -> None:  # noqa: B027 - threads leave nothing behind
        """Frees what the workers shared."""


class Threads(Backend):
    """Workers as threads of this process, for tests and debugging.

    They compute in turns what Python computes, and share the threads of the native module.
    """

    def __init__(self, make_trainer: Callable[[int], Trainer]) -> None:
        super().__init__(make_trainer)
        self._connected: dict[int, Connection] = {}

    def start(self, slot: int) -> None:
        ours, theirs = Pipe()
        trainer = self._make_trainer(slot)
        threading.Thread(target=serve, args=(Channel(theirs), trainer), name=f"worker {slot}", daemon=True).start()
        self._connected[slot] = ours

    def connected(self, seconds: float) -> dict[int, Connection]:
        found, self._connected = self._connected, {}
        return found

    def needs(self) -> str:
        return "threads need nothing"

    def stop(self, slot: int) -> None:
        """A thread ends at its next message, when it finds its connection closed."""
