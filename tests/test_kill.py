"""Runs that are killed or asked to stop at any moment."""

from __future__ import annotations

import fcntl
import os
import pty
import random
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from pgfast.loading import verify
from pgfast.runs.checkpoints import list_checkpoints
from pgfast.runs.progress_log import read_progress

SYNC_EVERY = 400
TRAIN = [
    *("train", "a2c", "CartPole-v1", "--run-dir", "run", "--total-timesteps", "100000000", "--seed", "4"),
    *("--num-envs", "4", "--n-steps", "5", "--hidden-sizes", "8"),
    *("--report-every", "100", "--sync-every", str(SYNC_EVERY)),
]


def start(folder: Path, *arguments: str, code: str | None = None) -> subprocess.Popen[str]:
    program = ["-m", "pgfast", *arguments] if code is None else ["-c", code]
    return subprocess.Popen(
        [sys.executable, *program],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(process: subprocess.Popen[str], path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def leftover_files(run: Path) -> list[str]:
    """Returns the files with temporary names."""
    return [str(path) for path in run.rglob(".*") if path.name != ".lock"]


def kill_and_resume(folder: Path, kills: int) -> None:
    """Kills and resumes a run repeatedly. Each time its files must be intact, and its state at most one save old."""
    run = folder / "run"
    rng = random.Random(4)
    process = start(folder, *TRAIN)
    wait_for(process, run / "config.json")
    reached = 0
    for _ in range(kills):
        time.sleep(rng.uniform(0.0, 0.6))
        process.kill()
        process.communicate()
        checkpoints = list_checkpoints(run / "checkpoints")
        if checkpoints:
            saved = int(checkpoints[-1].name)
            rows = read_progress(run / "progress.csv")["timesteps"]  # raises if a row is incomplete
            assert verify(run).timesteps >= 0
            assert saved >= reached
            assert len(rows) == 0 or rows[-1] - saved <= SYNC_EVERY + 20
            reached = saved
        process = start(folder, "resume", "run")
        line = process.stdout.readline() if process.stdout else ""
        assert line.startswith("resuming run at"), (line, process.communicate())
        assert f"{reached:,} timesteps, exactly" in line or "nothing was saved yet" in line or reached == 0
        assert not [name for name in leftover_files(run) if "old" in name or "replaced" in name or "tmp" in name]
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (143, "")
    assert leftover_files(run) == []
    assert verify(run).timesteps > 0


@pytest.mark.slow
def test_a_run_survives_20_kills(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, 20)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_run_survives_200_kills(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, 200)


SLOW_STEP = """
import time
import pgfast
from gymnasium.envs.classic_control import CartPoleEnv

class Slow(CartPoleEnv):
    def step(self, action):
        open("in_step", "w").close()
        time.sleep({seconds})
        return super().step(action)

agent = pgfast.A2C(Slow, num_envs=1, n_steps=2, hidden_sizes=(8,), sync_every=10**9)
try:
    agent.learn(10**9, run_dir="run")
except KeyboardInterrupt:
    raise SystemExit(130)
"""

LONG_KERNEL = """
import numpy as np
import pgfast
from pgfast.training.signals import SignalGuard

scores = np.random.default_rng(0).standard_normal((20_000, 4_000))
pgfast.kernels.fisher_matrix(scores[:10].copy())
with SignalGuard():
    open("in_kernel", "w").close()
    while True:  # also if the first signal comes before the kernel has begun
        pgfast.kernels.fisher_matrix(scores)
"""


def test_a_signal_during_a_step_ends_the_run_after_its_update(tmp_path: Path) -> None:
    process = start(tmp_path, code=SLOW_STEP.format(seconds=0.4))
    wait_for(process, tmp_path / "in_step")
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert time.monotonic() - began < 2 * 0.4 + 5.0
    assert verify(tmp_path / "run").timesteps == 2


def test_a_closed_terminal_saves_the_run(tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pgfast", *TRAIN],
        cwd=tmp_path,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)),  # type: ignore[func-returns-value]
    )
    os.close(terminal)
    rows = tmp_path / "run" / "progress.csv"
    deadline = time.monotonic() + 60
    while not (rows.exists() and rows.read_text().count("\n") > 5):
        os.read(controller, 65536)
        assert time.monotonic() < deadline
    os.close(controller)  # the kernel sends SIGHUP
    process.send_signal(signal.SIGHUP)  # and so does a shell
    assert process.wait(timeout=30) == 129
    assert verify(tmp_path / "run").timesteps >= 500


@pytest.mark.slow
@pytest.mark.parametrize("ignored", [True, False])
def test_a_run_under_nohup_ignores_a_hangup(ignored: bool, tmp_path: Path) -> None:
    prefix = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" if ignored else ""
    process = start(tmp_path, code=prefix + SLOW_STEP.format(seconds=0.05))
    wait_for(process, tmp_path / "in_step")
    process.send_signal(signal.SIGHUP)
    try:
        process.communicate(timeout=3)
        assert (ignored, process.returncode) == (False, 129)
    except subprocess.TimeoutExpired:
        assert ignored
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("during", "number", "code"), [("step", signal.SIGINT, 130), ("kernel", signal.SIGTERM, 143)])
def test_a_second_signal_ends_the_run_at_once(during: str, number: int, code: int, tmp_path: Path) -> None:
    process = start(tmp_path, code=SLOW_STEP.format(seconds=60.0) if during == "step" else LONG_KERNEL)
    wait_for(process, tmp_path / f"in_{during}")
    process.send_signal(number)
    time.sleep(0.05)
    began = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code
    assert time.monotonic() - began < 0.5
    if during == "step":
        assert verify(tmp_path / "run").timesteps == 0


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    code = SLOW_STEP.format(seconds=0.01).replace("num_envs=1", 'num_envs=3, vectorization="async"')
    process = start(tmp_path, code=code)
    wait_for(process, tmp_path / "in_step")
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while True:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        assert time.monotonic() < deadline, "workers outlived their parent"
        time.sleep(0.05)
