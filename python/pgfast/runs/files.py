"""Atomic writing of files, and strict reading of untrusted ones."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

MAX_JSON_BYTES = 16 * 2**20
_MAX_REASON = 500  # characters of a message that may quote the file
_TEMPORARY = re.compile(r"\..+\.tmp-[0-9]+")


class CheckpointError(Exception):
    """A file that is missing, unreadable, broken or hostile: its ``path`` and the ``reason``, one printable line."""

    def __init__(self, path: Path, reason: str) -> None:
        reason = printable(reason[:_MAX_REASON])
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{printable(str(self.path))}: {self.reason}"


def printable(text: str) -> str:
    """The text in one line, with its control characters escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


@contextmanager
def checked_content(path: Path) -> Iterator[None]:
    """Turns the exceptions of content of the wrong kind into :class:`CheckpointError`, which names ``path``."""
    try:
        yield
    except ValueError as error:
        raise CheckpointError(path, str(error)) from None
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError, MemoryError) as error:
        raise CheckpointError(path, f"{type(error).__name__}: {error}") from None


def fsync_directory(path: Path) -> None:
    """Makes the names in a directory (created, renamed, removed) survive a power cut. Raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with naming(path):
            os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems need no sync
            raise
    finally:
        os.close(descriptor)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the name of the file to an ``OSError`` that has none, as those of writing and of ``fsync``."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_file(path: Path, data: bytes) -> None:
    """Writes a file and waits until its content is on the disk. Raises ``OSError``, which names the file."""
    with naming(path), path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, data: bytes) -> None:
    """Writes or replaces a file, which after a crash holds the old content or the new. Raises ``OSError``."""
    temporary = temporary_name(path)
    try:
        write_file(temporary, data)
        temporary.replace(path)
    except OSError as error:  # the caller does not know the temporary name
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    fsync_directory(path.parent)


def temporary_name(path: Path) -> Path:
    """The name under which this process writes a file before it is renamed."""
    return path.with_name(f".{path.name}.tmp-{os.getpid()}")


def is_temporary(name: str) -> bool:
    """Whether a file has a name of :func:`temporary_name`, of any process."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_temporaries(directory: Path) -> None:
    """Removes the temporary files that killed processes left in a directory. Raises ``OSError``."""
    if directory.is_dir():
        for path in list(directory.iterdir()):
            if is_temporary(path.name) and not path.is_dir():
                path.unlink()


def write_json_atomically(path: Path, value: Mapping[str, Any]) -> None:
    """:func:`encode_json` to a file, by :func:`write_atomically`. Raises as they do."""
    write_atomically(path, encode_json(value))


def encode_json(value: Mapping[str, Any], *, indent: int | None = 2) -> bytes:
    """A mapping as JSON; NumPy scalars become plain numbers.

    Raises ``TypeError`` for other values that JSON cannot hold, ``ValueError`` for NaN and infinities.
    """
    return (json.dumps(dict(value), indent=indent, allow_nan=False, default=_plain_number) + "\n").encode()


def _plain_number(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    raise TypeError(f"encode_json: cannot write a {type(value).__name__} as JSON")


def read_file(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file of at most ``max_bytes``. Raises :class:`CheckpointError`."""
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CheckpointError(path, "is not a regular file")
            if status.st_size > max_bytes:
                raise CheckpointError(path, f"is larger than {max_bytes} bytes")
            data = file.read(status.st_size)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise CheckpointError(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if len(data) != status.st_size:
        raise CheckpointError(path, "changed while it was read")
    return data


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """A file that holds one JSON object. Raises :class:`CheckpointError`."""
    return parse_json(read_file(path, max_bytes), path)


def parse_json(data: bytes, path: Path, *, what: str = "content") -> dict[str, Any]:
    """One JSON object, strictly: UTF-8, no key twice, finite numbers, nested no deeper than Python recurses.

    Not by msgspec, which keeps the last of two values of one key and has no hook to see the first.

    Raises :class:`CheckpointError` that names ``path`` and ``what``.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object_without_duplicates,
            parse_float=_finite_float,
            parse_constant=_finite_float,
        )
    except ValueError as error:
        raise CheckpointError(path, f"{what} is not valid JSON ({error})") from error
    except RecursionError as error:
        raise CheckpointError(path, f"{what} is nested too deeply") from error
    if not isinstance(value, dict):
        raise CheckpointError(path, f"{what} is not a JSON object")
    return value


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"key {key[:80]!r} occurs twice")
        result[key] = value
    return result


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:80]} is not a finite number")
    return number
