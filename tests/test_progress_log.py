"""progress.csv: whole rows, exact numbers, and resuming at a recorded length."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgfast.runs.files import CheckpointError
from pgfast.runs.progress_log import ProgressLog, read_progress

FIELDS = ("timesteps", "return_mean", "value_loss")


def write(path: Path, *rows: dict[str, Any]) -> ProgressLog:
    log = ProgressLog(path, FIELDS)
    for row in rows:
        log.write(row)
    return log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "progress.csv"


def test_rows_are_plain_text_and_unknown_values_empty_cells(path: Path) -> None:
    log = write(path, {"timesteps": 5}, {"value_loss": 0.1, "timesteps": np.int64(10), "return_mean": None})
    log.write({"timesteps": 15, "return_mean": np.float32(0.1), "value_loss": float("nan")})
    log.sync()
    assert path.read_text() == "timesteps,return_mean,value_loss\n5,,\n10,,0.1\n15,0.1,\n"
    assert log.byte_length == path.stat().st_size
    log.close()
    log.close()


def test_numbers_come_back_exactly(path: Path) -> None:
    values = [0.1 + 0.2, -1e-300, 1e300, 2.0, float("inf"), -0.0]
    write(path, *({"timesteps": n, "return_mean": value} for n, value in enumerate(values))).close()
    columns = read_progress(path)
    assert tuple(columns) == FIELDS
    np.testing.assert_array_equal(columns["timesteps"], np.arange(6.0), strict=True)
    np.testing.assert_array_equal(columns["return_mean"], np.array(values), strict=True)
    assert np.isnan(columns["value_loss"]).all()


def test_a_header_alone_has_no_rows(path: Path) -> None:
    write(path).close()
    assert {name: column.shape for name, column in read_progress(path).items()} == dict.fromkeys(FIELDS, (0,))


def test_a_bad_row_writes_nothing(path: Path) -> None:
    log = write(path, {"timesteps": 5})
    with pytest.raises(ValueError, match=r"\['kl'\] is not in the header"):
        log.write({"timesteps": 10, "kl": 0.1})
    for value in ("1,2\n", True, [1.0], np.zeros(1)):
        row: dict[str, Any] = {"timesteps": 10, "return_mean": value}
        with pytest.raises(TypeError, match="return_mean must be a number or None"):
            log.write(row)
    assert log.byte_length == path.stat().st_size
    assert read_progress(path)["timesteps"].tolist() == [5.0]
    log.close()


@pytest.mark.parametrize("fieldnames", [(), ("a", "a"), ("a", ""), ("a,b",), ("a\n",), ("\u00e9",)])
def test_bad_headers_are_refused(path: Path, fieldnames: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="fieldnames must be distinct identifiers"):
        ProgressLog(path, fieldnames)
    assert not path.exists()


def test_an_existing_file_is_not_overwritten(path: Path) -> None:
    write(path, {"timesteps": 5}).close()
    with pytest.raises(FileExistsError):
        ProgressLog(path, FIELDS)
    assert read_progress(path)["timesteps"].tolist() == [5.0]


def test_resuming_removes_the_rows_after_the_checkpoint(path: Path) -> None:
    log = write(path, {"timesteps": 5})
    length = log.byte_length
    log.write({"timesteps": 10, "return_mean": 1.0})
    log.close()
    with path.open("a") as file:
        file.write("15,2")  # torn by a crash
    log = ProgressLog.resume(path, length)
    assert (log.fieldnames, log.byte_length, path.stat().st_size) == (FIELDS, length, length)
    log.write({"timesteps": 11})
    log.close()
    assert path.read_text() == "timesteps,return_mean,value_loss\n5,,\n11,,\n"
    assert log.byte_length == path.stat().st_size


def test_resuming_refuses_a_file_that_is_not_the_recorded_one(path: Path) -> None:
    write(path, {"timesteps": 5}).close()
    size = path.stat().st_size
    for length in (0, -1, size + 1, 2**70, True, 33.0, "33"):
        with pytest.raises(CheckpointError, match=f"has {size} bytes, but the checkpoint was written at"):
            ProgressLog.resume(path, length)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=f"has no end of a row at byte {size - 1}"):
        ProgressLog.resume(path, size - 1)
    with pytest.raises(CheckpointError, match="cannot be read"):
        ProgressLog.resume(path.with_name("missing"), 1)
    assert path.stat().st_size == size


def test_a_torn_last_row_is_left_out(path: Path) -> None:
    write(path, {"timesteps": 5, "return_mean": 1.5, "value_loss": 0.5}).close()
    data = path.read_bytes()
    header_length = data.index(b"\n") + 1
    for length in range(header_length, len(data)):
        path.write_bytes(data[:length])
        assert read_progress(path)["timesteps"].size == 0
    for length in range(header_length):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match="has no header"):
            read_progress(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n1\n", "line 2 has 1 cells, the header has 2"),
        ("a,b\n1,2\n\n", "line 3 has 1 cells"),
        ("a,b\n1,x\n", "line 2 has a cell that is not a number"),
        ("a,a\n1,2\n", "no header of distinct column names"),
        ("\x80\x04pickle\n", "no header"),
    ],
)
def test_broken_files_are_refused(path: Path, text: str, reason: str) -> None:
    path.write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match=reason):
        read_progress(path)


def test_a_full_disk_leaves_whole_rows_and_loses_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = write(path, {"timesteps": 5})
    whole = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: whole(descriptor, data[: len(data) // 2]))
        with pytest.raises(OSError, match="bytes could be written, the disk is full") as caught:
            log.write({"timesteps": 10})
        assert caught.value.filename == str(path)
        assert read_progress(path)["timesteps"].tolist() == [5.0]
        assert log.byte_length == path.stat().st_size + len("10,,\n")
    log.write({"timesteps": 15})
    log.close()
    assert read_progress(path)["timesteps"].tolist() == [5.0, 10.0, 15.0]
    assert log.byte_length == path.stat().st_size


def test_an_error_of_the_disk_names_the_file(path: Path) -> None:
    path.symlink_to("/dev/full")
    log = ProgressLog.__new__(ProgressLog)
    log._path, log.fieldnames, log._byte_length, log._waiting = path, FIELDS, 0, b""
    log._descriptor = os.open(path, os.O_WRONLY)
    with pytest.raises(OSError, match="No space left on device") as caught:
        log.write({"timesteps": 5})
    log.close()
    assert caught.value.filename == str(path)


def test_each_row_is_one_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    log = ProgressLog(path, FIELDS)
    whole = os.write

    def write(descriptor: int, data: bytes) -> int:
        written.append(data)
        return whole(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    log.write({"timesteps": 5})
    log.write({"timesteps": 10})
    assert written == [b"5,,\n", b"10,,\n"]
    log.close()
