"""TensorBoard events of a run, if tensorboardX is installed."""

from __future__ import annotations

import math
import os
import struct
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from pgfast.metrics import METRICS, Metric
from pgfast.profiling import START
from pgfast.runs.session import RunConfig

__all__ = ["TensorBoardLog", "open_events", "write_video"]

_FLUSH_SECONDS = 10.0
_NOT_OF_EVALUATIONS = ("timesteps", "episodes", "wall_time")
# Field 4 of SummaryMetadata, its data class, is 1: a scalar. tensorboardX does not know the field, without which
# TensorBoard's faster reader drops labels and descriptions.
_CLASS_OF_SCALARS = b"\x20\x01"
_numbers = count(1)  # of the files of this process: their names have seconds, and a new file must not replace another


@contextmanager
def open_events(
    directory: Path, config: RunConfig, metrics: Mapping[str, Metric], resumed_at: int | None
) -> Iterator[TensorBoardLog | None]:
    """The events of a run that begins, or is resumed after ``resumed_at`` timesteps; None without tensorboardX."""
    if find_spec("tensorboardX") is None:
        yield None
        return
    with START:  # tensorboardX imports PyTorch where that is installed, for more than a second
        log = TensorBoardLog(directory, metrics, purge_step=None if resumed_at is None else resumed_at + 1)
    try:
        if resumed_at is None:
            with suppress(OSError):
                log.write_config(config, (directory / "config.json").read_text())
        yield log
        with suppress(OSError):
            log.write_end()
    finally:
        with suppress(OSError):  # a full disk; the rows are in progress.csv
            log.close()


def write_video(directory: Path, name: str, gif: bytes, timesteps: int) -> None:
    """Writes an animated picture for TensorBoard, if tensorboardX is installed.

    ``directory`` must be another one than that of the run: TensorBoard stops reading a file of events once there is a
    newer one, and the run may go on.
    """
    if find_spec("tensorboardX") is not None:
        with closing(TensorBoardLog(directory)) as log:
            log.write_picture(f"video/{name}", gif, timesteps)


class TensorBoardLog:
    """Writes a run as TensorBoard's scalars, hyperparameters and text, with the labels and meanings of ``metrics``.

    On resume, ``purge_step`` is the first new timestep: TensorBoard drops everything from there on that an earlier
    process wrote. The caller's thread writes the events, as the thread of tensorboardX's ``SummaryWriter`` ends
    silently on a full disk and then blocks its queue.

    Raises:
        ImportError: if tensorboardX is missing.
        OSError: if the file cannot be written.
    """

    def __init__(
        self, directory: Path, metrics: Mapping[str, Metric] = METRICS, *, purge_step: int | None = None
    ) -> None:
        try:
            self._events, self._summary, self._hparams, self._tensor = (
                import_module(f"tensorboardX.proto.{name}_pb2")
                for name in ("event", "summary", "plugin_hparams", "tensor")
            )
            self._files: Any = import_module("tensorboardX.event_file_writer")
            self._writers: Any = import_module("tensorboardX.writer")
        except ImportError as error:
            raise ImportError('TensorBoard events need tensorboardX: pip install "pgfast[tensorboard]"') from error
        self._directory, self._metrics = directory, metrics
        self._writer: Any = None
        self._is_announced = False
        self._flushed = time.monotonic()
        if purge_step is not None:
            start = self._events.SessionLog(status=self._events.SessionLog.START)
            self._write(self._events.Event(step=purge_step, session_log=start))

    def write(self, row: Mapping[str, float]) -> None:
        """Writes each number of a row under the group of its metric; NaN is left out.

        Raises ``OSError``; the next row then begins a new file, as TensorBoard reads no further than a torn event.
        """
        event = self._events.Event(step=int(row["timesteps"]))
        for name, value in row.items():
            if name != "timesteps":
                metric = self._metrics[name]
                meaning = f"{metric.meaning}, in {metric.unit}" if metric.meaning and metric.unit else metric.meaning
                self._add_scalar(event, metric.tag, value, metric.label or name, meaning or metric.unit)
        self._write(event)

    def write_evaluation(self, row: Mapping[str, float]) -> None:
        """Writes a row of ``evaluations.csv`` as the group ``eval``. Raises as :meth:`write` does."""
        event = self._events.Event(step=int(row["timesteps"]))
        for name, value in row.items():
            if name not in _NOT_OF_EVALUATIONS:
                self._add_scalar(event, f"eval/{name}", value, self._metrics[name].label, "")
        self._write(event)

    def write_config(self, config: RunConfig, text: str) -> None:
        """Writes the settings as hyperparameters, and ``text`` as a block of code. Raises as :meth:`write` does.

        TensorBoard finds the columns of its table in the runs themselves, so that runs of several algorithms compare.
        """
        event, start = self._events.Event(step=0), self._hparams.SessionStartInfo()
        for name, value in {"algo": config.algo, "env_id": config.env_id, **config.settings}.items():
            if isinstance(value, bool):
                start.hparams[name].bool_value = value
            elif isinstance(value, int | float):
                start.hparams[name].number_value = value
            elif value is not None:
                is_list = isinstance(value, list | tuple)
                start.hparams[name].string_value = ",".join(map(str, value)) if is_list else str(value)
        self._add_hparams(event, session_start_info=start)
        code = self._tensor.TensorProto(dtype="DT_STRING", string_val=[textwrap.indent(text, "    ").encode()])
        event.summary.value.add(tag="config", tensor=code, metadata=self._metadata("text"))
        self._write(event)

    def write_end(self) -> None:
        """Writes that the run has reached its end. Raises as :meth:`write` does."""
        event = self._events.Event(step=0)
        self._add_hparams(event, session_end_info={"status": "STATUS_SUCCESS", "end_time_secs": time.time()})
        self._write(event)

    def write_picture(self, tag: str, gif: bytes, timesteps: int) -> None:
        """Writes a GIF. Raises as :meth:`write` does."""
        event = self._events.Event(step=timesteps)
        width, height = struct.unpack_from("<HH", gif, 6)
        event.summary.value.add(
            tag=tag, image={"width": width, "height": height, "colorspace": 3, "encoded_image_string": gif}
        )
        self._write(event)

    def _add_scalar(self, event: Any, tag: str, value: float, label: str, meaning: str) -> None:
        if not math.isnan(value):
            metadata = self._metadata("scalars", display_name=label, summary_description=meaning)
            metadata.MergeFromString(_CLASS_OF_SCALARS)
            event.summary.value.add(tag=tag, simple_value=value, metadata=metadata)

    def _add_hparams(self, event: Any, **content: Any) -> None:
        (kind,) = content
        data = self._hparams.HParamsPluginData(version=0, **content).SerializeToString()
        event.summary.value.add(tag=f"_hparams_/{kind}", metadata=self._metadata("hparams", data))

    def _metadata(self, plugin: str, content: bytes = b"", **description: str) -> Any:
        data = self._summary.SummaryMetadata.PluginData(plugin_name=plugin, content=content)
        return self._summary.SummaryMetadata(plugin_data=data, **description)

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        try:
            if self._writer is None:
                self._writer = self._open()
            self._writer.write_event(event)
            if time.monotonic() - self._flushed > _FLUSH_SECONDS:
                self._writer.flush()
                self._flushed = time.monotonic()
        except OSError:
            with suppress(OSError):
                self.close()
            raise

    def _open(self) -> Any:
        if self._writers.EventFileWriter is not self._files.EventFileWriter and not self._is_announced:
            # W&B's TensorBoard sync replaces this class, and watches each directory with which it is made.
            self._is_announced = True
            self._writers.EventFileWriter(str(self._directory)).close()
        return self._files.EventsWriter(str(self._directory / "events"), f".{os.getpid()}.{next(_numbers)}")

    def close(self) -> None:
        """Flushes and closes the file. A second call does nothing. Raises ``OSError``."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
