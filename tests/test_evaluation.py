"""Evaluation: whole episodes, a limit for those that do not end, and the environments of training."""

from __future__ import annotations

import os
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import pgfast

SMALL: dict[str, Any] = {"num_envs": 2, "n_steps": 5, "hidden_sizes": (8,)}


class Lasting(gymnasium.Env[np.ndarray, np.int64]):
    """Lasts 3, 40 or 10^9 steps, drawn at the reset; every reward is 1."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)
    lengths = (3, 40, 10**9)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = int(self.np_random.choice(self.lengths))
        return np.zeros(1, np.float32), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return np.zeros(1, np.float32), 1.0, self.left == 0, False, {}


class Endless(Lasting):
    lengths = (10**9,)


class Process(Lasting):
    """Refuses to be made twice in one process, as some emulators do."""

    made_in: set[int] = set()  # noqa: RUF012 - shared by purpose
    lengths = (3, 40)

    def __init__(self) -> None:
        if os.getpid() in self.made_in:
            raise RuntimeError("Cannot create multiple emulator instances per process")
        if os.getpid() != PARENT:
            self.made_in.add(os.getpid())


PARENT = os.getpid()


def test_episodes_that_do_not_end_are_cut_and_counted() -> None:
    result = pgfast.VPG(Endless, **SMALL).evaluate(20, max_episode_steps=50)
    assert result.cut == 20
    assert result.returns.tolist() == [50.0] * 20
    assert result.lengths.tolist() == [50] * 20


def test_only_the_episodes_that_reach_the_limit_are_cut() -> None:
    agent = pgfast.VPG(Lasting, **SMALL)
    result = agent.evaluate(200, max_episode_steps=60)
    counts = {length: int((result.lengths == length).sum()) for length in (3, 40, 60)}
    assert sum(counts.values()) == 200
    assert result.cut == counts[60]
    assert all(40 <= count <= 95 for count in counts.values()), counts  # a third each, however long they are
    again = agent.evaluate(200, max_episode_steps=60)
    np.testing.assert_array_equal(again.lengths, result.lengths)


def test_a_limit_that_no_episode_reaches_changes_nothing() -> None:
    agent = pgfast.A2C("CartPole-v1", **SMALL)
    results = [agent.evaluate(20), agent.evaluate(20, max_episode_steps=500)]
    assert [result.cut for result in results] == [0, 0]
    np.testing.assert_array_equal(results[0].returns, results[1].returns)
    with pytest.raises(ValueError, match="max_episode_steps must be at least 1, got 0"):
        agent.evaluate(1, max_episode_steps=0)


def test_evaluation_uses_the_worker_processes_of_training() -> None:
    agent = pgfast.VPG(Process, **SMALL, vectorization="async")
    assert agent.evaluate(4).lengths.size == 4
    plain = pgfast.VPG(type("Plain", (Lasting,), {"lengths": (3, 40)}), **SMALL)
    np.testing.assert_array_equal(agent.evaluate(6).lengths, plain.evaluate(6).lengths)
