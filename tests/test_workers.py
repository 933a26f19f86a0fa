"""Runs with several workers, as threads: they learn as one worker does, and survive the loss of some."""

from __future__ import annotations

import signal
import threading
import time
from functools import partial
from itertools import count
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
from pgfast.runs.progress_log import read_progress
from pgfast.state import flatten
from pgfast.training.distributed import member
from pgfast.training.distributed.backend import Threads
from pgfast.training.distributed.driver import AllWorkersLostError
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


class Killer:
    """Ends workers at calls to the driver: those whose number, over all workers, is in ``calls``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *calls: int) -> None:
        counter, ask = count(), member._DriverReduce._ask

        def ask_or_end(reduce: Any, call: str, value: Any) -> Any:
            if next(counter) in calls:
                raise member.DriverLostError
            return ask(reduce, call, value)

        monkeypatch.setattr(member._DriverReduce, "_ask", ask_or_end)


def check_losses(agent: Agent, run_dir: Path, losses: int, timesteps: int = 640) -> None:
    agent.learn(timesteps, run_dir=run_dir)
    assert agent.timesteps >= timesteps
    progress = read_progress(run_dir / "progress.csv")
    assert progress["worker_restarts"][-1] == losses
    assert agent.crew is not None
    deadline = time.monotonic() + 30.0
    while len(states := agent.crew._command("state", {})) < agent.settings.num_workers:  # type: ignore[attr-defined]
        assert time.monotonic() < deadline, "the lost worker was not replaced"
        agent.learn(64)
    first, *others = states.values()
    for other in others:
        assert_equal_states((other["arrays"], other["values"]), (first["arrays"], first["values"]))
    agent.close()


SLOW_CALLS = [pytest.param(call, marks=pytest.mark.slow) for call in (1, 2, 5, 9, 17, 30, 58, 63, 90, 121, 140)]


@pytest.mark.parametrize("call", [0, 41, *SLOW_CALLS])
@every_algorithm
def test_a_lost_worker_is_replaced(name: str, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Killer(monkeypatch, call)
    check_losses(make(name, workers=2), tmp_path / "run", 1, 1280)


def test_several_losses_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Killer(monkeypatch, 39, 40, 42, 100)
    check_losses(make("ppo", workers=4), tmp_path / "run", 4)


def test_an_update_without_the_lost_worker_is_that_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """If environments 2 and 3 are lost in the first update, the parameters are those of the other two alone."""
    Killer(monkeypatch, 5)
    agent = make("trpo", workers=2)
    agent.learn(32)
    monkeypatch.undo()
    assert agent.timesteps == 32
    kept = {0: (0, 2), 1: (2, 4)}
    alone = []
    for first, _ in kept.values():
        other = make("trpo", workers=2).for_worker(first // 2)
        other.start_environments()
        other.advance(lambda _: None)
        alone.append(other.policy.parameters.copy())
        other.close()
    assert any(np.array_equal(agent.policy.parameters, parameters) for parameters in alone)
    agent.close()


class Hanging(gymnasium.Wrapper[Any, Any, Any, Any]):
    """CartPole of which one instance in the process hangs once, at its 20th step."""

    has_hung = threading.Event()

    def __init__(self) -> None:
        super().__init__(gymnasium.make("CartPole-v1"))
        self.steps = 0

    def step(self, action: Any) -> Any:
        self.steps += 1
        if self.steps == 20 and not self.has_hung.is_set():
            self.has_hung.set()
            time.sleep(3.0)
        return self.env.step(action)


def test_a_worker_that_is_too_slow_is_replaced(tmp_path: Path) -> None:
    Hanging.has_hung.clear()
    check_losses(make("a2c", Hanging, worker_timeout=1.0), tmp_path / "run", 1)


class Narrowing:
    """Says at the first connection of each of ``slots`` after another that the earlier workers compute otherwise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *counts: int) -> None:
        self.connections: list[int] = []
        connected = Threads.connected

        def connect(backend: Threads, seconds: float) -> Any:
            found = connected(backend, seconds)
            self.connections += found
            return found

        def outdated(backend: Threads) -> tuple[list[int], str]:
            if len(self.connections) not in pending:
                return [], ""
            pending.remove(len(self.connections))
            return sorted({0, 1} - {self.connections[-1]}), "a new one has fewer instructions"

        pending = list(counts)
        monkeypatch.setattr(Threads, "connected", connect)
        monkeypatch.setattr(Threads, "outdated", outdated)


def test_workers_that_compute_otherwise_start_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start that is no loss."""
    expected = flatten(learned("ppo")[0].learner.state())
    narrowing = Narrowing(monkeypatch, 2)
    agent = make("ppo").learn(192)
    assert narrowing.connections == [0, 1, 0]
    assert_equal_states(flatten(agent.learner.state()), expected)
    check_losses(agent, tmp_path / "run", 0)


def test_the_others_start_again_for_a_new_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker is lost, and the one in its place computes otherwise than the other, which the run waits for."""
    narrowing = Narrowing(monkeypatch, 3)
    Killer(monkeypatch, 41)
    check_losses(make("ppo"), tmp_path / "run", 2, 1280)
    assert len(narrowing.connections) == 4
    assert set(narrowing.connections[2:]) == {0, 1}


def test_environments_restart_as_often_as_the_run_allows() -> None:
    """Each worker knows the restarts of the other up to the update before."""
    env, settings = partial(ChaosEnv, {"raise": 0.05}), {"vectorization": "async", "max_env_restarts": 6}
    agent = make("a2c", env, num_envs=2, n_steps=2, sync_every=100_000, **settings)
    with pytest.raises(EnvironmentFailure, match="the pole broke"):
        agent.learn(100_000)
    agent.close()
    assert 6 <= agent.sampler.statistics.env_restarts <= 7


@pytest.mark.parametrize("command", ["_state", "_load", "_start", "_advance"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_worker_is_lost_around_a_command(
    command: str, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In particular between the last reduction of an update and its answer, when the others have made the update."""
    counter, carry_out = count(), getattr(member._Member, command)

    def carry_out_or_end(worker: Any, message: Any) -> Any:
        is_last = next(counter) == 2  # the first two are those at the start of both workers
        if is_last and moment == "before":
            raise member.DriverLostError
        answer = carry_out(worker, message)
        if is_last:
            raise member.DriverLostError
        return answer

    monkeypatch.setattr(member._Member, command, carry_out_or_end)
    agent = make("ppo", sync_every=128)
    agent.learn(64)
    if command == "_load":
        agent.policy.parameters[:] *= 0.5  # all workers are given this
    agent.learn(192)
    check_losses(agent, tmp_path / "run", 1)


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


def test_without_any_worker_left_the_run_ends_and_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    Killer(monkeypatch, 150, 151)
    with pytest.raises(AllWorkersLostError, match="pgfast resume goes on from the last checkpoint"):
        make("ppo", sync_every=64).learn(10_000, run_dir=run)
    monkeypatch.undo()
    resumed, messages = resume_to(run, 320)
    resumed.close()
    assert any("exactly" in message for message in messages)
    chosen: dict[str, Any] = {"sync_every": 64, "timesteps": 320}
    np.testing.assert_array_equal(resumed.policy.parameters, learned("ppo", **chosen)[0].policy.parameters)


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
