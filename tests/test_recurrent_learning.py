"""Tasks that need memory: learned with a GRU and with an LSTM, and not without."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

import pgfast
from pgfast.agent import Agent


class Recall(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Rewards the action, after ``delay`` steps, that the first observation has shown."""

    action_space = spaces.Discrete(2)
    observation_space = spaces.Box(-1, 1, (2,))
    delay = 5

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.time, self.bit = 0, int(self.np_random.integers(2))
        return np.array([2.0 * self.bit - 1.0, 0.0], np.float32), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.time += 1
        reward = float(self.time > self.delay and int(action) == self.bit)
        observation = np.array([0.0, self.time == self.delay], np.float32)
        return observation, reward, self.time > self.delay, False, {}


class Positions(gymnasium.ObservationWrapper[NDArray[np.float32], np.int64, NDArray[np.float32]]):
    """CartPole without its velocities."""

    def __init__(self) -> None:
        super().__init__(gymnasium.make("CartPole-v1"))
        self.observation_space = spaces.Box(-1e9, 1e9, (2,))

    def observation(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        return observation[[0, 2]]


@pytest.mark.slow
def test_memory_replaces_the_velocities_of_cartpole() -> None:
    """docs/results/memory.py has the figures of longer trainings."""
    chosen: dict[str, Any] = {"preset": None, "num_envs": 16, "n_steps": 32, "hidden_sizes": (32,), "memory_size": 32}
    chosen |= {"optimizer": "adam", "learning_rate": 3e-3, "gae_lambda": 0.95, "entropy_coef": 0.0, "value_coef": 0.05}
    chosen |= {"normalize_observations": True, "normalize_rewards": True}
    gru, plain = (pgfast.A2C(Positions, memory=memory, **chosen).learn(80_000) for memory in ("gru", "none"))
    returns = [agent.evaluate(30, deterministic=True).return_mean for agent in (gru, plain)]
    assert returns[0] > 150.0 > 100.0 > returns[1]


RECALL: dict[str, Any] = {"num_envs": 16, "hidden_sizes": (8,), "optimizer": "adam", "learning_rate": 1e-2, "seed": 1}


@pytest.mark.parametrize("memory", ["gru", "lstm", "none"])
@pytest.mark.parametrize(
    "algorithm", [pgfast.A2C, *(pytest.param(each, marks=pytest.mark.slow) for each in (pgfast.PPO, pgfast.VPG))]
)
def test_the_first_observation_is_remembered(algorithm: type[Agent], memory: str) -> None:
    """A reward of 0.5 is chance."""
    agent = algorithm(Recall, preset=None, memory=memory, memory_size=16, n_steps=24, **RECALL).learn(20_000)
    returned = agent.evaluate(200, deterministic=True).return_mean
    assert returned == 1.0 if memory != "none" else 0.35 < returned < 0.65
