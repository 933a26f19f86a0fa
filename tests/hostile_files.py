"""Broken and malicious models and checkpoints, made from whole ones.

As a program it writes them all to a directory and prints their paths: python tests/hostile_files.py DIRECTORY
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import marshal
import os
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Json = dict[str, Any]
PARAMETERS = "policy.parameters"


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (os.system, (f"touch {self.marker}",))


def split(model: bytes) -> tuple[Json, bytes]:
    """(header, data) of a safetensors file."""
    size = int.from_bytes(model[:8], "little")
    return json.loads(model[8 : 8 + size]), model[8 + size :]


def join(header: Json | bytes, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def other_formats(marker: Path) -> Iterator[tuple[str, bytes]]:
    """Files that are not safetensors files at all."""
    yield "empty", b""
    yield "one-byte", b"\x00"
    yield "seven-bytes", b"\x10" + bytes(6)
    yield "zeros", bytes(2**20)
    yield "ones", b"\xff" * 2**20
    yield "text", b"this is not a model\n" * 100
    yield "python", f"import os; os.system('touch {marker}')\n".encode()
    yield "shell", f"#!/bin/sh\ntouch {marker}\n".encode()
    yield "elf", b"\x7fELF" + bytes(200)
    yield "marshal", marshal.dumps(compile(f"open({str(marker)!r}, 'w')", "x", "exec"))
    for protocol in (0, 2, 5):
        yield f"pickle-{protocol}", pickle.dumps(Evil(marker), protocol)
    stored = io.BytesIO()
    np.save(stored, np.array([Evil(marker)], object), allow_pickle=True)
    yield "npy-of-objects", stored.getvalue()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as torch_like:
        torch_like.writestr("archive/data.pkl", pickle.dumps(Evil(marker)))
    yield "zip-with-a-pickle", archive.getvalue()
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as inflated:
        inflated.writestr("parameters", bytes(200 * 2**20))
    yield "zip-bomb", bomb.getvalue()
    yield "gzip-bomb", gzip.compress(bytes(100 * 2**20), 9)


def broken_containers(model: bytes) -> Iterator[tuple[str, bytes]]:
    """Lengths and headers that contradict the file."""
    header, data = split(model)
    size = int.from_bytes(model[:8], "little")
    for length in (0, 1, size - 1, size + 1, len(model), 2**20 + 1, 2**31, 2**63, 2**64 - 1):
        yield f"header-length-{length}", length.to_bytes(8, "little") + model[8:]
    for cut in (8, 9, 8 + size // 2, 8 + size - 1, 8 + size, 8 + size + 1, len(model) // 2, len(model) - 1):
        yield f"cut-at-{cut}", model[:cut]
    yield "longer", model + b"\x00"
    yield "twice", model + model
    text = json.dumps(header).encode()
    yield "bad-utf8", join(text.replace(b'"policy.parameters"', b'"policy.par\xff\xfemeters"'), data)
    yield "utf8-bom", join(b"\xef\xbb\xbf" + text, data)
    yield "utf16", join(json.dumps(header).encode("utf-16"), data)
    yield "lone-surrogate", join(text.replace(b'"policy.parameters"', rb'"policy.par\ud800"'), data)
    yield "not-an-object", join(b"[" + text + b"]", data)
    yield "key-twice", join(b'{"policy.parameters": {}, ' + text[1:], data)
    yield "nan-in-header", join(text.replace(b"{", b'{"x": NaN, ', 1), data)
    yield "number-out-of-range", join(text.replace(b"{", b'{"x": 1e999, ', 1), data)
    yield "number-of-10000-digits", join(text.replace(b"{", b'{"x": ' + b"9" * 10_000 + b", ", 1), data)
    yield "deep", join(b'{"a":' * 200_000 + b"1" + b"}" * 200_000, data)
    yield "deep-lists", join(b'{"a":' + b"[" * 400_000 + b"]" * 400_000 + b"}", data)
    yield "unclosed", join(b"{" * 500_000, data)
    one = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    many = ",".join(f'"{number}":{one}' for number in range(18_000))
    yield "18000-arrays", join(f"{{{many}}}".encode(), b"")
    many = ",".join(f'"{number}":{one}' for number in range(100_000))
    yield "100000-arrays", join(f"{{{many}}}".encode(), b"")


def broken_arrays(model: bytes) -> Iterator[tuple[str, bytes]]:
    """Array entries that do not fit the data, each other, or the settings."""
    header, data = split(model)
    entry = header[PARAMETERS]
    end = entry["data_offsets"][1]

    def with_entry(name: str = PARAMETERS, contents: bytes = data, **changes: Any) -> bytes:
        changed = {**header, name: {**entry, **changes}}
        return join(changed, contents)

    offsets: dict[str, Any] = {
        "negative": [-4, end - 4],
        "beyond": [4, end + 4],
        "reversed": [end, 0],
        "far": [2**62, 2**62 + end],
        "overflow": [2**63, 2**63 + end],
        "floats": [0.0, float(end)],
        "flags": [False, True],
        "text": ["0", str(end)],
        "one": [end],
        "three": [0, end, end],
        "none": None,
    }
    for name, value in offsets.items():
        yield f"offsets-{name}", with_entry(data_offsets=value)
    shapes: dict[str, Any] = {
        "negative": [-1],
        "2^63": [2**63],
        "2^63-by-zero": [2**63, 0],
        "product-overflow": [2**32, 2**32],
        "float": [end / 4],
        "flag": [True],
        "text": ["1"],
        "number": end // 4,
        "100-axes": [1] * 100,
        "too-small": [end // 4 - 1],
        "two-axes": [1, end // 4],
        "nested": [[end // 4]],
    }
    for name, value in shapes.items():
        yield f"shape-{name}", with_entry(shape=value)
    for dtype in ("F16", "BF16", "F8_E4M3", "OBJECT", "f32", "", 32, None, ["F32"]):
        yield f"dtype-{dtype}", with_entry(dtype=dtype)
    yield "dtype-of-integers", with_entry(dtype="I32")
    yield "dtype-of-doubles", with_entry(dtype="F64", shape=[end // 8])
    yield "overlap", with_entry("other")
    yield "gap", with_entry(data_offsets=[8, end + 8], contents=bytes(8) + data)
    yield "more-data", join(header, data + bytes(64))
    yield "one-key-too-many", join({**header, PARAMETERS: {**entry, "code": "x"}}, data)
    yield "entry-of-text", join({**header, PARAMETERS: "F32"}, data)
    yield "no-parameters", join({key: value for key, value in header.items() if key != PARAMETERS}, b"")
    for name in ("../../../etc/passwd", "/etc/passwd", "a\u0000b", "", "x" * 10_000, "pa rameters", "п"):
        yield f"name-{name[:20]!r}", join({"__metadata__": header["__metadata__"], name: entry}, data)
    for number in ("nan", "inf", "-inf"):
        poisoned = np.frombuffer(data, "<f4").copy()
        poisoned[len(poisoned) // 2] = float(number)
        yield f"parameter-{number}", join(header, poisoned.tobytes())


SETTINGS: dict[str, Any] = {
    "hidden_sizes": [[2**40], [2**16] * 1000, [50_000, 50_000], [-1], [0], ["8"], [True], [8.0], "8", None, {}],
    "num_envs": [2**40, 0, -1, "4", None, 1.5],
    "n_steps": [2**62, 0, "5"],
    "seed": [-1, 2**70, "0"],
    "learning_rate": [-1.0, "inf", 10**400],
    "network": ["nature_cnn", "os", 5],
    "activation": ["exec"],
    "optimizer": ["__class__", None],
    "vectorization": ["threads"],
    "env_timeout": [-1.0],
    "max_env_restarts": [5],
    "on_nonfinite": ["ignore"],
    "init_from": [5],
    "action_scaling": ["yes", None],
}
ENV_IDS = ["os:system", "os:CartPole-v1", "antigravity:X-v0", "../CartPole-v1", "CartPole-v1\n", "x" * 10**5, 5]
SPACE: dict[str, Any] = {
    "observation": [{}, None, [], {"leaves": []}, {"leaves": [{}]}, {"leaves": None}],
    "action": [{}, None, [], {"components": []}, {"components": [{}]}, {"components": None}],
}
LEAF: dict[str, Any] = {
    "path": [["a.b"], ["x" * 1000], ["a"] * 100, [None], "a", None],
    "kind": ["dict", "discrete", 5, None],
    "shape": [[], [10**9], [100_000] * 2, [100_000] * 4, [-4], [4.0], "4", 4, None],
    "dtype": ["object", "U1000000000", "int64", "f4,f4", None],
    "low": [5, 2**200, "0"],
    "sizes": [["2"], [2**70], None],
    "first": [[2**70, 1.5], "0", None],
}
ACTION: dict[str, Any] = {
    "path": [["x" * 1000], ["a"] * 100, [0] * 100_000, [1], [-1], [2**70], [None], [["a"]], "a", None],
    "kind": ["box", "exec", None],
    "sizes": [[2**40], [100_000], [0], [-2], [2.0], []],
    "first": [[2**63], [0, 0], ["0"]],
    "dtype": ["object", "float64", "U1000000000"],
    "shape": [[2**40], [2], 5],
    "low": [[0.0], [2**2000]],
}
NESTS: list[Any] = [  # paths of components
    *([["a"], ["a"]], [["a"], ["a", "b"]], [[], ["a"]], [["a"], [0]], [[0], [2]], [[1], [0]], [["a"] * 1000, ["b"]]),
    [[number] for number in range(257)],
]
STATE: dict[str, Any] = {
    "format": [99, None, "2"],
    "algo": ["sarsa", "__class__", 5, None],
    "timesteps": [-1, 2**70, None, "x"],
    "updates": [-1, 2**70, []],
    "settings": [{}, None, [], {"exec": 1}],
    "space": [None, {}, []],
}


def lies(metadata: Json) -> Iterator[tuple[str, Json]]:
    """Metadata that is well-formed and wrong."""
    for name, values in SETTINGS.items():
        for value in values:
            yield f"settings-{name}-{value!r:.24}", {**metadata, "settings": {**metadata["settings"], name: value}}
    for value in ENV_IDS:
        yield f"env_id-{value!r:.24}", {**metadata, "env_id": value}
    space = metadata["space"]
    for name, values in SPACE.items():
        for value in values:
            yield f"space-{name}-{value!r:.24}", {**metadata, "space": {**space, name: value}}
    (leaf,) = space["observation"]["leaves"]
    for name, values in LEAF.items():
        for value in values:
            changed = {**space, "observation": {"leaves": [{**leaf, name: value}]}}
            yield f"leaf-{name}-{value!r:.24}", {**metadata, "space": changed}
    yield "leaves-twice", {**metadata, "space": {**space, "observation": {"leaves": [leaf, leaf]}}}
    (component,) = space["action"]["components"]
    for name, values in ACTION.items():
        for value in values:
            changed = {**space, "action": {"components": [{**component, name: value}]}}
            yield f"action-{name}-{value!r:.24}", {**metadata, "space": changed}
    nests = [[{**component, "path": path} for path in paths] for paths in NESTS]
    nests += [[{**component, "path": [number], **change} for number in (0, 1)] for change in ({}, {"sizes": [60_000]})]
    for number, nest in enumerate(nests):
        yield f"actions-{number}", {**metadata, "space": {**space, "action": {"components": nest}}}
    for name, values in STATE.items():
        for value in values:
            yield f"{name}-{value!r:.24}", {**metadata, name: value}
        yield f"without-{name}", {key: value for key, value in metadata.items() if key != name}


def lying_models(model: bytes) -> Iterator[tuple[str, bytes]]:
    header, data = split(model)
    outer = json.loads(header["__metadata__"]["pgfast"])

    def with_metadata(text: Any) -> bytes:
        return join({**header, "__metadata__": {"pgfast": text}}, data)

    for name, metadata in lies(outer["metadata"]):
        yield f"model-{name}", with_metadata(json.dumps({**outer, "metadata": metadata}))
    for name, text in {
        "none": None,
        "number": 5,
        "empty": "",
        "pickle": pickle.dumps(Evil(Path("x")), 0).decode("latin-1"),
        "deep": "[" * 300_000,
        "list": "[]",
        "version": json.dumps({**outer, "version": 99}),
        "version-flag": json.dumps({**outer, "version": 1.5}),
        "surrogate": '{"a": "\\ud800"}',
    }.items():
        yield f"metadata-{name}", with_metadata(text)
    yield "no-metadata", join({PARAMETERS: header[PARAMETERS]}, data)


def manifest(files: dict[str, bytes]) -> bytes:
    """The manifest that fits these files."""
    prints = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    return json.dumps({"format": "pgfast checkpoint", "version": 1, "files": prints}).encode()


def broken_checkpoints(files: dict[str, bytes]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Directories: name -> content. ``files`` is a whole checkpoint without its manifest."""
    arrays, state = files["arrays.safetensors"], json.loads(files["state.json"])
    whole = {**files, "manifest.json": manifest(files)}
    for name in whole:
        yield f"checkpoint-without-{name}", {key: data for key, data in whole.items() if key != name}
        yield f"checkpoint-empty-{name}", {**whole, name: b""}
        yield f"checkpoint-cut-{name}", {**whole, name: whole[name][:-2]}
    yield "checkpoint-swapped", {**whole, "state.json": arrays, "arrays.safetensors": files["state.json"]}
    prints = json.loads(whole["manifest.json"])
    forged: dict[str, Json] = {
        "wrong-sum": {"state.json": {"bytes": len(files["state.json"]), "sha256": "0" * 64}},
        "wrong-size": {"state.json": {"bytes": 2**63, "sha256": hashlib.sha256(files["state.json"]).hexdigest()}},
        "no-sum": {"state.json": {"bytes": len(files["state.json"])}},
        "other-file": {"../../model.safetensors": {"bytes": 1, "sha256": "0"}},
        "text": {"state.json": "x"},
    }
    for name, changes in forged.items():
        text = json.dumps({**prints, "files": {**prints["files"], **changes}}).encode()
        yield f"manifest-{name}", {**whole, "manifest.json": text}
    yield "manifest-version", {**whole, "manifest.json": json.dumps({**prints, "version": 2}).encode()}
    yield "manifest-pickle", {**whole, "manifest.json": pickle.dumps(Evil(Path("x")))}

    def consistent(changed: dict[str, bytes]) -> dict[str, bytes]:
        both = {**files, **changed}
        return {**both, "manifest.json": manifest(both)}

    for name, lie in lies(state):
        yield f"state-{name}", consistent({"state.json": json.dumps(lie).encode()})
    tree = state["state"]
    episodes = tree["episodes"]
    changes: dict[str, list[Any]] = {
        "episodes": [None, [], {}, {**episodes, "returns": ["x"]}, {**episodes, "lengths": [2**80]}],
        "optimizer": [None, {}, {"steps": -1, "learning_rate": 0.1}, {"steps": 1, "learning_rate": -1}, {"exec": 1}],
        "skipped": [None, {}, {"total": "x", "in_a_row": 0}],
        "failed_updates": [None, -1, 2**70, "x"],
        "timesteps": [None, -1, 2**70, "x"],
        "updates": [None, -1, 2**70, []],
        "policy": [None, [], {"parameters": 1}],
        "normalizers": [None, [], {"observations": 1}],
    }
    for name, values in changes.items():
        for number, value in enumerate(values):
            text = json.dumps({**state, "state": {**tree, name: value}}).encode()
            yield f"state-tree-{name}-{number}", consistent({"state.json": text})
    for number, value in enumerate([None, [], {}, "x"]):
        yield f"state-tree-{number}", consistent({"state.json": json.dumps({**state, "state": value}).encode()})
    header, data = split(arrays)
    entry = header["optimizer.mean_square"]
    begin, end = entry["data_offsets"]
    negative = np.frombuffer(data[begin:end], "<f4").copy()
    negative[0] = -1.0
    poisoned = data[:begin] + negative.tobytes() + data[end:]
    yield "negative-mean-square", consistent({"arrays.safetensors": join(header, poisoned)})
    reshaped = {**header, "optimizer.mean_square": {**entry, "shape": [1, (end - begin) // 4]}}
    yield "optimizer-of-another-shape", consistent({"arrays.safetensors": join(reshaped, data)})
    integers = {**header, "optimizer.mean_square": {**entry, "dtype": "I32"}}
    yield "optimizer-of-integers", consistent({"arrays.safetensors": join(integers, data)})
    for name, broken in [*broken_containers(arrays), *broken_arrays(arrays)]:
        if not name.startswith("name-"):
            yield f"arrays-{name}", consistent({"arrays.safetensors": broken})


def corpus(model: bytes, checkpoint: dict[str, bytes], marker: Path) -> dict[str, bytes | dict[str, bytes]]:
    """The corpus by name: bytes of a file, or the files of a directory. Executed code would create ``marker``."""
    found: dict[str, bytes | dict[str, bytes]] = {}
    for part in (other_formats(marker), broken_containers(model), broken_arrays(model), lying_models(model)):
        found.update(part)
    found.update(broken_checkpoints(checkpoint))
    return found


def write_corpus(folder: Path) -> list[Path]:
    """Makes a model and a checkpoint, writes the corpus, and returns its paths."""
    import pgfast
    from pgfast.runs.checkpoints import latest_checkpoint

    run = folder / "whole"
    pgfast.A2C("CartPole-v1", num_envs=2, n_steps=5, hidden_sizes=(8,), sync_every=20).learn(40, run_dir=run)
    newest = latest_checkpoint(run / "checkpoints")
    assert newest is not None
    checkpoint = {name: (newest / name).read_bytes() for name in ("arrays.safetensors", "state.json")}
    paths = []
    everything = corpus((run / "model.safetensors").read_bytes(), checkpoint, folder / "executed")
    for number, (name, content) in enumerate(everything.items()):
        path = folder / (f"{number:03d}-" + "".join(c if c.isalnum() or c in "-." else "_" for c in name)[:80])
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.mkdir()
            for file, data in content.items():
                (path / file).write_bytes(data)
        paths.append(path)
    return [*paths, *special_files(folder, newest)]


def special_files(folder: Path, checkpoint: Path) -> list[Path]:
    """Paths that are not regular files."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    devices = folder / "devices"
    devices.mkdir()
    (devices / "manifest.json").write_bytes((checkpoint / "manifest.json").read_bytes())
    (devices / "state.json").symlink_to("/dev/zero")
    (devices / "arrays.safetensors").symlink_to("/dev/urandom")
    loop = folder / "loop"
    loop.symlink_to(loop)
    nested = folder / "nested"
    (nested / "manifest.json").mkdir(parents=True)
    return [pipe, devices, loop, nested, folder / "nothing", folder / ("x" * 300)]


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True)
    print(*write_corpus(target), sep="\n")
