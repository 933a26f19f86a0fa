"""Runs with several workers, as threads, survive the loss of some."""

from __future__ import annotations

import threading
import time
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from chaos_env import ChaosEnv
from pgfast.agent import Agent
from pgfast.envs.failures import EnvironmentFailure
from pgfast.runs.progress_log import read_progress
from pgfast.state import flatten
from pgfast.training.distributed import member
from pgfast.training.distributed.backend import Threads
from pgfast.training.distributed.driver import AllWorkersLostError
from states import assert_equal_states
from test_training import resume_to
from test_workers import every_algorithm, learned, make


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
    """Says, after as many connections as one of ``counts``, that the earlier workers compute otherwise."""

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
