"""TensorBoard events of a run, where tensorboardX is installed."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["TensorBoardLog", "open_events"]

_FLUSH_SECONDS = 10.0


def open_events(directory: Path, resumed_at: int | None) -> TensorBoardLog | None:
    """The events of a run that begins, or is resumed after ``resumed_at`` timesteps; None without tensorboardX."""
    if find_spec("tensorboardX") is None:
        return None
    return TensorBoardLog(directory, purge_step=None if resumed_at is None else resumed_at + 1)


class TensorBoardLog:
    """Writes the rows of a run as TensorBoard scalars, under the names of ``progress.csv``.

    On resume, ``purge_step`` is the first timestep that is not known yet: TensorBoard drops what an earlier process
    wrote from there on. Events are written by who calls: tensorboardX's own ``SummaryWriter`` has a thread for it,
    which ends without a word on a full disk, and then nothing comes back from its queue.

    Raises ``ImportError`` if tensorboardX is missing, ``OSError``.
    """

    def __init__(self, directory: Path, *, purge_step: int | None = None) -> None:
        try:
            self._events = import_module("tensorboardX.proto.event_pb2")
            self._make_writer: Any = import_module("tensorboardX.event_file_writer").EventsWriter
        except ImportError as error:
            raise ImportError('TensorBoard events need tensorboardX: pip install "pgfast[tensorboard]"') from error
        self._prefix = str(directory / "events")
        self._files = 0
        self._writer: Any = None
        self._flushed = time.monotonic()
        if purge_step is not None:
            start = self._events.SessionLog(status=self._events.SessionLog.START)
            self._write(self._events.Event(step=purge_step, session_log=start))

    def write(self, row: Mapping[str, float | int | None], timesteps: int) -> None:
        """Writes each known number of ``row`` at ``timesteps``; None and NaN are left out.

        Raises ``OSError``; the next row begins a new file then, as TensorBoard reads no further than a torn event.
        """
        event = self._events.Event(step=timesteps)
        for name, value in row.items():
            if name != "timesteps" and value is not None and not math.isnan(value):
                event.summary.value.add(tag=name, simple_value=value)
        self._write(event)

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        try:
            if self._writer is None:
                self._files += 1
                self._writer = self._make_writer(self._prefix, f".{os.getpid()}.{self._files}")
            self._writer.write_event(event)
            if time.monotonic() - self._flushed > _FLUSH_SECONDS:
                self._writer.flush()
                self._flushed = time.monotonic()
        except OSError:
            with suppress(OSError):
                self.close()
            raise

    def close(self) -> None:
        """Waits until everything is in the file. A second call does nothing. Raises ``OSError``."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
