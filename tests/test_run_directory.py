"""Run directories: names, refusals in one sentence, the lock."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from pgfast.runs.run_directory import RunDirectory

RunPython = Callable[..., CompletedProcess[str]]
OPEN = "import sys, pathlib; from pgfast.runs.run_directory import RunDirectory as R; R.open(pathlib.Path({!r}))"


def create(path: Path | None, root: Path = Path("runs"), env_id: str = "ALE/Breakout-v5") -> RunDirectory:
    return RunDirectory.create(path, algo="a2c", env_id=env_id, seed=3, root=root)


def test_automatic_names_are_numbered(tmp_path: Path) -> None:
    runs = [create(None, tmp_path / "deep" / "runs") for _ in range(3)]
    names = ["a2c-ALE_Breakout-v5-3", "a2c-ALE_Breakout-v5-3-2", "a2c-ALE_Breakout-v5-3-3"]
    assert [run.path for run in runs] == [tmp_path / "deep" / "runs" / name for name in names]
    for run in runs:
        run.close()


@pytest.mark.parametrize("env_id", ["../../etc", "module:Env-v0", "a b\n\0", "\u00e9"])
def test_a_name_stays_in_its_root(tmp_path: Path, env_id: str) -> None:
    with closing(create(None, tmp_path, env_id)) as run:
        assert run.path.parent == tmp_path
        assert run.path.name.isascii()
        assert run.path.name.isprintable()


def test_its_paths(tmp_path: Path) -> None:
    with closing(create(tmp_path / "some" / "run")) as run:
        assert run.path == tmp_path / "some" / "run"
        places = [run.config_path, run.progress_path, run.checkpoints, run.model_path]
    assert [place.name for place in places] == [
        "config.json",
        "progress.csv",
        "checkpoints",
        "model.safetensors",
    ]
    assert all(place.parent == run.path for place in places)


def test_an_existing_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(FileExistsError, match=f"^the run directory {path} exists already; choose another"):
            create(path)


def test_a_directory_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "run"
    with pytest.raises(NotADirectoryError, match=f"^cannot create the run directory {below}: Not a directory$"):
        create(below)
    with pytest.raises(OSError, match=f"^cannot create the run directory {tmp_path / 'file'}/a2c-.*: Not a directory$"):
        create(None, tmp_path / "file")
    (tmp_path / "unmounted").symlink_to(tmp_path / "missing")
    with pytest.raises(FileExistsError, match=r"^cannot create the run directory .*unmounted/a2c-.*: File exists$"):
        create(None, tmp_path / "unmounted")


@pytest.mark.skipif(os.geteuid() == 0, reason="permission bits do not bind root")
def test_a_read_only_parent_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=r"^cannot create the run directory .*: Permission denied$"):
        create(None, tmp_path)


def test_opening_requires_a_run_directory(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError, match=rf"^{path} is not a run directory: it has no config\.json$"):
            RunDirectory.open(path)


def test_opening_removes_leftovers(tmp_path: Path) -> None:
    with closing(create(tmp_path / "run")) as run:
        run.config_path.touch()
        (run.checkpoints / ".new-000000000005").mkdir(parents=True)
    with closing(RunDirectory.open(run.path)):
        assert list(run.checkpoints.iterdir()) == []


def test_a_second_process_is_refused_until_the_first_closes(tmp_path: Path, run_python: RunPython) -> None:
    with closing(create(tmp_path / "run")) as run:
        run.config_path.touch()
        second = run_python(OPEN.format(str(run.path)))
        assert second.returncode == 1
        assert f"BlockingIOError: the run directory {run.path} is in use by process {os.getpid()}\n" in second.stderr
        with pytest.raises(BlockingIOError, match="is in use by process"):
            RunDirectory.open(run.path)
    run.close()  # a second time
    third = run_python("import warnings; warnings.simplefilter('ignore');" + OPEN.format(str(run.path)))
    assert (third.returncode, third.stderr) == (0, "")
    RunDirectory.open(run.path).close()


# Tests that fork run in a new process: the process of the tests may have threads.
FORK = """
import os, pathlib, signal, time
from pgfast.runs.run_directory import RunDirectory
run = RunDirectory.open(pathlib.Path(os.environ["RUN"]))
worker = os.fork()
"""
KILLED = """
if worker == 0:
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    time.sleep(60)
    os._exit(0)
time.sleep(0.2)
print(worker, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
WORKER_CLOSES = """
if worker == 0:
    run.close()
    os._exit(0)
os.waitpid(worker, 0)
try:
    RunDirectory.open(run.path)
except BlockingIOError:
    print("still locked")
run.close()
"""


def test_a_killed_process_holds_no_lock_even_if_its_workers_survive(tmp_path: Path, run_python: RunPython) -> None:
    with closing(create(tmp_path / "run")) as run:
        run.config_path.touch()
    killed = run_python(FORK + KILLED, RUN=str(run.path))
    assert killed.returncode == -signal.SIGKILL
    worker = int(killed.stdout)
    os.kill(worker, 0)  # raises if it is dead
    try:
        RunDirectory.open(run.path).close()
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_worker_that_closes_leaves_the_lock_to_its_parent(tmp_path: Path, run_python: RunPython) -> None:
    with closing(create(tmp_path / "run")) as run:
        run.config_path.touch()
    result = run_python(FORK + WORKER_CLOSES, RUN=str(run.path))
    assert (result.stdout, result.returncode) == ("still locked\n", 0)
