"""TensorBoard events of a run, if tensorboardX is installed."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pgfast.metrics import METRICS

__all__ = ["TensorBoardLog", "open_events"]

_FLUSH_SECONDS = 10.0


@contextmanager
def open_events(directory: Path, resumed_at: int | None) -> Iterator[TensorBoardLog | None]:
    """The events of a run that begins, or is resumed after ``resumed_at`` timesteps; None without tensorboardX."""
    if find_spec("tensorboardX") is None:
        yield None
        return
    log = TensorBoardLog(directory, purge_step=None if resumed_at is None else resumed_at + 1)
    try:
        yield log
    finally:
        with suppress(OSError):  # a full disk; the rows are in progress.csv
            log.close()


class TensorBoardLog:
    """Writes the rows of a run as TensorBoard scalars, with the labels and meanings of the metrics.

    On resume, ``purge_step`` is the first new timestep: TensorBoard drops everything from there on that an earlier
    process wrote. The caller's thread writes the events, as the thread of tensorboardX's ``SummaryWriter`` ends
    silently on a full disk and then blocks its queue.

    Raises:
        ImportError: if tensorboardX is missing.
        OSError: if the file cannot be written.
    """

    def __init__(self, directory: Path, *, purge_step: int | None = None) -> None:
        try:
            self._events = import_module("tensorboardX.proto.event_pb2")
            self._summary = import_module("tensorboardX.proto.summary_pb2")
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

    def write(self, row: Mapping[str, float | int | None]) -> None:
        """Writes each number of a row; None and NaN are left out.

        Raises ``OSError``; the next row then begins a new file, as TensorBoard reads no further than a torn event.
        """
        timesteps = row["timesteps"]
        assert timesteps is not None
        event = self._events.Event(step=int(timesteps))
        for name, value in row.items():
            if name != "timesteps" and value is not None and not math.isnan(value):
                metric = METRICS[name]
                meaning = f"{metric.meaning}, in {metric.unit}" if metric.unit else metric.meaning
                described = self._summary.SummaryMetadata(display_name=metric.label, summary_description=meaning)
                event.summary.value.add(tag=name, simple_value=value, metadata=described)
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
        """Flushes and closes the file. A second call does nothing. Raises ``OSError``."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
