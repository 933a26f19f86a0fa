"""What ends a process whose environment hangs."""

from __future__ import annotations

import faulthandler
import sys
import time

__all__ = ["Watchdog"]


class Watchdog:
    """Within its ``with`` block something must call :meth:`alive` at least every ``seconds``.

    If nothing does, the stacks of all threads are written to standard error and the process ends with status 1: a step
    that hangs in this process cannot be interrupted, and may hold the interpreter's lock for ever. It is noticed after
    at least ``seconds`` and at most a quarter more. The timer is the only one that Python's ``faulthandler`` has: while
    it runs, ``faulthandler.dump_traceback_later`` is taken. None never ends anything.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._began = 0.0

    def __enter__(self) -> Watchdog:
        if self._seconds is not None:
            self._wind_up(self._seconds)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._seconds is not None:
            faulthandler.cancel_dump_traceback_later()

    def alive(self) -> None:
        """Not every call winds up the timer, which starts a thread."""
        if self._seconds is not None and time.monotonic() - self._began > self._seconds / 4:
            self._wind_up(self._seconds)

    def _wind_up(self, seconds: float) -> None:
        assert sys.__stderr__ is not None
        faulthandler.dump_traceback_later(1.25 * seconds, exit=True, file=sys.__stderr__)
        self._began = time.monotonic()
