"""A run that is stopped at a synchronisation point and resumed by another process is the run that was never stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pgfast.runs.checkpoints import latest_checkpoint, read_checkpoint
from test_training import without_times

NORMALIZED = ["--normalize-observations", "--normalize-rewards"]
LINEAR = ["--learning-rate-schedule", "linear", "--schedule-timesteps", "2000"]
OWN = {"a2c": LINEAR, "vpg": LINEAR, "npg": ["--solver", "cg"], "trpo": ["--fisher-subsample", "2"]}
BASELINE = ["--baseline", "mlp", "--value-epochs", "2"]
TASKS = {
    "CartPole-v1": ["--hidden-sizes", "8"],
    "Pendulum-v1": ["--hidden-sizes", "8", *NORMALIZED],
    "BreakoutNoFrameskip-v4": ["--network", "origin_cnn"],
}
SHAPE = ["--num-envs", "4", "--n-steps", "10", "--report-every", "60", "--sync-every", "200", "--seed", "7"]


def pgfast(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pgfast", *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def check(folder: Path, algo: str, env_id: str) -> None:
    flags = [*SHAPE, *TASKS[env_id], *OWN[algo], *([] if algo == "a2c" else BASELINE)]
    pgfast(folder, "train", algo, env_id, *flags, "--run-dir", "whole", "--total-timesteps", "800")
    pgfast(folder, "train", algo, env_id, *flags, "--run-dir", "part", "--total-timesteps", "400")
    assert "at 400 timesteps, exactly" in pgfast(folder, "resume", "part", "--total-timesteps", "600")
    assert "at 600 timesteps, exactly" in pgfast(folder, "resume", "part", "--total-timesteps", "800")

    found = []
    for name in ("whole", "part"):
        checkpoint = latest_checkpoint(folder / name / "checkpoints")
        assert checkpoint is not None
        assert checkpoint.name == f"{800:012d}"
        found.append(read_checkpoint(checkpoint))
    (arrays, state), (arrays_of_parts, state_of_parts) = found
    assert arrays.keys() == arrays_of_parts.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, arrays_of_parts[name], err_msg=name, strict=True)
    for times in (state, state_of_parts):
        del times["wall_time"], times["progress_bytes"]
    assert state == state_of_parts
    progress, progress_of_parts = (without_times(folder / name / "progress.csv") for name in ("whole", "part"))
    assert progress == progress_of_parts
    assert len(progress) > 10


def test_stopped_and_resumed_is_never_stopped(tmp_path: Path) -> None:
    check(tmp_path, "trpo", "Pendulum-v1")


@pytest.mark.slow
@pytest.mark.parametrize("env_id", TASKS)
@pytest.mark.parametrize("algo", OWN)
def test_stopped_and_resumed_is_never_stopped_anywhere(algo: str, env_id: str, tmp_path: Path) -> None:
    check(tmp_path, algo, env_id)
