"""Environments that differ from Gymnasium's interface in the ways that a first own environment does."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class GridEnv(gymnasium.Env):
    """Returns what it is told to, and truncates every episode after one step."""

    def __init__(self, **changes: Any) -> None:
        self.observation_space = spaces.Box(0, 10, (3,), changes.pop("dtype", np.float32))
        self.action_space = spaces.Discrete(2)
        self.changes = changes
        vars(self).update({name: value for name, value in changes.items() if name.endswith("_space")})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return self.changes.get("reset_results", (np.zeros(3, self.observation_space.dtype), {}))

    def step(self, action: int) -> Any:
        result = {"observation": np.zeros(3, np.float32), "reward": 1.0, "terminated": False, "truncated": True}
        return self.changes.get("step_results", tuple(({**result, "info": {}} | self.changes)[name] for name in FIELDS))


FIELDS = ("observation", "reward", "terminated", "truncated", "info")


class WithoutStep(GridEnv):
    """A class whose author forgot to define ``step``."""

    step = gymnasium.Env.step


class WithOldReset(GridEnv):
    """A class whose ``reset`` takes no seed."""

    def reset(self) -> Any:  # type: ignore[override]
        return super().reset()


class FailsSilently(GridEnv):
    """A class whose ``step`` raises an error without a message."""

    def step(self, action: int) -> Any:
        raise AssertionError
