"""Training with other processes and threads: start methods, Gymnasium's workers, and the number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv

import pgfast
from pgfast.envs.workers import WorkerVectorEnv
from test_run_directory import RunPython

SMALL = {"num_envs": 4, "n_steps": 25, "hidden_sizes": (64, 64), "seed": 3}

CHILDREN = """
import multiprocessing, warnings
import numpy as np
import pgfast

def train(pipe):
    agent = pgfast.A2C("CartPole-v1", num_envs=4, n_steps=200, seed=3)
    agent.learn(8000)
    pipe.send_bytes(agent.policy.parameters.tobytes())

if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns about fork with threads
    pgfast.set_num_threads(3)
    pgfast.A2C("CartPole-v1", num_envs=4, n_steps=200, seed=3).learn(800)  # starts the pool
    context = multiprocessing.get_context({method!r})
    results = set()
    for _ in range(2):
        ours, theirs = context.Pipe()
        child = context.Process(target=train, args=(theirs,))
        child.start()
        theirs.close()
        results.add(ours.recv_bytes())
        child.join()
        assert child.exitcode == 0
    agent = pgfast.A2C("CartPole-v1", num_envs=4, n_steps=200, seed=3).learn(8000)
    assert results == {{agent.policy.parameters.tobytes()}}
    print("equal")
"""


@pytest.mark.parametrize("method", ["fork", "spawn", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_child_processes_train_as_their_parent_does(method: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(CHILDREN.format(method=method))
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("equal\n", "")


WORKERS = """
import multiprocessing
import pgfast

if __name__ == "__main__":
    import registering
    multiprocessing.set_start_method({method!r})
    for env_id in ("Own/Grid-v0", "Own/Local-v0"):
        pgfast.A2C(env_id, num_envs=1, n_steps=5, hidden_sizes=(4,), vectorization="async").learn(20).close()
    print("trained")
"""
REGISTERING = """
import gymnasium

def make_local(length):
    from grids import GridEnv
    return GridEnv(length)

gymnasium.register("Own/Grid-v0", entry_point="grids:GridEnv", max_episode_steps=3, kwargs={"length": 2})
gymnasium.register("Own/Local-v0", entry_point=lambda **options: make_local(**options), kwargs={"length": 2})
"""
GRIDS = """
import gymnasium
import numpy as np
from gymnasium import spaces

class GridEnv(gymnasium.Env):
    def __init__(self, length):
        self.observation_space, self.action_space = spaces.Box(0, 1, (length,), np.float32), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 1.0, False, False, {}
"""


@pytest.mark.parametrize("method", [pytest.param("spawn", marks=pytest.mark.slow), "forkserver"])
def test_workers_make_environments_that_only_their_parent_registered(method: str, tmp_path: Path) -> None:
    for name, text in (("registering", REGISTERING), ("grids", GRIDS), ("program", WORKERS.format(method=method))):
        (tmp_path / f"{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout, done.stderr) == ("trained\n", "")


UNGUARDED = """
import multiprocessing
import pgfast

multiprocessing.set_start_method("spawn", force=True)
pgfast.A2C("CartPole-v1", num_envs=1, vectorization="async").learn(20)
"""
UNSENDABLE = """
import multiprocessing
import threading
import gymnasium
import pgfast

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    lock = threading.Lock()
    pgfast.A2C(lambda: lock and gymnasium.make("CartPole-v1"), num_envs=1, vectorization="async").learn(20)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "text"),
    [
        (UNGUARDED, 'status 1; a program that starts worker processes needs if __name__ == "__main__":'),
        (UNSENDABLE, "the function that makes it cannot be sent to a worker process: TypeError: cannot pickle"),
    ],
)
def test_a_program_that_cannot_start_workers_is_told_why(program: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "EnvironmentFailure: environment 0 could not be made: " in done.stderr
    assert text in done.stderr.splitlines()[-1]


def cartpole() -> gymnasium.Env:
    return gymnasium.make("CartPole-v1")


def test_every_kind_of_vector_environment_trains_alike() -> None:
    results = []
    for make in (lambda: AsyncVectorEnv([cartpole] * 4), lambda: WorkerVectorEnv(cartpole, 4)):
        env = make()
        agent = pgfast.A2C(env, **SMALL).learn(2000)
        results.append(agent.policy.parameters.copy())
        env.close()
    for vectorization in ("sync", "async"):
        agent = pgfast.A2C(cartpole, **SMALL, vectorization=vectorization).learn(2000)
        results.append(agent.policy.parameters.copy())
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "env_id", "timesteps"),
    [
        *((name, "CartPole-v1", 40_000) for name in ("A2C", "VPG", "NPG", "TRPO")),
        ("TRPO", "Pendulum-v1", 20_000),
        ("A2C", "BreakoutNoFrameskip-v4", 6_400),
    ],
)
def test_training_does_not_depend_on_thread_count(
    name: str, env_id: str, timesteps: int, num_threads: Callable[[int], None]
) -> None:
    results = set()
    for threads in (1, 2, 3, 8):
        num_threads(threads)
        agent = getattr(pgfast, name)(env_id, seed=5).learn(timesteps)
        results.add(agent.policy.parameters.tobytes())
        agent.close()
    assert len(results) == 1


COUNT_RUNNING = """
import pgfast

agent = pgfast.A2C("BreakoutNoFrameskip-v4", num_envs=8)
agent.learn(160)
agent.learn(3200)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_no_more_threads_run_than_planned(threads: int, run_python: RunPython) -> None:
    """Samples the running threads from outside, and compares them with the plan that `pgfast info` prints."""
    environment = {"OMP_NUM_THREADS": str(threads)}
    plan = run_python("from pgfast.commands import info; info()", PGFAST_NUM_THREADS=None, **environment).stdout
    assert f"threads of the kernels: {threads} " in plan
    assert f"threads of an Atari emulator: {threads}, which run while those of the kernels wait" in plan
    variables = {key: value for key, value in {**os.environ, **environment}.items() if key != "PGFAST_NUM_THREADS"}
    counts = []
    with subprocess.Popen([sys.executable, "-c", COUNT_RUNNING], env=variables) as process:
        while process.poll() is None:
            running = 0
            for task in Path(f"/proc/{process.pid}/task").glob("*/stat"):
                try:
                    running += task.read_text().rpartition(")")[2].split()[0] == "R"
                except OSError:  # the thread has ended
                    continue
            counts.append(running)
    assert process.returncode == 0
    assert len(counts) > 50
    assert max(counts) <= 2 * threads
    assert np.mean(counts) <= threads + 0.5
