"""What a person sees while an agent trains."""

from __future__ import annotations

import math
import os
import sys
from collections import deque
from collections.abc import Mapping
from time import monotonic
from types import TracebackType
from typing import TypeAlias

__all__ = ["Reporter", "make_reporter"]

Row: TypeAlias = Mapping[str, float | int | None]

_REFRESH_SECONDS = 0.1
_PACE_SECONDS = 30.0  # the speed shown is the mean over this time


def make_reporter(total_timesteps: int, start_timesteps: int, *, enabled: bool) -> Reporter:
    """A reporter for a run that goes from ``start_timesteps`` to ``total_timesteps``.

    Where both output streams are a terminal it is a live line on standard error, else plain lines on standard output;
    with ``enabled=False`` it is silent.
    """
    if not enabled:
        return Reporter()
    if sys.stderr.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        return _LiveReporter(total_timesteps, start_timesteps)
    return _PlainReporter(total_timesteps, start_timesteps)


class Reporter:
    """Shows nothing, and is what the others are built on."""

    def update(self, timesteps: int, row: Row | None) -> None:
        """Takes note of the position and, where there is a new one, of the row of ``progress.csv``; cheap."""

    def message(self, text: str) -> None:
        """Shows a line that stays."""

    def close(self) -> None:
        """Shows the last state and leaves the terminal as it was. A second call does nothing."""

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Pace:
    """The speed of the last seconds, and the time that is left at it."""

    def __init__(self, total_timesteps: int, start_timesteps: int) -> None:
        self._total = total_timesteps
        self._samples = deque([(monotonic(), start_timesteps)])

    def add(self, timesteps: int) -> None:
        now = monotonic()
        self._samples.append((now, timesteps))
        while len(self._samples) > 2 and now - self._samples[1][0] > _PACE_SECONDS:
            self._samples.popleft()

    def describe(self) -> str:
        (begin, first), (end, last) = self._samples[0], self._samples[-1]
        speed = (last - first) / (end - begin) if end > begin else 0.0
        left = max(0, self._total - last)
        eta = _duration(left / speed) if speed > 0.0 else "-:--"
        return f"{speed:,.0f} steps/s  ETA {eta}"


class _PlainReporter(Reporter):
    """A line for every row."""

    def __init__(self, total_timesteps: int, start_timesteps: int) -> None:
        self._total = total_timesteps
        self._pace = _Pace(total_timesteps, start_timesteps)

    def update(self, timesteps: int, row: Row | None) -> None:
        if row is None:
            return
        self._pace.add(timesteps)
        total = f"{self._total:,}"
        parts = [f"{timesteps:>{len(total)},} / {total}", _describe_return(row), self._pace.describe()]
        parts += [f"{name} {row[name]:.4g}" for name in row if _is_shown(name) and _known(row, name)]
        self.message("  ".join(parts))

    def message(self, text: str) -> None:
        try:
            print(text, flush=True)
        except OSError:  # who read the pipe has gone; that must not end the run, whose directory has it all
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _LiveReporter(Reporter):
    """One line that is drawn anew, at most ten times a second.

    It is drawn by who calls, not by a thread: a thread would take the interpreter's lock from the training, and would
    have to be stopped before environments are forked.
    """

    def __init__(self, total_timesteps: int, start_timesteps: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        self._total = total_timesteps
        self._pace = _Pace(total_timesteps, start_timesteps)
        self._timesteps = start_timesteps
        self._row: Row = {}
        self._next_refresh = 0.0
        self._bar = BarColumn(complete_style="cyan", finished_style="green")
        self._progress = Progress(
            TextColumn("[bold]{task.percentage:>3.0f} %", table_column=Column(min_width=5)),
            self._bar,
            TextColumn("{task.fields[status]}"),
            console=Console(stderr=True),
            auto_refresh=False,
        )
        self._task = self._progress.add_task("", total=max(1, total_timesteps), status="")
        self._progress.start()
        self._progress.console.show_cursor(True)  # a killed process must not leave a terminal without cursor
        self._refresh()

    def update(self, timesteps: int, row: Row | None) -> None:
        self._timesteps = timesteps
        if row is not None:
            self._row = row
        if monotonic() >= self._next_refresh:
            self._refresh()

    def _refresh(self) -> None:
        self._pace.add(self._timesteps)
        position = f"{_compact(self._timesteps)} / {_compact(self._total)}"
        parts = (position, _describe_return(self._row), self._pace.describe())
        room = self._progress.console.width - len("  ".join(parts)) - len("100 %") - 6  # 3 of them for a typed ^C
        self._bar.bar_width = max(4, min(40, room))
        status = "{}  [bold]{}[/bold]  {}".format(*parts)
        self._progress.update(self._task, completed=self._timesteps, status=status, refresh=True)
        self._next_refresh = monotonic() + _REFRESH_SECONDS

    def message(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        if self._progress.live.is_started:
            self._refresh()
            self._progress.stop()


def _known(row: Row, name: str) -> bool:
    value = row.get(name)
    return value is not None and math.isfinite(value)


def _is_shown(name: str) -> bool:
    return name.endswith("_loss") or name in ("entropy", "kl")


def _describe_return(row: Row) -> str:
    if not _known(row, "return_mean"):
        return "return -"
    text = f"return {row['return_mean']:.1f}"
    return f"{text} (max {row['return_max']:.0f})" if _known(row, "return_max") else text


def _compact(timesteps: int) -> str:
    """1,234,567 as 1.23M, rounded down: always three digits, so that the line does not jump."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if timesteps >= size:
            digits = 2 if timesteps < 10 * size else 1 if timesteps < 100 * size else 0
            return f"{timesteps * 10**digits // size / 10**digits:.{digits}f}{letter}"
    return str(timesteps)


def _duration(seconds: float) -> str:
    minutes, second = divmod(math.ceil(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour:02d}:{minute:02d}:{second:02d}"
    return f"{hour}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
