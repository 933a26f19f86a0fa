"""The progress of a training, as a live line on a terminal or as plain lines."""

from __future__ import annotations

import math
import os
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import TextIO, TypeAlias

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pgfast.metrics import METRICS, Metric

__all__ = ["Reporter", "describe_duration", "make_reporter", "print_line"]

Row: TypeAlias = Mapping[str, float | int | None]

_REFRESH_SECONDS = 0.1
_NOTEBOOK_REFRESH_SECONDS = 0.5
_NARROWEST_BAR, _WIDEST_BAR = 4, 40  # columns
_CTRL_C, _NARROW = 3, 40  # columns of room for a typed ^C, on a terminal that is not narrow
_PACE_SECONDS = 30.0  # over which the speed is averaged


def make_reporter(
    total_timesteps: int, start_timesteps: int, *, enabled: bool, metrics: Mapping[str, Metric] = METRICS
) -> Reporter:
    """A reporter for a run that goes from ``start_timesteps`` to ``total_timesteps``, with rows of ``metrics``.

    It shows a live line on standard error if both output streams are a terminal, a live line on standard output in a
    notebook, else plain lines on standard output, and nothing with ``enabled=False``.
    """
    if not enabled:
        return Reporter()
    if Console().is_jupyter:
        return _NotebookReporter(total_timesteps, start_timesteps)
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

    def _describe_pace(self, timesteps: int) -> tuple[str, str]:
        """(speed, remaining time)"""
        now = monotonic()
        self._samples.append((now, timesteps))
        while len(self._samples) > 2 and now - self._samples[1][0] > _PACE_SECONDS:
            self._samples.popleft()
        begin, first = self._samples[0]
        speed = (timesteps - first) / max(now - begin, 1e-9)
        if speed == 0.0:
            return "0 steps/s", "ETA -:--:--"
        minutes, seconds = divmod(math.ceil(max(0, self._total - timesteps) / speed), 60)
        return f"{speed:,.0f} steps/s", f"ETA {minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


class _PlainReporter(_ShownReporter):
    """Prints a line for every row."""

    def __init__(self, total_timesteps: int, start_timesteps: int, metrics: Mapping[str, Metric]) -> None:
        super().__init__(total_timesteps, start_timesteps)
        self._metrics = metrics

    def update(self, timesteps: int, row: Row | None) -> None:
        if row is None:
            return
        total, known = f"{self._total:,}", _known(row)
        parts = [f"{timesteps:>{len(total)},} / {total}", _describe_return(known), *self._describe_pace(timesteps)]
        hidden = {self._metrics[name].instead_of for name in known}
        names = [name for name in known if self._metrics[name].in_progress_line and name not in hidden]
        parts += [f"{name} {known[name]:.4g}" for name in names]
        self.message("  ".join(parts))

    def message(self, text: str) -> None:
        print_line(text)


class _RedrawnReporter(_ShownReporter, ABC):
    """Redraws one line."""

    interval = _REFRESH_SECONDS

    def __init__(self, total_timesteps: int, start_timesteps: int) -> None:
        super().__init__(total_timesteps, start_timesteps)
        self._timesteps = start_timesteps
        self._row: Row = {}
        self._next_refresh = 0.0

    def update(self, timesteps: int, row: Row | None) -> None:
        self._timesteps = timesteps
        if row is not None:
            self._row = row
        if monotonic() >= self._next_refresh:
            self._refresh()

    def _refresh(self) -> None:
        self._draw()
        self._next_refresh = monotonic() + self.interval

    @abstractmethod
    def _draw(self) -> None:
        """Draws the line."""

    def _percentage(self) -> str:
        return f"{min(100, 100 * self._timesteps // max(1, self._total)):3d} %"

    def _status(self) -> list[str]:
        """The text after the percentage, from all of it to nothing: what matters least is left out first."""
        known = _known(self._row)
        position = f"{_compact(self._timesteps)} / {_compact(self._total)}"
        speed, eta = self._describe_pace(self._timesteps)
        full, short = _describe_return(known), _describe_return(known, with_max=False)
        choices = [(position, full, speed, eta), (position, full, eta), (full, eta), (short, eta), (short,), ()]
        return ["  ".join(parts) for parts in choices]


class _LiveReporter(_RedrawnReporter):
    """Shows one line on a terminal, redrawn at most ten times a second.

    The caller's thread draws it: another thread would take the interpreter's lock from the training, and would have to
    be stopped before environments are forked.
    """

    def __init__(self, total_timesteps: int, start_timesteps: int) -> None:
        super().__init__(total_timesteps, start_timesteps)
        self._console = Console(stderr=True)
        self._live = Live(self, console=self._console, auto_refresh=False)
        self._drawn = 0  # columns
        self._live.start()
        self._console.show_cursor(True)  # a killed process must not leave a terminal without cursor
        self._refresh()

    def _draw(self) -> None:
        with _surviving(sys.stderr):
            self._erase_wrapped()
            self._live.refresh()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Also called by rich itself, to draw the line again below a printed one."""
        width = options.max_width
        yield self._line(width - (1 if width < _NARROW else _CTRL_C))

    def _line(self, width: int) -> RenderableType:
        percentage = self._percentage()
        room = width - len(percentage) - 1
        fullest, *shorter = self._status()
        bar = min(_WIDEST_BAR, room - len(fullest) - 1)
        if bar >= _NARROWEST_BAR:
            self._drawn = len(percentage) + 1 + bar + 1 + len(fullest)
            grid = Table.grid(padding=(0, 1))
            shown = ProgressBar(max(1, self._total), self._timesteps, width=bar, complete_style="cyan")
            grid.add_row(Text(percentage, "bold"), shown, Text(fullest, no_wrap=True))
            return grid
        status = next(text for text in [fullest, *shorter] if len(text) <= room or not text)
        self._drawn = len(percentage) + 1 + len(status)
        return Text(f"{percentage} {status}", no_wrap=True, overflow="crop")

    def _erase_wrapped(self) -> None:
        """Erases the rows of a line that the terminal has wrapped because it became narrower."""
        rows = -(-self._drawn // self._console.width)
        if rows > 1:
            self._console.file.write(f"\x1b[{rows - 1}A\r\x1b[J")

    def message(self, text: str) -> None:
        with _surviving(sys.stderr):
            self._erase_wrapped()
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        if self._live.is_started:
            self._refresh()
            with _surviving(sys.stderr):
                self._live.stop()


class _NotebookReporter(_RedrawnReporter):
    """Shows one line below the cell of a notebook, by carriage returns: the widgets of rich need another package."""

    interval = _NOTEBOOK_REFRESH_SECONDS

    def __init__(self, total_timesteps: int, start_timesteps: int) -> None:
        super().__init__(total_timesteps, start_timesteps)
        self._drawn = ""
        self._is_open = True
        self._refresh()

    def _draw(self) -> None:
        self._replace(f"{self._percentage()}  {self._status()[0]}")

    def _replace(self, text: str) -> None:
        with _surviving(sys.stdout):
            print("\r" + text.ljust(len(self._drawn)), end="", flush=True)
        self._drawn = text

    def message(self, text: str) -> None:
        self._replace(text)
        print_line("")
        self._drawn = ""
        self._refresh()

    def close(self) -> None:
        if self._is_open:
            self._refresh()
            print_line("")
        self._is_open = False


def describe_duration(seconds: float) -> str:
    """7384 seconds as "2 h 3 min"; the two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _known(row: Row) -> dict[str, float | int]:
    return {name: value for name, value in row.items() if value is not None and math.isfinite(value)}


def _describe_return(known: Mapping[str, float | int], *, with_max: bool = True) -> str:
    if "return_mean" not in known:
        return "return -"
    text = f"return {known['return_mean']:.1f}"
    return f"{text} (max {known['return_max']:.0f})" if with_max and "return_max" in known else text


def _compact(timesteps: int) -> str:
    """1,234,567 as 1.23M, rounded down; always three digits, which keeps the line from jumping."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if timesteps >= size:
            digits = 2 if timesteps < 10 * size else 1 if timesteps < 100 * size else 0
            return f"{timesteps * 10**digits // size / 10**digits:.{digits}f}{letter}"
    return str(timesteps)
