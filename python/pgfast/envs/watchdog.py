"""Ends a process whose environment hangs."""

from __future__ import annotations

import faulthandler
import sys
import time

__all__ = ["Watchdog"]


class Watchdog:
    """Ends the process if :meth:`alive` is not called at least every ``seconds`` within the ``with`` block.

    It then writes the stacks of all threads to standard error and exits with status 1: a step that hangs in this
    process cannot be interrupted, and may hold the interpreter's lock. A hang is noticed after at least ``seconds`` and
    at most a quarter more. Python's ``faulthandler`` has a single timer; while the block runs,
    ``faulthandler.dump_traceback_later`` must not be used. If ``seconds`` is None, the watchdog does nothing.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._began = 0.0

    def __enter__(self) -> Watchdog:
        if self._seconds is not None:
            self._start_timer(self._seconds)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._seconds is not None:
            faulthandler.cancel_dump_traceback_later()

    def alive(self) -> None:
        """Restarts the timer, though not at every call: each restart starts a thread."""
        if self._seconds is not None and time.monotonic() - self._began > self._seconds / 4:
            self._start_timer(self._seconds)

    def _start_timer(self, seconds: float) -> None:
        assert sys.__stderr__ is not None
        faulthandler.dump_traceback_later(1.25 * seconds, exit=True, file=sys.__stderr__)
        self._began = time.monotonic()
