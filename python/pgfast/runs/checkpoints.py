"""Checkpoints: directories that are written whole, verified when read, and kept few.

A checkpoint is ``checkpoints/<timesteps, 12 digits>/`` with ``arrays.safetensors``, ``state.json`` and
``manifest.json``, which holds the size and SHA-256 of the other two. It is written under a temporary name and then
renamed: a name of 12 digits is a whole checkpoint. One process writes to a parent directory at a time: the caller holds
the lock of the run.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pgfast._typing import Array
from pgfast.runs.files import (
    MAX_JSON_BYTES,
    CheckpointError,
    encode_json,
    fsync_directory,
    parse_json,
    read_file,
    read_json,
    write_file,
)
from pgfast.runs.models import MAX_MODEL_BYTES, decode_model, encode_model
from pgfast.state import MAX_COUNT

_FORMAT = {"format": "pgfast checkpoint", "version": 1}
_ARRAYS, _STATE, _MANIFEST = "arrays.safetensors", "state.json", "manifest.json"
_MAX_BYTES = {_ARRAYS: MAX_MODEL_BYTES, _STATE: MAX_JSON_BYTES}
_NAME = re.compile(r"[0-9]{12}")
_TEMPORARY = re.compile(r"\.(new|old)-[0-9]{12}")
_REPLACED = re.compile(r"\.replaced-([0-9]{12})")


def write_checkpoint(
    parent: Path,
    timesteps: int,
    arrays: Mapping[str, Array],
    state: Mapping[str, Any],
    keep: int = 3,
    protected: Path | None = None,
) -> Path:
    """Writes ``parent/<timesteps>``, then removes all but ``protected`` and the last ``keep`` checkpoints up to it.

    A checkpoint of the same name is replaced. Later checkpoints, which exist if a run fell back to an older one, are
    neither counted nor removed. After a crash at any moment the older checkpoints and leftovers of this one remain.

    Args:
        parent: created if missing.
        timesteps: below 10^12.
        arrays: as for :func:`~pgfast.runs.models.write_model`.
        state: JSON values.
        keep: at least 1.

    Returns:
        The path of the checkpoint.

    Raises:
        TypeError, ValueError: for an argument that cannot be written; nothing was written then.
        OSError: if the disk fails.
    """
    if not 0 <= timesteps <= MAX_COUNT:
        raise ValueError(f"write_checkpoint: timesteps must be in [0, 10^12), got {timesteps}")
    if keep < 1:
        raise ValueError(f"write_checkpoint: keep must be at least 1, got {keep}")
    contents = {_ARRAYS: encode_model(arrays, {}), _STATE: encode_json(state)}
    for name, data in contents.items():
        if len(data) > _MAX_BYTES[name]:
            raise ValueError(f"write_checkpoint: {name} must stay below {_MAX_BYTES[name]} bytes, got {len(data)}")

    parent.mkdir(parents=True, exist_ok=True)
    clean_leftovers(parent)
    path = parent / f"{timesteps:012d}"
    temporary = parent / f".new-{path.name}"
    try:
        temporary.mkdir()
        for name, data in contents.items():
            write_file(temporary / name, data)
        files = {name: _fingerprint(data) for name, data in contents.items()}
        write_file(temporary / _MANIFEST, encode_json({**_FORMAT, "files": files}))
        fsync_directory(temporary)
        if path.exists():  # a directory cannot be replaced in one step; clean_leftovers undoes the first of the two
            path.rename(parent / f".replaced-{path.name}")
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fsync_directory(parent)
    clean_leftovers(parent)

    up_to_this = [old for old in list_checkpoints(parent) if old.name <= path.name]
    for old in up_to_this[:-keep]:
        if old != protected:
            _remove(old)
    return path


def read_checkpoint(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """``(arrays, state)`` of a checkpoint, verified against its manifest.

    Raises :class:`~pgfast.runs.files.CheckpointError` if a file is missing, broken or not the one written.
    """
    manifest = read_json(path / _MANIFEST, max_bytes=2**16)
    files = manifest.pop("files", None)
    if manifest != _FORMAT or not isinstance(files, dict) or set(files) != set(_MAX_BYTES):
        raise CheckpointError(path / _MANIFEST, f"is not the manifest of a checkpoint of version {_FORMAT['version']}")
    contents = {}
    for name, max_bytes in _MAX_BYTES.items():
        contents[name] = read_file(path / name, max_bytes)
        if files[name] != _fingerprint(contents[name]):
            raise CheckpointError(path / name, "is not the file that was written: size or SHA-256 differ")
    arrays, _ = decode_model(contents[_ARRAYS], path / _ARRAYS)
    return arrays, parse_json(contents[_STATE], path / _STATE)


def list_checkpoints(parent: Path) -> list[Path]:
    """The checkpoints of a directory, oldest first, unverified; none if it is missing. Raises ``OSError``."""
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())


def latest_checkpoint(parent: Path) -> Path | None:
    """The last of :func:`list_checkpoints`, or None."""
    return max(list_checkpoints(parent), default=None)


class Checkpoint(NamedTuple):
    """A checkpoint that has been read: its arrays and the content of its JSON file."""

    path: Path
    arrays: dict[str, Array]
    content: dict[str, Any]


def read_latest(parent: Path, *, synchronized: bool = False) -> tuple[Checkpoint, list[str]]:
    """The latest whole checkpoint, and a message for the user about each later one that is broken.

    With ``synchronized`` only those of synchronization points count.

    Raises :class:`~pgfast.runs.files.CheckpointError` if there is none.
    """
    broken: list[str] = []
    for path in reversed(list_checkpoints(parent)):
        try:
            checkpoint = Checkpoint(path, *read_checkpoint(path))
        except CheckpointError as error:
            broken.append(f"{path.name}: {error.path.name}: {error.reason}")
            continue
        if checkpoint.content.get("synchronized") is True or not synchronized:
            return checkpoint, [f"skipped {parent / reason}" for reason in broken]
    kind = "checkpoint of a synchronization point" if synchronized else "checkpoint"
    raise CheckpointError(parent, f"holds no whole {kind} ({'; '.join(broken)})" if broken else f"holds no {kind}")


def remove_later(parent: Path, timesteps: int) -> None:
    """Removes the checkpoints after ``timesteps``, of a run that continues from there. Raises ``OSError``."""
    for path in list_checkpoints(parent):
        if int(path.name) > timesteps:
            _remove(path)


def clean_leftovers(parent: Path) -> None:
    """Removes the half-written and half-removed checkpoints of a crash. Raises ``OSError``."""
    if not parent.is_dir():
        return
    for path in list(parent.iterdir()):
        replaced = _REPLACED.fullmatch(path.name)
        if replaced and not (parent / replaced[1]).exists():
            path.rename(parent / replaced[1])  # the crash came before its successor was renamed
        elif replaced or _TEMPORARY.fullmatch(path.name):
            _delete(path)


def _remove(path: Path) -> None:
    """Removes a checkpoint, under another name first: a crash leaves it whole or as a leftover."""
    doomed = path.with_name(f".old-{path.name}")
    path.rename(doomed)
    _delete(doomed)


def _delete(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


def _fingerprint(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
