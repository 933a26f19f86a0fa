"""``progress.csv`` and its like: the numbers of a run, one whole row at a time."""

from __future__ import annotations

import errno
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pgfast.runs.files import CheckpointError, naming, read_file

__all__ = ["ProgressLog", "read_header", "read_progress", "read_recorded"]

_MAX_BYTES = 2**30
_FIELD = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class ProgressLog:
    """Appends rows to a new file whose header is ``fieldnames``.

    Raises:
        ValueError: for a field name that is not an identifier or occurs twice.
        FileExistsError: if the file exists.
        OSError: if it cannot be written.
    """

    def __init__(self, path: Path, fieldnames: Sequence[str]) -> None:
        if not fieldnames or len(set(fieldnames)) != len(fieldnames) or not all(map(_FIELD.fullmatch, fieldnames)):
            raise ValueError(f"ProgressLog: fieldnames must be distinct identifiers, got {list(fieldnames)}")
        self._path, self.fieldnames = path, tuple(fieldnames)
        self._byte_length, self._waiting = 0, b""
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._append(",".join(self.fieldnames))

    @classmethod
    def resume(cls, path: Path, byte_length: int) -> ProgressLog:
        """Continues after the first ``byte_length`` bytes, which a checkpoint recorded; later rows are removed.

        Raises :class:`~pgfast.runs.files.CheckpointError` if the file is shorter or no row ends there, ``OSError``.
        """
        data = read_recorded(path, byte_length)
        log = cls.__new__(cls)
        log._path, log.fieldnames = path, _parse_header(data[: data.index(b"\n")], path)
        log._byte_length, log._waiting = byte_length, b""
        log._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        os.ftruncate(log._descriptor, byte_length)
        return log

    @property
    def byte_length(self) -> int:
        """Bytes of the header and of all rows so far, those included that could not be written yet."""
        return self._byte_length + len(self._waiting)

    def write(self, *rows: Mapping[str, object]) -> None:
        """Appends rows in one write. A field that is missing, None or NaN becomes an empty cell.

        Raises:
            ValueError: for a field that is not in the header.
            TypeError: for a value that is not a number.
            OSError: if the disk is full; the file is unchanged, and the rows are written before the next ones.
        """
        lines, known = [], set(self.fieldnames)
        for row in rows:
            unknown = row.keys() - known
            if unknown:
                raise ValueError(f"ProgressLog.write: {sorted(unknown)} is not in the header {list(self.fieldnames)}")
            lines.append(",".join(_format_cell(name, row.get(name)) for name in self.fieldnames))
        self._append(*lines)

    def sync(self) -> None:
        """Waits until all rows are on the disk, as a checkpoint that records :attr:`byte_length` requires.

        Raises ``OSError`` if they cannot be written.
        """
        self._flush()
        with naming(self._path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Closes the file. A second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _append(self, *lines: str) -> None:
        self._waiting += "".join(f"{line}\n" for line in lines).encode("ascii")
        self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        with naming(self._path):
            written = os.write(self._descriptor, self._waiting)
            if written != len(self._waiting):
                os.ftruncate(self._descriptor, self._byte_length)
                raise OSError(
                    errno.ENOSPC, f"only {written} of {len(self._waiting)} bytes could be written, the disk is full"
                )
        self._byte_length += written
        self._waiting = b""


def read_header(path: Path) -> tuple[str, ...]:
    """The names of the columns. Raises :class:`~pgfast.runs.files.CheckpointError`."""
    return _parse_header(read_file(path, _MAX_BYTES).partition(b"\n")[0], path)


def read_recorded(path: Path, byte_length: int) -> bytes:
    """The content of a ``progress.csv``.

    Raises :class:`~pgfast.runs.files.CheckpointError` unless a row ends after the first ``byte_length`` bytes, which a
    checkpoint recorded.
    """
    data = read_file(path, _MAX_BYTES)
    if type(byte_length) is not int or not 0 < byte_length <= len(data):
        raise CheckpointError(path, f"has {len(data)} bytes, but the checkpoint was written at {byte_length!r:.40}")
    if data[byte_length - 1 : byte_length] != b"\n":
        raise CheckpointError(path, f"has no end of a row at byte {byte_length}, where the checkpoint was written")
    return data


def read_progress(path: str | Path) -> dict[str, NDArray[np.float64]]:
    """The columns of a ``progress.csv`` by name, all of one length; an empty cell is NaN.

    A last line without a newline (a crash, or a run in progress) is left out.

    Raises:
        CheckpointError: if the file is missing or broken.
    """
    path = Path(path)
    header, *lines = read_file(path, _MAX_BYTES).split(b"\n")[:-1] or [b""]
    names = _parse_header(header, path)
    table = np.empty((len(lines), len(names)))
    for index, line in enumerate(lines):
        cells = line.split(b",")
        if len(cells) != len(names):
            raise CheckpointError(path, f"line {index + 2} has {len(cells)} cells, the header has {len(names)}")
        try:
            table[index] = [float(cell) if cell else math.nan for cell in cells]
        except ValueError as error:
            raise CheckpointError(path, f"line {index + 2} has a cell that is not a number ({error})") from error
    return {name: table[:, column].copy() for column, name in enumerate(names)}


def _parse_header(line: bytes, path: Path) -> tuple[str, ...]:
    names = tuple(line.decode("ascii", "replace").split(","))
    if len(set(names)) != len(names) or not all(map(_FIELD.fullmatch, names)):
        raise CheckpointError(path, "has no header of distinct column names")
    return names


def _format_cell(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"ProgressLog.write: {name} must be a number or None, got {type(value).__name__}")
    return "" if value != value else str(value)  # the shortest text that reads back as the same number
