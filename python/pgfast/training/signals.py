"""Signals during a training."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

from pgfast._native import core

__all__ = ["SignalGuard"]

# Ctrl-C, a stop, a closed terminal, and what job schedulers send before they kill.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class SignalGuard:
    """Turns the first signal into a request to stop; a second one ends the process at once.

    The native module counts the second one, as Python's handlers wait until a kernel or a step of an environment
    returns, which may be never. A repeated SIGHUP does not count: a closed terminal and its shell both send one. SIGHUP
    stays ignored if it is ignored, as under nohup. Does nothing outside the main thread, because Python handles signals
    only there.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> SignalGuard:
        if threading.current_thread() is threading.main_thread():
            core.count_signals_anew()
            for number in _SIGNALS:
                if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                    continue
                self._before[number] = signal.signal(number, self._handle)
                core.exit_at_second_signal(number)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # which also removes the native counter

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked worker: its parent handles what a terminal sends to both
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            return
        self.received = number

    def raise_if_received(self) -> None:
        """Raises KeyboardInterrupt for SIGINT, SystemExit(128 + number) for the others."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(128 + self.received)
