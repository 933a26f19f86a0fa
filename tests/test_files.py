"""Atomic writing, and the strict reading of JSON and files."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from pgfast.runs.files import (
    CheckpointError,
    encode_json,
    parse_json,
    read_file,
    read_json,
    write_atomically,
    write_file,
    write_json_atomically,
)

PATH = Path("some.json")


def test_json_is_read_back_unchanged(tmp_path: Path) -> None:
    value = {"text": "\u00e9\n", "list": [1, 2.5, None, True], "inner": {"a": -0.1}, "large": 2**63}
    write_json_atomically(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    write_json_atomically(tmp_path / "a.json", {"second": 1})
    assert read_json(tmp_path / "a.json") == {"second": 1}
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]


def test_numpy_scalars_become_plain_numbers() -> None:
    value = {"float32": np.float32(0.1), "int64": np.int64(-3), "bool": np.bool_(True)}
    assert parse_json(encode_json(value), PATH) == {"float32": float(np.float32(0.1)), "int64": -3, "bool": True}


def test_values_that_json_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_json({"loss": float("nan")})
    with pytest.raises(TypeError, match="cannot write a ndarray"):
        encode_json({"returns": np.zeros(3)})


def test_a_failed_write_leaves_the_old_file_and_names_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    write_atomically(path, b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match=r"No space left on device: '.*/a\.bin'$"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_below_a_file_raises(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"file/a\.json'$"):
        write_json_atomically(tmp_path / "file" / "a.json", {})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not valid JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"a": 1', "not valid JSON"),
        (b'{"a": 1} x', "not valid JSON"),
        (b'{"a": 1, "a": 2}', "key 'a' occurs twice"),
        (b'{"a": {"b": 1, "b": 1}}', "key 'b' occurs twice"),
        (b'{"a": NaN}', "NaN is not a finite number"),
        (b'{"a": -Infinity}', "-Infinity is not a finite number"),
        (b'{"a": 1e999}', "is not a finite number"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not valid JSON"),
        (b'{"a": "\xff"}', "not valid JSON"),
        ("\ufeff{}".encode(), "not valid JSON"),
        ('{"a": 1}'.encode("utf-16"), "not valid JSON"),
        (b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"' + b'\\"' * 500_000, "not valid JSON"),
    ],
)
def test_broken_json_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason) as caught:
        parse_json(data, PATH)
    assert str(caught.value).startswith("some.json: content ")


def test_brackets_in_strings_do_not_count_as_nesting() -> None:
    text = "[" * 100 + '\\"{' + "\u00e9\\"
    assert parse_json(encode_json({"a": text}), PATH) == {"a": text}


def test_only_regular_files_of_moderate_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="pipe: is not a regular file"):  # instead of waiting for a writer
        read_file(tmp_path / "pipe", 10)
    with pytest.raises(CheckpointError, match="Is a directory"):
        read_file(tmp_path, 10)
    with pytest.raises(CheckpointError, match=r"missing: cannot be read \(No such file"):
        read_file(tmp_path / "missing", 10)
    with pytest.raises(CheckpointError, match="null byte"):
        read_file(tmp_path / "a\0b", 10)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(CheckpointError, match="larger than 10 bytes"):
        read_file(tmp_path / "sparse", 10)


def test_the_error_is_one_printable_line() -> None:
    error = CheckpointError(Path("a\nb\x1b[0m"), "has a\tname")
    assert str(error) == r"a\nb\x1b[0m: has a\tname"


def test_the_error_survives_pickling_between_processes() -> None:
    error = pickle.loads(pickle.dumps(CheckpointError(PATH, "is broken")))
    assert (error.path, error.reason, str(error)) == (PATH, "is broken", "some.json: is broken")


def test_an_error_of_the_disk_names_the_file() -> None:
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_file(Path("/dev/full"), b"data")
    assert caught.value.filename == "/dev/full"
