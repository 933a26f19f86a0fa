"""A run stopped at a synchronization point and resumed in another process equals an uninterrupted run bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pgfast.runs.checkpoints import latest_checkpoint, read_checkpoint
from states import assert_equal_states
from test_training import without_times

NORMALIZED = ["--normalize-observations", "--normalize-rewards"]
LINEAR = ["--learning-rate-schedule", "linear", "--schedule-timesteps", "2000"]
MINIBATCHES = ["--num-epochs", "3", "--minibatch-size", "12", "--clip-range-schedule", "cosine", "--target-kl", "0.001"]
FACTORS = ["--inverse-every", "3", "--position-stride", "16", "--factor-steps", "3"]
ALGORITHMS = {
    "a2c": LINEAR,
    "ppo": [*LINEAR, *MINIBATCHES],
    "acktr": [
        *LINEAR,
        "--inverse-every",
        "3",
        "--target-kl",
        "0.001",
        "--position-stride",
        "16",
        "--factor-steps",
        "3",
    ],
    "vpg": LINEAR,
    "npg": ["--solver", "cg"],
    "trpo": ["--fisher-subsample", "2"],
}
BASELINE = ["--baseline", "mlp", "--value-epochs", "2"]
TASKS = {
    "CartPole-v1": ["--hidden-sizes", "8"],
    "Pendulum-v1": ["--hidden-sizes", "8", *NORMALIZED],
    "BreakoutNoFrameskip-v4": ["--network", "origin_cnn"],
    "Taxi-v4": ["--hidden-sizes", "8", "--action-mask", "info"],
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


def check_exact_resume(folder: Path, algo: str, env_id: str, *more: str) -> None:
    flags = [*SHAPE, *TASKS[env_id], *ALGORITHMS[algo], *([] if algo in ("a2c", "ppo", "acktr") else BASELINE), *more]
    pgfast(folder, "train", algo, env_id, *flags, "--run-dir", "whole", "--total-timesteps", "800")
    pgfast(folder, "train", algo, env_id, *flags, "--run-dir", "part", "--total-timesteps", "400")
    assert "at 400 timesteps, exactly" in pgfast(folder, "resume", "part", "--total-timesteps", "600")
    assert "at 600 timesteps, exactly" in pgfast(folder, "resume", "part", "--total-timesteps", "800")

    states = []
    for name in ("whole", "part"):
        checkpoint = latest_checkpoint(folder / name / "checkpoints")
        assert checkpoint is not None
        assert checkpoint.name == f"{800:012d}"
        arrays, values = read_checkpoint(checkpoint)
        del values["wall_time"], values["progress_bytes"]
        states.append((arrays, values))
    whole, resumed = states
    assert_equal_states(resumed, whole)
    progress, progress_resumed = (without_times(folder / name / "progress.csv") for name in ("whole", "part"))
    assert progress_resumed == progress
    assert len(progress) > 10


@pytest.mark.slow
@pytest.mark.parametrize(("algo", "memory"), [("a2c", "gru"), ("ppo", "lstm"), ("vpg", "lstm")])
def test_a_resumed_run_with_memory_equals_an_uninterrupted_run(algo: str, memory: str, tmp_path: Path) -> None:
    check_exact_resume(tmp_path, algo, "Pendulum-v1", "--memory", memory, "--memory-size", "8")


@pytest.mark.slow
@pytest.mark.parametrize("env_id", TASKS)
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_resumed_run_equals_an_uninterrupted_run_for_every_task(algo: str, env_id: str, tmp_path: Path) -> None:
    check_exact_resume(tmp_path, algo, env_id)
