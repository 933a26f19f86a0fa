"""Runs with several workers, as threads, learn as one worker does."""

from __future__ import annotations

import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import pgfast
from chaos_env import ChaosEnv
from pgfast.agent import Agent
from pgfast.algorithms import ALGORITHMS
from pgfast.envs.failures import EnvironmentFailure
from pgfast.runs.checkpoints import latest_checkpoint, read_checkpoint
from pgfast.state import flatten
from pgfast.training.distributed.backend import Threads
from states import assert_equal_states
from test_training import resume_to, without_times

SMALL: dict[str, Any] = {
    "num_envs": 4,
    "n_steps": 16,
    "hidden_sizes": (8,),
    "preset": None,
    "seed": 3,
    "report_every": 64,
}
THREADS: dict[str, Any] = {"ray_address": "none", "vectorization": "sync"}
NORMALIZED = {"normalize_observations": True, "normalize_rewards": True, "normalize_advantages": True}
CHOSEN: dict[str, dict[str, Any]] = {
    "a2c": {},
    "acktr": {"inverse_every": 2, "target_kl": 1e-3},
    "ppo": {"num_epochs": 3, "minibatch_size": 20, "recompute_advantages": True},
    "vpg": {"value_epochs": 2},
    "npg": {"value_epochs": 2},
    "trpo": {"value_epochs": 2},
}
every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)


def make(name: str, env: Any = "CartPole-v1", *, workers: int = 2, **chosen: Any) -> Agent:
    return ALGORITHMS[name](env, **{**SMALL, **THREADS, **CHOSEN[name], **chosen}, num_workers=workers)


def progress_of(agent: Agent, timesteps: int) -> list[dict[str, Any]]:
    """The rows of progress of a training."""
    rows: list[dict[str, Any]] = []
    agent.learn(timesteps, callback=lambda _, row: rows.append(row))
    return rows


def learned(
    name: str, env: Any = "CartPole-v1", timesteps: int = 192, **chosen: Any
) -> tuple[Agent, list[dict[str, Any]]]:
    agent = make(name, env, **chosen)
    rows = progress_of(agent, timesteps)
    agent.close()
    return agent, rows


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
@every_algorithm
def test_workers_learn_as_one(name: str, env: str) -> None:
    chosen = NORMALIZED if env == "Pendulum-v1" else {}
    (one, expected), *others = [learned(name, env, workers=workers, **chosen) for workers in (1, 2, 4)]
    for agent, rows in others:
        np.testing.assert_allclose(agent.policy.parameters, one.policy.parameters, rtol=1e-4, atol=2e-6)
        for row, row_of_one in zip(rows, expected, strict=True):
            for column in ("timesteps", "updates", "episodes", "episodes_cut", "return_mean", "length_mean"):
                assert row[column] == pytest.approx(row_of_one[column], rel=1e-6, nan_ok=True), column


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_ppo_solves_cartpole(workers: int, seed: int) -> None:
    agent = pgfast.PPO("CartPole-v1", seed=seed, num_workers=workers, **THREADS)
    best = max(row["return_mean"] for row in progress_of(agent, 100_000))
    agent.close()
    assert best >= 475.0


@every_algorithm
def test_the_bits_do_not_depend_on_threads(name: str) -> None:
    threads = pgfast.native_info()["num_threads"]
    try:
        states = []
        for number in (1, 2, 3):
            pgfast.set_num_threads(number)
            states.append(flatten(learned(name)[0].learner.state()))
    finally:
        pgfast.set_num_threads(threads)
    assert_equal_states(states[1], states[0])
    assert_equal_states(states[2], states[0])


@every_algorithm
def test_a_run_resumes_exactly(name: str, tmp_path: Path) -> None:
    chosen = {"sync_every": 128, **NORMALIZED}
    for run, lengths in (("whole", [512]), ("part", [256, 384, 512])):
        agent = make(name, "Pendulum-v1", **chosen).learn(lengths[0], run_dir=tmp_path / run)
        agent.close()
        for length in lengths[1:]:
            resumed, messages = resume_to(tmp_path / run, length)
            resumed.close()
            assert any("exactly" in message for message in messages)
    states = []
    for run in ("whole", "part"):
        checkpoint = latest_checkpoint(tmp_path / run / "checkpoints")
        assert checkpoint is not None
        arrays, values = read_checkpoint(checkpoint)
        del values["wall_time"], values["progress_bytes"]
        states.append((arrays, values))
    assert_equal_states(states[1], states[0])
    assert without_times(tmp_path / "part" / "progress.csv") == without_times(tmp_path / "whole" / "progress.csv")


def test_a_run_resumes_in_another_place(tmp_path: Path) -> None:
    make("a2c", sync_every=128).learn(128, run_dir=tmp_path).close()
    again = make("a2c", sync_every=128, worker_threads=2, worker_timeout=20.0)
    again.learn(256, run_dir=tmp_path, resume="auto").close()
    elsewhere = pgfast.resume(tmp_path, ray_address="localhost:1")
    assert elsewhere.settings.ray_address == "localhost:1"
    here = pgfast.resume(tmp_path, ray_address="none").learn(128)
    whole = make("a2c", sync_every=128).learn(384)
    for agent in (here, whole):
        agent.close()
    assert_equal_states(flatten(here.learner.state()), flatten(whole.learner.state()))


def test_learning_in_parts_is_learning_at_once() -> None:
    whole, _ = learned("ppo", timesteps=256)
    agent = make("ppo").learn(64)
    assert agent.timesteps == 64
    agent.evaluate(2)
    agent.learn(192)
    np.testing.assert_array_equal(agent.policy.parameters, whole.policy.parameters)
    agent.policy.parameters[:] = 0.0
    agent.learn(64)
    assert np.abs(agent.policy.parameters).max() < 0.05  # the workers went on from the change
    agent.close()


def test_whole_episodes_need_not_be_equally_long() -> None:
    agent, rows = learned("vpg", workers=4, baseline="zero", timesteps=400)
    assert agent.steps > 0
    assert rows[-1]["episodes_cut"] == 0
    assert agent.settings.collects_whole_episodes
    state = agent.state()
    other = make("vpg", workers=4, baseline="zero")
    other.load_state(state)
    assert (other.timesteps, other.steps) == (agent.timesteps, agent.steps)


def test_a_callback_may_change_the_policy() -> None:
    changed: list[float] = []

    def halve(training: Any, row: dict[str, Any]) -> None:
        changed.append(float(np.abs(training.policy.parameters).max()))
        training.policy.parameters[:] = 0.0

    make("a2c").learn(320, callback=halve).close()
    assert changed[0] > 0.3
    assert max(changed[1:]) < 0.05


def test_a_callback_may_change_what_is_not_the_policy() -> None:
    """TRPO's value network: the values of an update are those of a network of zeros, which explain nothing."""

    def forget(training: Any, row: dict[str, Any]) -> None:
        arrays, _ = flatten(training.learner.state())
        for path in arrays:
            if path.startswith("value_function"):
                arrays[path][...] = 0.0
        explained.append(row["explained_variance"])

    for workers in (1, 2):
        explained: list[float] = []
        make("trpo", workers=workers, value_epochs=5).learn(320, callback=forget).close()
        assert explained[1:] == [0.0] * 4


def test_a_run_waits_no_longer_than_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Threads, "connected", lambda backend, seconds: time.sleep(0.1) or {})
    monkeypatch.setattr("pgfast.training.distributed.driver._REMINDER", 0.3)
    interrupt = threading.Timer(1.0, signal.raise_signal, (signal.SIGINT,))
    interrupt.start()
    waits = "waiting for 2 of 2 workers: threads need nothing"
    with pytest.warns(RuntimeWarning, match=waits), pytest.raises(KeyboardInterrupt):
        make("a2c").learn(64, run_dir=tmp_path / "run")
    interrupt.join()
    monkeypatch.undo()
    resumed, _ = resume_to(tmp_path / "run", 128)
    assert resumed.timesteps == 128
    resumed.close()


def test_an_agent_without_workers_is_what_it_was_last() -> None:
    agent = make("a2c").learn(64)
    before = agent.policy.parameters.copy()
    assert agent.crew is not None
    agent.crew.advance(lambda _: None)
    for each in agent.crew._hub.members:  # type: ignore[attr-defined]
        each.channel.close()
    agent.close()
    assert agent.timesteps == 64
    np.testing.assert_array_equal(agent.policy.parameters, before)


def test_episodes_that_close_cuts_off_are_counted() -> None:
    cut = []
    for workers in (1, 2):
        agent = make("a2c", workers=workers).learn(64)
        agent.close()
        agent.learn(64)
        agent.close()
        episodes = agent.state()["episodes"]
        cut.append(episodes["episodes_cut"] + episodes["open"])
    assert cut[0] == cut[1] > 0


@every_algorithm
def test_numbers_that_are_not_finite_are_raised_on_all(name: str, tmp_path: Path) -> None:
    agent = make(name, partial(ChaosEnv, {"nan": 0.005}))
    with pytest.raises(
        FloatingPointError, match=r"^observation of environment \d at step \d+ is not finite in float32"
    ):
        agent.learn(100_000, run_dir=tmp_path / "run")
    assert pgfast.load(tmp_path / "run").timesteps == agent.timesteps
    np.testing.assert_array_equal(pgfast.load(tmp_path / "run").policy.parameters, agent.policy.parameters)


def test_the_environment_that_fails_is_named_by_its_number_in_the_run() -> None:
    numbers = set()
    for seed in range(12):
        agent = make("a2c", partial(ChaosEnv, {"raise": 0.02}), workers=4, seed=seed)
        with pytest.raises(EnvironmentFailure, match="ArithmeticError: the pole broke") as failure:
            agent.learn(100_000)
        numbers.add(failure.value.environment)
    assert len(numbers) > 2


def test_updates_are_skipped_on_all_workers() -> None:
    one, _ = learned("a2c", partial(ChaosEnv, {"nan": 0.005}), 1280, workers=1, on_nonfinite="skip")
    two, rows = learned("a2c", partial(ChaosEnv, {"nan": 0.005}), 1280, workers=2, on_nonfinite="skip")
    assert two.updates_skipped == one.updates_skipped > 0
    assert rows[-1]["episodes_cut"] > 0
    np.testing.assert_allclose(two.policy.parameters, one.policy.parameters, atol=1e-5)


def test_episodes_are_logged_in_order(tmp_path: Path) -> None:
    for workers in (1, 4):
        make("a2c", workers=workers, log_episodes=True).learn(640, run_dir=tmp_path / str(workers))
    logs = [(tmp_path / workers / "episodes.csv").read_text().splitlines() for workers in ("1", "4")]
    assert [line.split(",")[:4] for line in logs[1]] == [line.split(",")[:4] for line in logs[0]]


class ReadsInfos(pgfast.Callback[Any]):
    def on_rollout(self, agent: Any, infos: Any) -> None:
        raise AssertionError("no infos travel")


def test_arguments() -> None:
    with pytest.raises(ValueError, match="callbacks that read infos need num_workers = 1"):
        make("a2c").learn(64, callback=ReadsInfos())
    with pytest.raises(ValueError, match="num_workers must divide num_envs = 4, got 3"):
        make("a2c", workers=3)
    with pytest.raises(ValueError, match="num_workers needs environments that each worker can make"):
        pgfast.A2C(gymnasium.make_vec("CartPole-v1", 4), num_workers=2)
