"""A disk that is full for a while, and a directory that cannot be written to for a while, under a training run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pgfast
from pgfast.loading import verify
from pgfast.runs.checkpoints import list_checkpoints
from pgfast.runs.progress_log import read_progress
from test_training import agent, without_times

# A mount of its own, which only this process sees.
IN_A_NAMESPACE = ["unshare", "--map-root-user", "--mount"]

PROGRAM = """
import errno, shutil, subprocess, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_training import agent

disk, copies, run = Path({disk!r}), Path({copies!r}), Path({disk!r}) / "run"
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], check=True)

def break_it():
    if {kind!r} == "full":
        with (disk / "rest").open("wb", buffering=0) as rest:
            try:
                while True:
                    rest.write(b"0")
            except OSError as error:
                assert error.errno == errno.ENOSPC
    else:
        subprocess.run(["mount", "--bind", run / "checkpoints", run / "checkpoints"], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", run / "checkpoints"], check=True)

def mend_it():
    if {kind!r} == "full":
        (disk / "rest").unlink()
    else:
        subprocess.run(["umount", run / "checkpoints"], check=True)

def note(agent, row):
    if agent.timesteps == 240:
        break_it()
    if agent.timesteps == 660:
        shutil.copytree(run, copies / "broken")
        mend_it()

agent().learn(900, run_dir=run, callback=note, progress_bar=True)
shutil.copytree(run, copies / "mended")
"""


@pytest.fixture
def mounts() -> None:
    probe = [*IN_A_NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        subprocess.run(probe, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine does not let a process mount a file system of its own")


@pytest.mark.usefixtures("mounts")
@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_training_goes_on_and_saves_later(kind: str, tmp_path: Path) -> None:
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
    assert "training goes on, and tries again" in done.stdout
    assert "saved the state of 600 timesteps after all" in done.stdout

    undisturbed = agent().learn(900, run_dir=tmp_path / "undisturbed")
    broken, mended = copies / "broken", copies / "mended"
    assert [int(path.name) for path in list_checkpoints(broken / "checkpoints")] == [0, 200]
    assert verify(broken).timesteps == 200  # whole, though no longer the newest
    progress = (broken / "progress.csv").read_bytes()
    assert progress.endswith(b"\n")
    assert set(read_progress(broken / "progress.csv")["timesteps"]) >= {60, 120, 180}
    assert verify(mended).timesteps == 900
    assert [int(path.name) for path in list_checkpoints(mended / "checkpoints")] == [600, 800, 900]
    assert without_times(mended / "progress.csv") == without_times(tmp_path / "undisturbed" / "progress.csv")
    np.testing.assert_array_equal(pgfast.load(mended).policy.parameters, undisturbed.policy.parameters)
    assert not [path for path in mended.rglob(".*") if path.name != ".lock"]
