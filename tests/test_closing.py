"""Environments are closed however a training ends, so that the processes that they started do not remain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import pgfast
from emulator_env import EmulatorEnv
from pgfast.envs.failures import EnvironmentFailure
from pgfast.envs.workers import WorkerVectorEnv
from test_kill import wait_for

SMALL: dict[str, Any] = {"num_envs": 3, "n_steps": 4, "hidden_sizes": (4,), "seed": 1}
BOTH = pytest.mark.parametrize("vectorization", ["sync", "async"])

PROGRAM = """
import sys
from functools import partial
from pathlib import Path
sys.path.insert(0, {tests!r})
import pgfast
from emulator_env import EmulatorEnv

if __name__ == "__main__":
    import multiprocessing
    multiprocessing.set_start_method({method!r})
    make = partial(EmulatorEnv, Path({folder!r}), close_seconds=0.2)
    agent = pgfast.A2C(make, num_envs=3, n_steps=4, hidden_sizes=(4,), vectorization={vectorization!r})
    agent.learn({timesteps})
    raise RuntimeError("the program ends without closing its agent")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "emulators"
    made.mkdir()
    return made


def count_started(folder: Path) -> int:
    return len([path for path in folder.iterdir() if path.name.isdigit()])


def require_none_left(folder: Path) -> None:
    """Fails if a process that an environment started runs for 10 seconds more."""
    assert count_started(folder) > 0
    deadline = time.monotonic() + 10
    while left := [path.name for path in folder.iterdir() if path.name.isdigit() and is_running(int(path.name))]:
        if time.monotonic() > deadline:
            for pid in left:
                os.kill(int(pid), signal.SIGKILL)
            raise AssertionError(f"processes {left} were left behind")
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@BOTH
@pytest.mark.parametrize("fail", ["step", "make"])
def test_the_error_of_one_environment_closes_all(fail: str, vectorization: str, folder: Path) -> None:
    with pytest.raises(EnvironmentFailure):
        pgfast.A2C(partial(EmulatorEnv, folder, fail), **SMALL, vectorization=vectorization).learn(100)
    require_none_left(folder)


@BOTH
def test_an_agent_closes_its_environments(vectorization: str, folder: Path) -> None:
    agent = pgfast.A2C(partial(EmulatorEnv, folder), **SMALL, vectorization=vectorization).learn(20)
    agent.evaluate(1, max_episode_steps=3)
    agent.close()
    assert count_started(folder) == 5  # one for the spaces, three of training, one of evaluation
    require_none_left(folder)


@BOTH
def test_environments_that_do_not_suit_the_agent_are_closed(vectorization: str, folder: Path) -> None:
    def make() -> Any:
        if count_started(folder):
            return pgfast.envs.PointEnv()
        return EmulatorEnv(folder)

    agent = pgfast.A2C(make, **SMALL, vectorization=vectorization)
    for _ in range(2):
        with pytest.raises(ValueError, match="learn: the environment has"):
            agent.learn(20)
        assert agent.sampler.env is None


def test_a_replaced_worker_closes_its_environment(folder: Path) -> None:
    for fail, timeout in (("step", None), ("hang", 0.5)):
        (folder / "failed").unlink(missing_ok=True)
        make = partial(EmulatorEnv, folder, fail, close_seconds=0.3)
        agent = pgfast.A2C(make, **SMALL, vectorization="async", max_env_restarts=1, env_timeout=timeout)
        agent.learn(60)
        assert agent.sampler.statistics.env_restarts == 1
        agent.close()
        require_none_left(folder)


def test_a_step_that_hangs_is_interrupted_to_close(folder: Path) -> None:
    agent = pgfast.A2C(partial(EmulatorEnv, folder, "hang"), **SMALL, vectorization="async", env_timeout=0.5)
    began = time.monotonic()
    with pytest.raises(EnvironmentFailure, match="no answer within"):
        agent.learn(100)
    assert time.monotonic() - began < 5
    require_none_left(folder)


@pytest.mark.slow
def test_a_close_that_hangs_is_cut_off(folder: Path) -> None:
    env = WorkerVectorEnv(partial(EmulatorEnv, folder, "close"), 2)
    began = time.monotonic()
    env.close()
    assert 4 < time.monotonic() - began < 9
    for path in folder.iterdir():
        os.kill(int(path.name), signal.SIGKILL)


@pytest.mark.parametrize(
    ("method", "vectorization"),
    [
        ("fork", "sync"),
        ("fork", "async"),
        pytest.param("spawn", "async", marks=pytest.mark.slow),
        pytest.param("forkserver", "async", marks=pytest.mark.slow),
    ],
)
def test_a_program_that_ends_closes_its_environments(
    method: str, vectorization: str, tmp_path: Path, folder: Path
) -> None:
    process = start_program(tmp_path, folder, method, vectorization, 50)
    _, error = process.communicate(timeout=60)
    assert error.endswith("RuntimeError: the program ends without closing its agent\n")
    require_none_left(folder)


@pytest.mark.parametrize(
    ("number", "vectorization"),
    [
        (signal.SIGINT, "sync"),
        (signal.SIGINT, "async"),
        (signal.SIGTERM, "async"),
        pytest.param(signal.SIGHUP, "async", marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, "async", marks=pytest.mark.slow),
    ],
)
def test_a_signal_to_all_processes_closes_the_environments(
    number: signal.Signals, vectorization: str, tmp_path: Path, folder: Path
) -> None:
    """As a terminal and job schedulers send them; the run finishes its update first."""
    process = start_program(tmp_path, folder, "fork", vectorization, 10**9)
    wait_for(process, folder / "stepped")
    os.killpg(process.pid, number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == (-signal.SIGINT if number == signal.SIGINT else 128 + number), error
    assert "EnvironmentFailure" not in error
    require_none_left(folder)


@pytest.mark.parametrize(
    "method", ["fork", *(pytest.param(name, marks=pytest.mark.slow) for name in ("spawn", "forkserver"))]
)
def test_workers_close_their_environments_if_their_parent_is_killed(method: str, tmp_path: Path, folder: Path) -> None:
    process = start_program(tmp_path, folder, method, "async", 10**9)
    wait_for(process, folder / "stepped")
    process.kill()
    process.communicate()
    require_none_left(folder)


def start_program(
    tmp_path: Path, folder: Path, method: str, vectorization: str, timesteps: int
) -> subprocess.Popen[str]:
    values = {"tests": str(Path(__file__).parent), "folder": str(folder), "method": method}
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(**values, vectorization=vectorization, timesteps=timesteps))
    return subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
