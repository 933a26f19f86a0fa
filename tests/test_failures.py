"""Environments that crash, hang or return nonsense: the training's error, its save and its recovery."""

from __future__ import annotations

import multiprocessing
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgfast
from chaos_env import ChaosEnv
from pgfast.envs.failures import EnvironmentFailure
from pgfast.envs.workers import WorkerVectorEnv
from pgfast.loading import verify
from pgfast.runs.checkpoints import list_checkpoints
from pgfast.runs.progress_log import read_progress
from test_run_directory import RunPython

# If workers are not forked, a new one imports its modules first.
TIMEOUT = 0.5 if multiprocessing.get_start_method() == "fork" else 10.0
SMALL: dict[str, Any] = {"num_envs": 3, "n_steps": 10, "hidden_sizes": (8,), "report_every": 30, "seed": 1}
TEXTS = {
    "raise": r"environment \d failed at step \d+: ArithmeticError: the pole broke",
    "shape": r"environment \d failed at step \d+: .*shape",
    "dtype": r"failed at step \d+: .*complex128",
    "text": r"failed at step \d+: ",
    "nan": r"observation of environment \d at step \d+ is not finite in float32: \[nan nan nan nan\]",
    "infinity": r"observation of environment \d at step \d+ is not finite",
    "nan_reward": r"reward of environment \d at step \d+ is not finite in float32: nan",
    "huge_reward": r"reward of environment \d at step \d+ is not finite in float32: 1e\+300",
}


def agent(kind: str, probability: float = 0.02, **settings: Any) -> pgfast.A2C:
    return pgfast.A2C(partial(ChaosEnv, {kind: probability}), **{**SMALL, **settings})


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize("kind", TEXTS)
def test_a_failure_is_named_and_the_run_saved_first(kind: str, vectorization: str, tmp_path: Path) -> None:
    training = agent(kind, vectorization=vectorization)
    with pytest.raises((EnvironmentFailure, FloatingPointError), match=TEXTS[kind]):
        training.learn(100_000, run_dir=tmp_path / "run")
    saved = int(list_checkpoints(tmp_path / "run" / "checkpoints")[-1].name)
    assert saved == training.timesteps
    assert saved >= read_progress(tmp_path / "run" / "progress.csv")["timesteps"].max(initial=0)
    assert verify(tmp_path / "run").timesteps == saved
    with pytest.raises((EnvironmentFailure, FloatingPointError)):
        training.learn(100_000)  # with new episodes, which fail again


def test_too_many_open_files_of_an_environment_have_a_cure() -> None:
    failure = EnvironmentFailure(3, 7, f"OSError: {OSError(24, 'Too many open files')}")
    assert "Too many open files; use fewer environments" in str(failure)
    assert str(failure).count("use fewer environments") == str(pickle.loads(pickle.dumps(failure))).count("use fewer")


def test_a_worker_that_dies_is_named() -> None:
    with pytest.raises(
        EnvironmentFailure, match=r"environment \d failed at step \d+: its process was ended by SIGKILL"
    ):
        agent("die", vectorization="async").learn(100_000)


def test_a_worker_that_hangs_is_named() -> None:
    training = agent("hang", vectorization="async", env_timeout=TIMEOUT)
    with pytest.raises(EnvironmentFailure, match=rf"no answer within env_timeout = {TIMEOUT:g} seconds"):
        training.learn(100_000)


def test_an_exception_of_a_worker_has_its_traceback() -> None:
    with pytest.raises(EnvironmentFailure) as caught:
        agent("raise", vectorization="async").learn(100_000)
    assert any("in _fail" in note for note in caught.value.__notes__)


def test_an_environment_that_cannot_start_is_named() -> None:
    broken = partial(ChaosEnv, {}, fail_in_reset=True)
    for vectorization in ("sync", "async"):
        with pytest.raises(RuntimeError, match="no new episode"):
            pgfast.A2C(broken, **SMALL, vectorization=vectorization).learn(30)


@pytest.mark.parametrize("kind", ["raise", "die", pytest.param("hang", marks=pytest.mark.slow), "shape", "nan"])
def test_workers_are_replaced(kind: str, tmp_path: Path) -> None:
    settings = {"vectorization": "async", "max_env_restarts": 1000, "on_nonfinite": "skip"}
    probability = 0.002 if kind == "hang" else 0.005
    training = agent(kind, probability, env_timeout=TIMEOUT if kind == "hang" else None, **settings)
    training.learn(3000, run_dir=tmp_path / "run")
    progress = read_progress(tmp_path / "run" / "progress.csv")
    if kind == "nan":  # a failed update, not a failed worker
        assert progress["updates_skipped"][-1] > 0
    else:
        assert progress["env_restarts"][-1] > 0
        assert progress["episodes_cut"][-1] > 0
    assert training.timesteps == 3000


def test_the_open_episode_is_left_out_of_the_losses() -> None:
    """All its rows in the rollout are; the rows of the episodes before and after it stay."""
    training = agent("raise", 0.02, vectorization="async", max_env_restarts=1000, num_envs=2, n_steps=60)
    training.start_environments()
    seen = 0
    for _ in range(6):
        rollout = training.sampler.rollout
        opened = [rollout.time[-1, n] for n in range(2)]  # rows of the open episode in earlier rollouts
        before = training.sampler.statistics.env_restarts
        training.sampler.collect(training.timesteps, training.updates)
        for n in range(2):
            restarts = np.flatnonzero(
                (rollout.time[1:, n] == 0)
                & rollout.truncated[:, n]
                & ~rollout.valid[:, n]
                & (rollout.rewards[:, n] == 0)
            )
            for t in restarts:
                first = max(0, t - int(rollout.time[t, n]))
                assert not rollout.valid[first : t + 1, n].any()
                assert first == 0 or opened[n] == 0 or rollout.time[first, n] == 0
                seen += 1
        assert training.sampler.statistics.env_restarts >= before
        training.timesteps += rollout.rows
    assert seen == training.sampler.statistics.env_restarts > 0
    training.close()


def test_restarts_run_out() -> None:
    training = agent("raise", 0.05, vectorization="async", max_env_restarts=3)
    with pytest.raises(EnvironmentFailure, match="the pole broke"):
        training.learn(100_000)
    assert training.sampler.statistics.env_restarts == 3


def test_replaced_workers_start_different_episodes() -> None:
    def first_observations() -> list[np.ndarray]:
        env = WorkerVectorEnv(partial(ChaosEnv, {"raise": 0.1}), 2, max_restarts=100)
        try:
            env.reset(seed=[3, 4])
            found = []
            for _ in range(60):
                observations, _, _, _, infos = env.step(np.zeros(2, np.int64))
                found += [observations[i] for i in np.flatnonzero(infos["restarted"])]
            return found
        finally:
            env.close()

    first, again = first_observations(), first_observations()
    assert len(first) > 3
    np.testing.assert_array_equal(first, again)
    assert len({observation.tobytes() for observation in first}) == len(first)


@pytest.mark.parametrize(
    ("env", "settings", "text"),
    [
        ("CartPole-v1", {"max_env_restarts": 1}, 'needs the processes of vectorization "async"'),
        ("CartPole-v1", {"max_env_restarts": -1}, "must be an int of at least 0, got -1"),
        ("CartPole-v1", {"env_timeout": 0.0}, "env_timeout must be a float greater than 0 or None, got 0.0"),
        ("BreakoutNoFrameskip-v4", {"max_env_restarts": 1, "vectorization": "async"}, "native vector environment"),
    ],
)
def test_restarts_that_are_impossible_are_refused(env: str, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        pgfast.A2C(env, **settings)


def test_restarts_of_a_given_vector_environment_are_refused() -> None:
    env = WorkerVectorEnv(partial(ChaosEnv, {}), 2)
    with pytest.raises(ValueError, match="a vector environment was given"):
        pgfast.A2C(env, vectorization="async", max_env_restarts=1)
    env.close()


HANG = """
from functools import partial
import sys
sys.path.insert(0, {tests!r})
import pgfast
from chaos_env import ChaosEnv
agent = pgfast.A2C(partial(ChaosEnv, {{"hang": 0.01}}), num_envs=2, n_steps=5, sync_every=10, env_timeout=0.5, seed=1)
agent.learn(100_000, run_dir={run!r})
"""


def test_a_hang_in_the_process_ends_it(run_python: RunPython, tmp_path: Path) -> None:
    """The stacks of all threads are written, and the last checkpoint is whole."""
    run = tmp_path / "run"
    ended = run_python(HANG.format(tests=str(Path(__file__).parent), run=str(run)))
    assert ended.returncode == 1
    assert "Timeout (0:00:00.625" in ended.stderr
    assert "in _fail" in ended.stderr
    assert "in learn" in ended.stderr
    assert verify(run).timesteps > 0


def test_a_slow_step_within_the_timeout_is_no_failure() -> None:
    agent("slow", 0.05, env_timeout=2.0).learn(120)
    agent("slow", 0.05, env_timeout=2.0, vectorization="async").learn(120)


@pytest.mark.slow
def test_cartpole_is_learned_despite_crashes() -> None:
    crashes = partial(ChaosEnv, {"raise": 2.5e-4, "die": 2.5e-4})
    training = pgfast.A2C(
        crashes,
        num_envs=16,
        n_steps=20,
        gae_lambda=0.9,
        learning_rate=5e-3,
        value_coef=0.05,
        entropy_coef=0.0,
        vectorization="async",
        max_env_restarts=10_000,
        seed=0,
    )
    best = 0.0

    def note(_: Any, row: dict[str, Any]) -> bool:
        nonlocal best
        best = max(best, row["return_mean"] or 0.0)
        return best < 400.0

    training.learn(500_000, callback=note)
    assert training.sampler.statistics.env_restarts > 20
    assert best >= 400.0
