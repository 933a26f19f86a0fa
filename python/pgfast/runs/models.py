"""Model files: named arrays and JSON metadata in one safetensors file.

The format is a length (8 bytes, little-endian), a JSON header that gives each array's dtype, shape and place, and the
arrays' bytes. Limits on everything are checked here before safetensors reads it; nothing in it is ever executed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from pgfast._typing import Array
from pgfast.runs.files import CheckpointError, encode_json, parse_json, read_file, write_atomically

SCHEMA_VERSION = 1  # of the metadata and of the names it stands beside
MAX_MODEL_BYTES = 2 * 2**30
_MAX_HEADER_BYTES = 2**20
_MAX_ARRAYS = 4096
_MAX_DIMENSIONS = 8
_METADATA_KEY = "pgfast"
_NAME = re.compile(r"[\w./:-]{1,200}", re.ASCII)
# The names that safetensors and NumPy have for what may be stored.
_DTYPES = {"F32": "f4", "F64": "f8", "I32": "i4", "I64": "i8", "U8": "u1", "U64": "u8", "BOOL": "?"}


def write_model(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, Any]) -> None:
    """Writes a model file, atomically: after a crash ``path`` holds the old content or the new.

    Args:
        path: ends in ``.safetensors`` by custom; its directory must exist.
        arrays: names of letters, digits and ``_ . / : -``; float32, float64, int32, int64, uint8, uint64 or bool.
        metadata: what JSON can hold.

    Raises: ``TypeError`` (dtype, metadata), ``ValueError`` (names, sizes, a number that is not finite), ``OSError``.
    """
    write_atomically(path, encode_model(arrays, metadata))


def read_model(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """``(arrays, metadata)`` of a model file; the arrays are newly allocated.

    Raises :class:`~pgfast.runs.files.CheckpointError` for anything that :func:`write_model` would not write.
    """
    return decode_model(read_file(path, MAX_MODEL_BYTES), path)


def encode_model(arrays: Mapping[str, Array], metadata: Mapping[str, Any]) -> bytes:
    """The bytes of a model file, a pure function of the arguments. Raises as :func:`write_model` does."""
    if len(arrays) > _MAX_ARRAYS:
        raise ValueError(f"write_model: at most {_MAX_ARRAYS} arrays, got {len(arrays)}")
    if sum(array.nbytes for array in arrays.values()) > MAX_MODEL_BYTES - _MAX_HEADER_BYTES:
        raise ValueError(f"write_model: the arrays must stay below {MAX_MODEL_BYTES} bytes together")
    for name, array in arrays.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"write_model: array names are 1 to 200 letters, digits and _ . / : -, got {name!r}")
        if array.dtype not in _DTYPES.values():
            raise TypeError(f"write_model: array {name!r} has dtype {array.dtype}, not one of {', '.join(_DTYPES)}")
        if array.ndim > _MAX_DIMENSIONS:
            raise ValueError(f"write_model: array {name!r} has more than {_MAX_DIMENSIONS} dimensions")
        if not _all_finite(array):
            raise ValueError(f"write_model: array {name!r} holds a number that is not finite")
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
    header = parse_json(data[8:start], path, what="header", max_depth=3)
    metadata = _read_metadata(header.pop("__metadata__", None), path)
    return _read_arrays(header, data, path), metadata


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


def _read_arrays(header: dict[str, Any], data: bytes, path: Path) -> dict[str, Array]:
    """The arrays of a header that has been parsed strictly; that they tile the data is for safetensors to check."""
    if len(header) > _MAX_ARRAYS:
        raise CheckpointError(path, f"header has more than {_MAX_ARRAYS} arrays")
    for name, entry in header.items():
        if not _NAME.fullmatch(name):
            raise CheckpointError(path, f"array name {name[:80]!r} is not allowed")
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise CheckpointError(path, f"array {name!r} needs exactly dtype, shape and data_offsets")
        if entry["dtype"] not in list(_DTYPES):
            raise CheckpointError(path, f"array {name!r} has a dtype that is not one of {', '.join(_DTYPES)}")
        if not isinstance(entry["shape"], list) or len(entry["shape"]) > _MAX_DIMENSIONS:
            raise CheckpointError(path, f"array {name!r} has a shape that is not allowed")
    try:
        arrays = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, ValueError, OverflowError) as error:
        raise CheckpointError(path, f"arrays do not fit the file: {error}") from None
    for name, array in arrays.items():
        if array.dtype == np.bool_ and np.any(array.view(np.uint8) > 1):
            raise CheckpointError(path, f"array {name!r} holds a flag that is neither 0 nor 1")
        if not _all_finite(array):
            raise CheckpointError(path, f"array {name!r} holds a number that is not finite")
    return arrays


def _all_finite(array: Array) -> bool:
    return not np.issubdtype(array.dtype, np.floating) or bool(np.isfinite(array).all())
