"""Model files: every array is read back bit for bit, and nothing else is read."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from pgfast.runs.files import CheckpointError
from pgfast.runs.models import decode_model, encode_model, read_model, write_model

PATH = Path("model.safetensors")
METADATA = json.dumps({"version": 1, "metadata": {}})


def example() -> tuple[dict[str, Any], dict[str, Any]]:
    arrays = {
        "policy/0.weight": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
        "mean": np.array([1e-300, -0.0, np.finfo(np.float64).max]),
        "count": np.array(7, dtype=np.int64),
        "seed": np.array([2**64 - 1], dtype=np.uint64),
        "frames": np.arange(5, dtype=np.uint8),
        "lives": np.array([-1], dtype=np.int32),
        "open": np.array([True, False]),
        "empty": np.zeros((0, 3), dtype=np.float32),
    }
    return arrays, {"algo": "a2c", "settings": {"discount": 0.99, "hidden_sizes": [64, 64]}, "note": "\u00e9"}


def forge(tensors: dict[str, Any], data: bytes = b"", metadata: Any = METADATA) -> bytes:
    """A file with the given header."""
    header = json.dumps({"__metadata__": {"pgfast": metadata}, **tensors}).encode()
    return len(header).to_bytes(8, "little") + header + data


def tensor(dtype: Any = "F32", shape: Any = (2,), data_offsets: Any = (0, 8), **extra: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": data_offsets, **extra}


def test_round_trip_is_exact(tmp_path: Path) -> None:
    arrays, metadata = example()
    write_model(tmp_path / "m.safetensors", arrays, metadata)
    loaded, loaded_metadata = read_model(tmp_path / "m.safetensors")
    assert loaded_metadata == metadata
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype
        assert loaded[name].shape == array.shape
        assert loaded[name].tobytes() == array.tobytes()
        assert loaded[name].flags.writeable
        assert loaded[name].flags.aligned


def test_the_safetensors_library_reads_the_same() -> None:
    arrays, metadata = example()
    peer = safetensors.numpy.load(encode_model(arrays, metadata))
    for name, array in decode_model(encode_model(arrays, metadata), PATH)[0].items():
        np.testing.assert_array_equal(array, peer[name], strict=True)


def test_equal_content_gives_equal_bytes_in_any_order() -> None:
    arrays, metadata = example()
    backwards = dict(reversed(arrays.items()))
    assert encode_model(arrays, metadata) == encode_model(backwards, metadata)


def test_a_strided_array_is_written_by_its_values() -> None:
    strided = np.arange(12.0).reshape(3, 4)[::-1, ::2].T
    loaded = decode_model(encode_model({"a": strided}, {}), PATH)[0]["a"]
    np.testing.assert_array_equal(loaded, strided, strict=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_neither_written_nor_read(bad: float) -> None:
    array = np.array([0.0, bad], dtype=np.float32)
    with pytest.raises(ValueError, match="'weight' holds a number that is not finite"):
        encode_model({"weight": array}, {})
    with pytest.raises(CheckpointError, match="'weight' holds a number that is not finite"):
        decode_model(forge({"weight": tensor()}, array.tobytes()), PATH)


@pytest.mark.parametrize(
    ("name", "array", "error"),
    [
        ("a", np.zeros(2, dtype=np.float16), TypeError),
        ("a", np.zeros(2, dtype=">f4"), TypeError),
        ("a", np.array(["text"]), TypeError),
        ("a", np.array([object()]), TypeError),
        ("", np.zeros(2), ValueError),
        ("__metadata__ ", np.zeros(2), ValueError),
        ("a" * 201, np.zeros(2), ValueError),
        ("a", np.zeros((1,) * 9), ValueError),
        ("a", np.broadcast_to(np.float32(0), (2**30,)), ValueError),
    ],
)
def test_arrays_that_could_not_be_read_are_not_written(name: str, array: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="write_model"):
        encode_model({name: array}, {})


def test_too_much_metadata_is_not_written() -> None:
    with pytest.raises(ValueError, match="metadata must stay below"):
        encode_model({}, {"text": "x" * 2**20})


@pytest.mark.parametrize(
    ("tensors", "data", "reason"),
    [
        ({"a": tensor(), "b": tensor(data_offsets=(4, 12))}, bytes(12), "do not fit"),
        ({"a": tensor(), "b": tensor()}, bytes(8), "do not fit"),
        ({"a": tensor(), "b": tensor(data_offsets=(12, 20))}, bytes(20), "do not fit"),
        ({"a": tensor(data_offsets=(8, 16))}, bytes(16), "do not fit"),
        ({"a": tensor()}, bytes(7), "do not fit"),
        ({"a": tensor()}, bytes(9), "do not fit"),
        ({"a": tensor(shape=(3,))}, bytes(8), "do not fit"),
        ({"a": tensor(data_offsets=(8, 0))}, bytes(8), "do not fit"),
        ({"a": tensor(data_offsets=(-8, 0))}, bytes(8), "do not fit"),
        ({"a": tensor(data_offsets=(0, 8, 8))}, bytes(8), "do not fit"),
        ({"a": tensor(data_offsets=(0, 8.0))}, bytes(8), "do not fit"),
        ({"a": tensor(data_offsets={"0": 8})}, bytes(8), "do not fit"),
        ({"a": tensor(shape=(-1, -2))}, bytes(8), "do not fit"),
        ({"a": tensor(shape=(True, 2))}, bytes(8), "do not fit"),
        ({"a": tensor(shape=2)}, bytes(8), "expected a sequence"),
        ({"a": tensor(shape=(2**62, 2**62))}, bytes(8), "do not fit"),
        ({"a": tensor(shape=(0, 2**31, 2**31, 2**31), data_offsets=(0, 0))}, b"", "do not fit"),
        ({"a": tensor(shape=(2, 1, 1, 1, 1, 1, 1, 1, 1))}, bytes(8), "more than 8 dimensions"),
        ({"a": tensor(dtype="F16")}, bytes(8), "do not fit"),
        ({"a": tensor(dtype="F16", shape=(4,))}, bytes(8), "dtype float16"),
        ({"a": tensor(dtype="O")}, bytes(8), "unknown variant `O`"),
        ({"a": tensor(dtype=["F32"])}, bytes(8), "expected string or map"),
        ({"a": tensor(extra=1)}, bytes(8), "exactly dtype, shape"),
        ({"a": {"dtype": "F32"}}, bytes(8), "exactly dtype, shape"),
        ({"a": [1]}, bytes(8), "exactly dtype, shape"),
        ({"a": tensor(shape=[[2]])}, bytes(8), "expected usize"),
        ({"../a b": tensor()}, bytes(8), "array names are .* got '../a b'"),
        ({"a": tensor(dtype="BOOL", shape=(8,))}, bytes(7) + b"\x02", "neither 0 nor 1"),
        ({f"a{n}": tensor(shape=[0], data_offsets=(0, 0)) for n in range(5000)}, b"", "more than 4096 arrays"),
    ],
)
def test_forged_headers_are_refused(tensors: dict[str, Any], data: bytes, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        decode_model(forge(tensors, data), PATH)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (None, "not written by pgfast"),
        ("", "metadata is not valid JSON"),
        ("[]", "metadata is not a JSON object"),
        ('{"version": 2, "metadata": {}}', "metadata has version 2; this pgfast reads 1"),
        ('{"version": 1}', "metadata is not a JSON object"),
        ('{"version": 1, "metadata": {"a": 1, "a": 1}}', "occurs twice"),
        ('{"version": 1, "metadata": ' + "[" * 5000 + "]" * 5000 + "}", "nested"),
        ("\ud800", "metadata is not valid JSON"),
    ],
)
def test_forged_metadata_is_refused(metadata: Any, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        decode_model(forge({}, metadata=metadata), PATH)


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "executed",)

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(Attack()))
    samples = [(tmp_path / "a.zip").read_bytes(), pickle.dumps(Attack()), b"", b"\0" * 7, bytes(64)]
    samples += [b"\xff" * 64, (2**20 + 1).to_bytes(8, "little") + b"{" * 2**21, safetensors.numpy.save({})]
    for sample in samples:
        (tmp_path / "sample").write_bytes(sample)
        with pytest.raises(CheckpointError, match="sample: "):
            read_model(tmp_path / "sample")
    assert not (tmp_path / "executed").exists()


def test_every_truncation_is_refused() -> None:
    data = encode_model(*example())
    for length in range(len(data)):
        with pytest.raises(CheckpointError):
            decode_model(data[:length], PATH)


@given(st.data())
def test_a_changed_byte_leads_to_a_model_or_the_error(draw: st.DataObject) -> None:
    data = bytearray(encode_model(*example()))
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        arrays, metadata = decode_model(bytes(data), PATH)
    except CheckpointError:
        return
    assert isinstance(metadata, dict)
    assert all(np.isfinite(array).all() for array in arrays.values())
