"""The command line, run in separate processes as a user runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pgfast
from pgfast.algorithms import ALGORITHMS
from pgfast.runs.progress_log import read_progress

TRAIN = ["train", "a2c", "CartPole-v1", "--run-dir", "run"]
SMALL = ["--num-envs", "4", "--n-steps", "5", "--hidden-sizes", "8", "--report-every", "200"]


def start(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pgfast", *arguments],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "120", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(tmp_path: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    process = start(tmp_path, *arguments, **environment)
    out, error = process.communicate(timeout=120)
    return process.returncode, out, error


def wait_for_rows(run_dir: Path, rows: int) -> None:
    progress, deadline = run_dir / "progress.csv", time.monotonic() + 60
    while not (progress.exists() and progress.read_text().count("\n") > rows):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_train_eval_verify_plot_resume(tmp_path: Path) -> None:
    code, out, error = run(tmp_path, *TRAIN, *SMALL, "--total-timesteps", "1000", "--seed", "3")
    assert (code, error) == (0, "")
    assert "preset default" in out
    assert "1,000 / 1,000" in out

    code, out, _ = run(tmp_path, "eval", "run", "--episodes", "4")
    assert code == 0
    assert "4 whole episodes, stochastic policy, seed 0" in out
    code, out, _ = run(tmp_path, "eval", "run/model.safetensors", "--episodes", "2", "--deterministic")
    assert code == 0
    assert "deterministic" in out

    code, out, _ = run(tmp_path, "verify", "run")
    assert code == 0
    assert "whole; a2c on CartPole-v1 at 1,000 timesteps" in out
    code, out, _ = run(tmp_path, "plot", "run", "--out", "curve.png")
    assert code == 0
    assert (tmp_path / "curve.png").stat().st_size > 5000

    code, out, _ = run(tmp_path, "resume", "run", "--total-timesteps", "1400")
    assert code == 0
    assert "resuming run at 1,000 timesteps" in out
    assert read_progress(tmp_path / "run" / "progress.csv")["timesteps"][-1] == 1400


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, 138, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR2, 140, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_and_exits(tmp_path: Path, number: int, code: int) -> None:
    process = start(tmp_path, *TRAIN, *SMALL, "--total-timesteps", "100000000")
    wait_for_rows(tmp_path / "run", 3)
    process.send_signal(number)
    out, error = process.communicate(timeout=30)
    assert process.returncode == code
    assert "saved; continue with: pgfast resume run" in out
    assert error == ""
    stopped = pgfast.load(tmp_path / "run").timesteps
    assert stopped >= 600
    total = str(stopped + 200)
    code_of_resume, out, _ = run(tmp_path, "resume", "run", "--total-timesteps", total)
    assert code_of_resume == 0
    assert f"resuming run at {stopped:,} timesteps" in out


def test_flags_may_stand_before_the_algorithm(tmp_path: Path) -> None:
    code, _, error = run(tmp_path, "train", "--seed", "7", *TRAIN[1:], *SMALL, "--total-timesteps", "20")
    assert (code, error) == (0, "")
    assert pgfast.load(tmp_path / "run").settings.seed == 7


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["trian"], 2, "Available subcommands: train, resume"),
        (["train", "a2c", "CartPole-v99"], 1, "not a registered environment"),
        (["resume", "nothing"], 1, "nothing"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, arguments: list[str], code: int, text: str) -> None:
    got, _, error = run(tmp_path, *arguments)
    assert got == code, error
    assert text in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1 or error.startswith("╭")  # tyro frames the errors of its parser


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    """Makes ale_py fail to import, as if it were not installed."""
    (tmp_path / "ale_py.py").write_text("raise ImportError('not here')")
    code, _, error = run(tmp_path, "train", "a2c", "BreakoutNoFrameskip-v4", PYTHONPATH=str(tmp_path))
    assert code == 1
    assert 'pip install "pgfast[atari]"' in error
    assert "Traceback" not in error


def test_help_list_and_info(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, "--help")
    assert code == 0
    assert all(name in out for name in ("train", "resume", "eval", "video", "plot", "verify", "list", "info"))
    code, out, _ = run(tmp_path, "train", "--help")
    assert code == 0
    assert all(name in out for name in (*ALGORITHMS, "Trust region policy optimization."))
    assert run(tmp_path, "list")[0] == 0
    code, out, _ = run(tmp_path, "info", PGFAST_NUM_THREADS="3")
    assert code == 0
    assert "threads of the kernels: 3" in out
    assert run(tmp_path)[0] == 2


def test_help_of_an_algorithm_has_groups_ranges_and_the_values_of_the_preset(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, "train", "a2c", "CartPole-v1", "--help", COLUMNS="80")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    for group in ("environment", "rollout", "network", "update", "run"):
        assert f" {group} options " in out
    text = " ".join(out.replace("\u2502", " ").split())
    assert "--gae-lambda FLOAT Decay of generalized advantage estimation" in text
    assert "(in [0, 1]; default: 0.95)" in text
    assert "(at least 0; default: 0.0007)" in text
    assert "ENV Environment id" in text
    plain = run(tmp_path, "train", "a2c", "--help")[1]
    assert "default: 0.001)" in plain


def test_a_reader_that_leaves_ends_no_run_and_no_command(tmp_path: Path) -> None:
    for arguments in ([*TRAIN, *SMALL, "--total-timesteps", "400"], ["list"]):
        with start(tmp_path, *arguments, PYTHONUNBUFFERED="1") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == ""
            assert process.wait(timeout=60) == 0
    assert pgfast.load(tmp_path / "run").timesteps == 400


@pytest.mark.slow
def test_breakout_from_the_command_line(tmp_path: Path) -> None:
    arguments = ["train", "a2c", "BreakoutNoFrameskip-v4", "--run-dir", "run", "--total-timesteps", "2000"]
    code, _, error = run(tmp_path, *arguments, "--report-every", "500")
    assert (code, error) == (0, "")
    assert read_progress(tmp_path / "run" / "progress.csv")["timesteps"][-1] >= 2000
    code, _, _ = run(tmp_path, "video", "run", "--out", "game.mp4")
    assert code == 0
    assert (tmp_path / "game.mp4").stat().st_size > 10_000
