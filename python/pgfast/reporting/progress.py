"""The progress of a training, as a live line on a terminal or as plain lines."""

from __future__ import annotations

import math
import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import TextIO, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from pgfast.metrics import METRICS, Metric

__all__ = ["Reporter", "make_reporter", "print_line"]

Row: TypeAlias = Mapping[str, float | int | None]

_REFRESH_SECONDS = 0.1
_PACE_SECONDS = 30.0  # over which the speed is averaged


def make_reporter(
    total_timesteps: int, start_timesteps: int, *, enabled: bool, metrics: Mapping[str, Metric] = METRICS
) -> Reporter:
    """A reporter for a run that goes from ``start_timesteps`` to ``total_timesteps``, with rows of ``metrics``.

    It shows a live line on standard error if both output streams are a terminal, else plain lines on standard output,
    and nothing with ``enabled=False``.
    """
    if not enabled:
        return Reporter()
    if sys.stderr.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        return _LiveReporter(total_timesteps, start_timesteps)
    return _PlainReporter(total_timesteps, start_timesteps, metrics)


def print_line(text: object) -> None:
    """Prints a line; drops it, and all later output, if the reader of the pipe or the terminal is gone."""
    with _surviving(sys.stdout):
        print(text, flush=True)


@contextmanager
def _surviving(stream: TextIO) -> Iterator[None]:
    """A block that writes to a stream whose other end may be gone, which must not end the run."""
    try:
        yield
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Reporter:
    """Shows nothing; the base class of the others."""

    def update(self, timesteps: int, row: Row | None) -> None:
        """Takes the position and, if there is a new one, a row of ``progress.csv``; cheap."""

    def message(self, text: str) -> None:
        """Shows a line that stays."""

    def close(self) -> None:
        """Shows the last state and restores the terminal. A second call does nothing."""


class _ShownReporter(Reporter):
    """Estimates the speed over the last seconds, and the remaining time from it.

    rich's own estimate begins with the second sample, so that a run of one row would show none, and drops samples older
    than its window, so that rows far apart would show none either.
    """

    def __init__(self, total_timesteps: int, start_timesteps: int) -> None:
        self._total = total_timesteps
        self._samples = deque([(monotonic(), start_timesteps)])

    def _describe_pace(self, timesteps: int) -> str:
        now = monotonic()
        self._samples.append((now, timesteps))
        while len(self._samples) > 2 and now - self._samples[1][0] > _PACE_SECONDS:
            self._samples.popleft()
        begin, first = self._samples[0]
        speed = (timesteps - first) / max(now - begin, 1e-9)
        if speed == 0.0:
            return "0 steps/s  ETA -:--:--"
        minutes, seconds = divmod(math.ceil(max(0, self._total - timesteps) / speed), 60)
        return f"{speed:,.0f} steps/s  ETA {minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


class _PlainReporter(_ShownReporter):
    """Prints a line for every row."""

    def __init__(self, total_timesteps: int, start_timesteps: int, metrics: Mapping[str, Metric]) -> None:
        super().__init__(total_timesteps, start_timesteps)
        self._metrics = metrics

    def update(self, timesteps: int, row: Row | None) -> None:
        if row is None:
            return
        total, known = f"{self._total:,}", _known(row)
        parts = [f"{timesteps:>{len(total)},} / {total}", _describe_return(known), self._describe_pace(timesteps)]
        parts += [f"{name} {value:.4g}" for name, value in known.items() if self._metrics[name].in_progress_line]
        self.message("  ".join(parts))

    def message(self, text: str) -> None:
        print_line(text)


class _LiveReporter(_ShownReporter):
    """Redraws one line at most ten times a second.

    The caller's thread draws it: another thread would take the interpreter's lock from the training, and would have to
    be stopped before environments are forked.
    """

    def __init__(self, total_timesteps: int, start_timesteps: int) -> None:
        super().__init__(total_timesteps, start_timesteps)
        self._timesteps = start_timesteps
        self._row: Row = {}
        self._next_refresh = 0.0
        self._progress = Progress(
            TextColumn("[bold]{task.percentage:>3.0f} %", table_column=Column(min_width=5)),
            BarColumn(None, "bar.back", "cyan", "green", table_column=Column(min_width=4, max_width=40)),
            TextColumn("{task.fields[status]}"),
            TextColumn("  "),  # room for a typed ^C
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
        position = f"{_compact(self._timesteps)} / {_compact(self._total)}"
        shown_return = _describe_return(_known(self._row))
        status = f"{position}  [bold]{shown_return}[/bold]  {self._describe_pace(self._timesteps)}"
        with _surviving(sys.stderr):
            self._progress.update(self._task, completed=self._timesteps, status=status, refresh=True)
        self._next_refresh = monotonic() + _REFRESH_SECONDS

    def message(self, text: str) -> None:
        with _surviving(sys.stderr):
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        if self._progress.live.is_started:
            self._refresh()
            with _surviving(sys.stderr):
                self._progress.stop()


def _known(row: Row) -> dict[str, float | int]:
    return {name: value for name, value in row.items() if value is not None and math.isfinite(value)}


def _describe_return(known: Mapping[str, float | int]) -> str:
    if "return_mean" not in known:
        return "return -"
    text = f"return {known['return_mean']:.1f}"
    return f"{text} (max {known['return_max']:.0f})" if "return_max" in known else text


def _compact(timesteps: int) -> str:
    """1,234,567 as 1.23M, rounded down; always three digits, which keeps the line from jumping."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if timesteps >= size:
            digits = 2 if timesteps < 10 * size else 1 if timesteps < 100 * size else 0
            return f"{timesteps * 10**digits // size / 10**digits:.{digits}f}{letter}"
    return str(timesteps)
