"""SIGINT and SIGTERM during a training."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

from pgfast._native import core

__all__ = ["SignalGuard"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SignalGuard:
    """Turns the first SIGINT or SIGTERM into a request to stop; a second one ends the process at once.

    The second is counted by the native module: Python's handlers wait until a kernel or a step of an environment has
    come back, which may be never. Does nothing outside the main thread, where Python does not let signals be handled.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> SignalGuard:
        if threading.current_thread() is threading.main_thread():
            core.count_signals_anew()
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._handle)
                core.exit_at_second_signal(number)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # the native counter goes with the handler that it was put before

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker that was forked meanwhile: Ctrl-C is its parent's matter
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            return
        self.received = number

    def raise_if_received(self) -> None:
        """What the caller of a training expects: KeyboardInterrupt for SIGINT, SystemExit(143) for SIGTERM."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(128 + self.received)
