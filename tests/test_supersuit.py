"""Vector environments in SuperSuit's form, whose rows are the agents of one environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import VectorEnv

import pgfast
from pgfast.algorithms import ALGORITHMS
from pgfast.envs import SuperSuitVectorEnv
from pgfast.envs.stepper import Stepper

LENGTH = 4


class Markov(VectorEnv[Any, Any, Any]):
    """Three agents that are truncated together; an agent observes its number and the time, of all episodes."""

    def __init__(self) -> None:
        self.metadata = {"name": "agents"}
        self.num_envs = 3
        self.observation_space = spaces.Box(0.0, np.inf, (2,))  # of one agent
        self.action_space = spaces.Discrete(2)
        self.total = self.time = 0
        self.is_closed = False

    def observe(self) -> np.ndarray:
        return np.array([[agent, self.total] for agent in range(3)], np.float32)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        assert seed is None or isinstance(seed, int)
        self.time = 0
        return self.observe(), [{}] * 3

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, Any]:
        self.time += 1
        self.total += 1
        ended = np.full(3, self.time == LENGTH, np.uint8)
        infos: list[dict[str, Any]] = [{}] * 3
        if ended.any():
            infos = [{"terminal_observation": observation} for observation in self.observe()]
            self.total += 100
            self.reset()
        return self.observe(), np.asarray(actions, np.float32), np.zeros(3, np.uint8), ended, infos

    def close(self, **kwargs: Any) -> None:
        self.is_closed = True


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_agents_learn_by_one_policy(algo: str, tmp_path: Path) -> None:
    env = SuperSuitVectorEnv(Markov())
    agent = ALGORITHMS[algo](env, n_steps=10, hidden_sizes=(8,))
    before = agent.policy.parameters.copy()
    agent.learn(60, run_dir=tmp_path / "run")
    assert not np.array_equal(agent.policy.parameters, before)
    rollout = agent.sampler.rollout
    assert rollout.valid.all()
    assert rollout.truncated.sum() == len(rollout.final_observations) == 9  # at 12, 16 and 20 steps
    assert agent.evaluate(3).lengths.tolist() == [LENGTH] * 3
    assert agent.predict(np.zeros((3, 2), np.float32)).shape == (3,)
    np.testing.assert_array_equal(pgfast.load(tmp_path / "run").policy.parameters, agent.policy.parameters)


def test_the_last_observation_is_that_before_the_reset() -> None:
    inner = Markov()
    stepper = Stepper(SuperSuitVectorEnv(inner))
    stepper.reset([0, 1, 2])
    transitions = [stepper.step(np.zeros(3, np.int64)) for _ in range(LENGTH)]
    last = transitions[-1]
    assert last.truncated.all()
    assert [row.tolist() for row in last.final_observations.values()] == [[agent, LENGTH] for agent in range(3)]
    assert last.observations[:, 1].tolist() == [LENGTH + 100] * 3
    assert not any(transition.final_observations for transition in transitions[:-1])
    stepper.env.close()
    assert inner.is_closed


def test_an_environment_of_supersuit_is_told_the_wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"^Markov has no single_observation_space: set self.single_observation_space"):
        pgfast.A2C(Markov())
    monkeypatch.setattr(Markov, "__module__", "supersuit.vector.markov_vector_wrapper")
    with pytest.raises(ValueError, match=r"^Markov has no single_.*: wrap it in pgfast\.envs\.SuperSuitVectorEnv$"):
        pgfast.A2C(Markov())
