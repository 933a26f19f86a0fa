"""Checkpoints: whole or absent after a crash at any step, verified when read, limited in number."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgfast.runs import checkpoints
from pgfast.runs.checkpoints import (
    clean_leftovers,
    latest_checkpoint,
    list_checkpoints,
    read_checkpoint,
    read_latest,
    write_checkpoint,
)
from pgfast.runs.files import CheckpointError

ARRAYS: dict[str, Any] = {"parameters": np.arange(4, dtype=np.float32), "steps": np.array(3)}
STATE: dict[str, Any] = {"timesteps": 1000, "returns": [1.0, 2.5], "progress_bytes": 77}


def write(parent: Path, timesteps: int, **options: Any) -> Path:
    return write_checkpoint(parent, timesteps, ARRAYS, {**STATE, "timesteps": timesteps}, **options)


def names(parent: Path) -> list[str]:
    return sorted(path.name for path in parent.iterdir())


def test_round_trip(tmp_path: Path) -> None:
    path = write(tmp_path / "run" / "checkpoints", 1000)
    assert path == tmp_path / "run" / "checkpoints" / "000000001000"
    assert names(path) == ["arrays.safetensors", "manifest.json", "state.json"]
    arrays, state = read_checkpoint(path)
    assert state == STATE
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)


def test_only_the_last_ones_are_kept_and_they_are_listed_in_order(tmp_path: Path) -> None:
    for timesteps in (0, 900, 1000, 20_000):
        write(tmp_path, timesteps)
    assert names(tmp_path) == ["000000000900", "000000001000", "000000020000"]
    assert list_checkpoints(tmp_path) == [tmp_path / name for name in names(tmp_path)]
    assert latest_checkpoint(tmp_path) == tmp_path / "000000020000"
    write(tmp_path, 30_000, keep=1)
    assert names(tmp_path) == ["000000030000"]


def test_checkpoints_later_than_the_new_one_are_left_alone(tmp_path: Path) -> None:
    for timesteps in (1, 2, 9):
        write(tmp_path, timesteps)
    write(tmp_path, 5, keep=2)
    assert names(tmp_path) == ["000000000002", "000000000005", "000000000009"]


def test_a_missing_directory_has_no_checkpoints(tmp_path: Path) -> None:
    assert list_checkpoints(tmp_path / "missing") == []
    assert latest_checkpoint(tmp_path / "missing") is None
    clean_leftovers(tmp_path / "missing")
    with pytest.raises(CheckpointError, match=r"missing: holds no checkpoint$"):
        read_latest(tmp_path / "missing")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"timesteps": -1}, "timesteps must be in"),
        ({"timesteps": 10**12}, "timesteps must be in"),
        ({"keep": 0}, "keep must be at least 1"),
        ({"state": {"loss": float("nan")}}, "JSON"),
        ({"state": {"text": "x" * 2**24}}, r"state\.json must stay below"),
        ({"arrays": {"a": np.array([np.inf])}}, "not finite"),
    ],
)
def test_bad_arguments_write_nothing(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    arguments: dict[str, Any] = {"timesteps": 1, "arrays": ARRAYS, "state": STATE, **options}
    with pytest.raises(ValueError, match=reason):
        write_checkpoint(tmp_path, **arguments)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["arrays.safetensors", "state.json", "manifest.json"])
def test_every_truncation_and_every_changed_byte_is_found(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, 1000)
    data = (path / name).read_bytes()
    samples = [data[:length] for length in range(len(data) - (name == "manifest.json"))]  # the last byte is a newline
    samples += [data[:n] + bytes([data[n] ^ 1 << n % 8]) + data[n + 1 :] for n in range(len(data))]
    for sample in samples:
        (path / name).write_bytes(sample)
        if name == "manifest.json" and sample.split() == data.split():
            continue  # another kind of whitespace
        with pytest.raises(CheckpointError, match=str(path)):
            read_checkpoint(path)


def damage_truncate(path: Path) -> None:
    os.truncate(path / "arrays.safetensors", 20)


def damage_remove_state(path: Path) -> None:
    (path / "state.json").unlink()


def damage_remove_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


def damage_replace_state(path: Path) -> None:
    (path / "state.json").write_text("{}")


def damage_name_another_file(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["../secret"] = manifest["files"]["state.json"]
    (path / "manifest.json").write_text(json.dumps(manifest))


def damage_version(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "version": 2}))


DAMAGES = [damage_truncate, damage_remove_state, damage_remove_manifest, damage_replace_state]
DAMAGES += [damage_name_another_file, damage_version]


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_latest_whole_one_is_read_and_the_broken_ones_are_named(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    whole, broken = write(tmp_path, 1000), write(tmp_path, 2000)
    damage(broken)
    checkpoint, messages = read_latest(tmp_path)
    assert (checkpoint.path, checkpoint.content) == (whole, STATE)
    (message,) = messages
    assert message.startswith(f"skipped {broken}: ")
    damage(whole)
    with pytest.raises(CheckpointError, match=r"holds no whole checkpoint \(000000002000: .*; 000000001000: "):
        read_latest(tmp_path)


class PowerCut(BaseException):
    pass


STEPS = [
    (checkpoints, "write_file"),
    (checkpoints, "fsync_directory"),
    (Path, "mkdir"),
    (Path, "rename"),
    (shutil, "rmtree"),
]


@pytest.mark.parametrize("before", [(1000, 2000), (1000, 2000, 3000)], ids=["new", "replaced"])
def test_a_crash_at_any_step_leaves_whole_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: tuple[int, ...]
) -> None:
    for crash_at in range(100):
        parent = tmp_path / str(crash_at)
        for timesteps in before:
            write(parent, timesteps)
        calls = 0

        def crashing(function: Any, crash_at: int = crash_at) -> Any:
            def step(*args: Any, **kwargs: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls > crash_at:  # from here on nothing is executed, not even the cleanup
                    raise PowerCut
                return function(*args, **kwargs)

            return step

        with monkeypatch.context() as patch:
            for module, name in STEPS:
                patch.setattr(module, name, crashing(getattr(module, name)))
            try:
                write(parent, 3000, keep=2)
            except PowerCut:
                pass
            else:
                break
        clean_leftovers(parent)
        assert all(len(name) == 12 for name in names(parent))
        assert all(read_checkpoint(path) for path in list_checkpoints(parent))
        assert read_latest(parent)[0].path.name in ("000000003000", f"{before[-1]:012d}")
        assert write(parent, 4000).name == names(parent)[-1]
    assert crash_at > 8
    assert names(parent) == ["000000002000", "000000003000"]


def test_a_full_disk_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 1000)

    def full_disk(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, 2000)
    assert names(tmp_path) == ["000000001000"]


def test_cleaning_removes_only_leftovers_of_checkpoints(tmp_path: Path) -> None:
    write(tmp_path, 1000)
    for name in (".new-000000002000", ".old-000000000500", ".replaced-000000001000", ".hidden", "best", ".new-12"):
        (tmp_path / name).mkdir()
    (tmp_path / ".old-000000000400").symlink_to(tmp_path / "best")
    clean_leftovers(tmp_path)
    assert names(tmp_path) == [".hidden", ".new-12", "000000001000", "best"]
