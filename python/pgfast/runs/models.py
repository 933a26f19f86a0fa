"""Model files: named arrays and JSON metadata in one safetensors file.

The format is a length (8 bytes, little-endian), a JSON header with the dtype, shape and place of each array, and the
arrays' bytes. The header's limits are checked here before safetensors reads the file; nothing in it is executed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from pgfast._typing import Array
from pgfast.runs.files import CheckpointError, encode_json, parse_json, read_file, write_atomically

SCHEMA_VERSION = 1  # of the metadata's place in the header
MAX_MODEL_BYTES = 2 * 2**30
_MAX_HEADER_BYTES = 2**20
_MAX_ARRAYS = 4096
_MAX_DIMENSIONS = 8
_METADATA_KEY = "pgfast"
_NAME = re.compile(r"[\w./:-]{1,200}", re.ASCII)
_DTYPES = [np.dtype(name) for name in ("float32", "float64", "int32", "int64", "uint8", "uint64", "bool")]


def write_model(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, Any]) -> None:
    """Writes a model file atomically: after a crash ``path`` holds the old content or the new.

    Args:
        path: ends in ``.safetensors`` by custom; its directory must exist.
        arrays: names of letters, digits and ``_ . / : -``; float32, float64, int32, int64, uint8, uint64 or bool.
        metadata: JSON values.

    Raises:
        TypeError: for a dtype or metadata that the file cannot hold.
        ValueError: for a name, a size, or a number that is not finite.
        OSError: if the file cannot be written.
    """
    write_atomically(path, encode_model(arrays, metadata))


def read_model(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """``(arrays, metadata)`` of a model file; the arrays are newly allocated.

    Raises :class:`~pgfast.runs.files.CheckpointError` for anything that :func:`write_model` would not write.
    """
    return decode_model(read_file(path, MAX_MODEL_BYTES), path)


def encode_model(arrays: Mapping[str, Array], metadata: Mapping[str, Any]) -> bytes:
    """The bytes of a model file, a pure function of the arguments. Raises as :func:`write_model` does."""
    for refusal in _refusals(arrays):
        raise type(refusal)(f"write_model: {refusal}")
    text = encode_json({"version": SCHEMA_VERSION, "metadata": dict(metadata)}, indent=None).decode()
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    data = safetensors.numpy.save(contiguous, {_METADATA_KEY: text})
    if int.from_bytes(data[:8], "little") > _MAX_HEADER_BYTES:
        raise ValueError(f"write_model: names and metadata must stay below {_MAX_HEADER_BYTES} bytes")
    return data


def decode_model(data: bytes, path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """:func:`read_model` for bytes already read; ``path`` is for the error message."""
    if len(data) < 8:
        raise CheckpointError(path, "is too short for a safetensors file")
    start = 8 + int.from_bytes(data[:8], "little")
    if start > 8 + _MAX_HEADER_BYTES:
        raise CheckpointError(path, f"is not a safetensors file with a header of at most {_MAX_HEADER_BYTES} bytes")
    if start > len(data) or data[8:9] != b"{":
        raise CheckpointError(path, "is cut short, or not a safetensors file")
    header = parse_json(data[8:start], path, what="header")
    metadata = _read_metadata(header.pop("__metadata__", None), path)
    if len(header) > _MAX_ARRAYS:
        raise CheckpointError(path, f"header has more than {_MAX_ARRAYS} arrays")
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise CheckpointError(path, f"array {name!r} needs exactly dtype, shape and data_offsets")
    try:
        arrays = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(path, f"arrays do not fit the file: {error}") from None
    for refusal in _refusals(arrays):
        raise CheckpointError(path, str(refusal))
    return arrays, metadata


def _read_metadata(strings: Any, path: Path) -> dict[str, Any]:
    text = strings.get(_METADATA_KEY) if isinstance(strings, dict) else None
    if not isinstance(text, str):
        raise CheckpointError(path, f'header has no "{_METADATA_KEY}" metadata: not written by pgfast')
    outer = parse_json(text.encode("utf-8", "surrogatepass"), path, what="metadata")
    if outer.get("version") != SCHEMA_VERSION:
        raise CheckpointError(
            path, f"metadata has version {outer.get('version')!r:.80}; this pgfast reads {SCHEMA_VERSION}"
        )
    metadata = outer.get("metadata")
    if not isinstance(metadata, dict):
        raise CheckpointError(path, "metadata is not a JSON object")
    return metadata


def _refusals(arrays: Mapping[str, Array]) -> Iterator[ValueError | TypeError]:
    """Why a model file must not hold these arrays; nothing if it may."""
    if len(arrays) > _MAX_ARRAYS:
        yield ValueError(f"there are more than {_MAX_ARRAYS} arrays")
    if sum(array.nbytes for array in arrays.values()) > MAX_MODEL_BYTES - _MAX_HEADER_BYTES:
        yield ValueError(f"the arrays have more than {MAX_MODEL_BYTES} bytes together")
    for name, array in arrays.items():
        if not _NAME.fullmatch(name):
            yield ValueError(f"array names are 1 to 200 letters, digits and _ . / : -, got {name[:80]!r}")
        if array.dtype not in _DTYPES:
            yield TypeError(f"array {name!r} has dtype {array.dtype}, not one of {', '.join(map(str, _DTYPES))}")
        if array.ndim > _MAX_DIMENSIONS:
            yield ValueError(f"array {name!r} has more than {_MAX_DIMENSIONS} dimensions")
        if array.dtype == np.bool_ and np.any(array.view(np.uint8) > 1):
            yield ValueError(f"array {name!r} holds a flag that is neither 0 nor 1")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            yield ValueError(f"array {name!r} holds a number that is not finite")
