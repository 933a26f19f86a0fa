"""TensorBoard events, read in the way of TensorBoard."""

from __future__ import annotations

import importlib
import math
import struct
from pathlib import Path
from typing import Any

import pytest

from pgfast.reporting import tensorboard
from pgfast.reporting.tensorboard import TensorBoardLog, open_events

pytest.importorskip("tensorboardX")


def read_events(directory: Path) -> list[Any]:
    """All events: records of a length (8 bytes), its checksum (4), the event, its checksum (4)."""
    event_type = importlib.import_module("tensorboardX.proto.event_pb2").Event
    events = []
    for file in sorted(directory.glob("events.out.tfevents.*")):
        data, position = file.read_bytes(), 0
        while position < len(data):
            (length,) = struct.unpack_from("<Q", data, position)
            events.append(event_type.FromString(data[position + 12 : position + 12 + length]))
            position += 16 + length
    return events


def read_scalars(directory: Path) -> list[tuple[str, int, float]]:
    return [
        (value.tag, event.step, value.simple_value) for event in read_events(directory) for value in event.summary.value
    ]


def test_known_numbers_become_scalars(tmp_path: Path) -> None:
    with open_events(tmp_path, None) as log:
        assert log is not None
        log.write({"timesteps": 100, "return_mean": 1.5, "return_std": None, "entropy": math.nan, "episodes": 3})
        log.write({"timesteps": 200, "return_mean": 2.5})
        log.close()
    assert read_scalars(tmp_path) == [("return_mean", 100, 1.5), ("episodes", 100, 3.0), ("return_mean", 200, 2.5)]


def test_resuming_purges_the_events_after_the_checkpoint(tmp_path: Path) -> None:
    first = TensorBoardLog(tmp_path)
    first.write({"timesteps": 100, "return_mean": 1.0})
    first.close()
    second = TensorBoardLog(tmp_path, purge_step=101)
    second.close()
    starts = [event.step for event in read_events(tmp_path) if event.HasField("session_log")]
    assert starts == [101]


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(tensorboard, "import_module", missing)
    with pytest.raises(ImportError, match=r'pip install "pgfast\[tensorboard\]"'):
        TensorBoardLog(tmp_path)
