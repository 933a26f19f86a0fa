"""An environment whose observations and rewards are predictable."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces


class CountingEnv(gymnasium.Env):
    """Observes (episode, steps since reset); ends after ``length`` steps, by truncation or termination."""

    metadata: ClassVar = {"render_modes": []}

    def __init__(self, length: int = 3, truncate: bool = True, start: int = 0) -> None:
        self.observation_space = spaces.Box(-1e6, 1e6, (2,), np.float32)
        self.action_space = spaces.Discrete(3, start=start)
        self.length, self.truncate = length, truncate
        self.episode, self.time = -1, 0
        self.actions: list[int] = []

    def _observe(self) -> np.ndarray:
        return np.array([self.episode, self.time], np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.episode, self.time = self.episode + 1, 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.action_space.contains(action)
        self.actions.append(int(action))
        self.time += 1
        done = self.time == self.length
        return self._observe(), float(self.time), done and not self.truncate, done and self.truncate, {}


class BrokenEnv(CountingEnv):
    """Returns a number that is not finite at its second step."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        observation, reward, terminated, truncated, info = super().step(action)
        if self.time == 2 and self.key == "reward":
            reward = float("inf")
        if self.time == 2 and self.key == "observation":
            observation = observation * np.float32("nan")
        return observation, reward, terminated, truncated, info
