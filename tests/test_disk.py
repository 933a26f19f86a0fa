"""Training on a disk that is full for a while, and into a directory that is read-only for a while."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pgfast
from pgfast.loading import verify
from pgfast.runs.checkpoints import list_checkpoints
from pgfast.runs.progress_log import read_progress
from test_episode_log import without_seconds
from test_training import agent, without_times

# Mounts in this namespace are visible to the process alone.
IN_A_NAMESPACE = ["unshare", "--map-root-user", "--mount"]

PROGRAM = """
import errno, shutil, subprocess, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_training import agent

disk, copies, run = Path({disk!r}), Path({copies!r}), Path({disk!r}) / "run"
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], check=True)

def break_storage():
    if {kind!r} == "full":
        with (disk / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(b"0")
            except OSError as error:
                assert error.errno == errno.ENOSPC
    else:
        subprocess.run(["mount", "--bind", run / "checkpoints", run / "checkpoints"], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", run / "checkpoints"], check=True)

def repair_storage():
    if {kind!r} == "full":
        (disk / "filler").unlink()
    else:
        subprocess.run(["umount", run / "checkpoints"], check=True)

def callback(agent, row):
    if agent.timesteps == 240:
        break_storage()
    if agent.timesteps == 660:
        shutil.copytree(run, copies / "broken")
        repair_storage()

agent(log_episodes=True).learn(900, run_dir=run, callback=callback, progress_bar=True)
shutil.copytree(run, copies / "repaired")
"""


@pytest.fixture
def mounts() -> None:
    probe = [*IN_A_NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        subprocess.run(probe, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine does not allow mounts in a private namespace")


@pytest.mark.usefixtures("mounts")
@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_training_continues_and_saves_later(kind: str, tmp_path: Path) -> None:
    disk, copies = tmp_path / "disk", tmp_path / "copies"
    disk.mkdir()
    copies.mkdir()
    program = PROGRAM.format(tests=str(Path(__file__).parent), disk=str(disk), copies=str(copies), kind=kind)
    done = subprocess.run(
        [*IN_A_NAMESPACE, sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "could not save at 400 timesteps: " in done.stdout
    assert ("No space left on device" if kind == "full" else "Read-only file system") in done.stdout
    assert "training continues, and the write is retried" in done.stdout
    assert "saved the state at 600 timesteps, which had failed before" in done.stdout

    undisturbed = agent(log_episodes=True).learn(900, run_dir=tmp_path / "undisturbed")
    broken, repaired = copies / "broken", copies / "repaired"
    assert [int(path.name) for path in list_checkpoints(broken / "checkpoints")] == [0, 200]
    assert verify(broken).timesteps == 200  # intact, though outdated
    progress = (broken / "progress.csv").read_bytes()
    assert progress.endswith(b"\n")
    assert set(read_progress(broken / "progress.csv")["timesteps"]) >= {60, 120, 180}
    assert verify(repaired).timesteps == 900
    assert [int(path.name) for path in list_checkpoints(repaired / "checkpoints")] == [600, 800, 900]
    assert without_times(repaired / "progress.csv") == without_times(tmp_path / "undisturbed" / "progress.csv")
    assert without_seconds(repaired) == without_seconds(tmp_path / "undisturbed")
    np.testing.assert_array_equal(pgfast.load(repaired).policy.parameters, undisturbed.policy.parameters)
    assert not [path for path in repaired.rglob(".*") if path.name != ".lock"]


def test_a_save_that_fails_at_the_end_is_not_said_to_be_retried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"

    def break_storage(trained: pgfast.VPG, row: dict[str, float]) -> None:
        if trained.timesteps in (60, 420):
            shutil.move(run / "checkpoints", tmp_path / str(trained.timesteps))
            (run / "checkpoints").touch()  # no directory can be made there
        if trained.timesteps == 240:
            (run / "checkpoints").unlink()

    agent().learn(420, run_dir=run, callback=break_storage, progress_bar=True)
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("could not save")]
    retried = "; training continues, and the write is retried at the next row"
    assert [(line.split(":")[0], line.endswith(retried)) for line in failed] == [
        ("could not save at 200 timesteps", True),
        ("could not save at 420 timesteps", False),
    ]
