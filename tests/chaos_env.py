"""An environment that fails at random, in every way that an environment can."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.classic_control import CartPoleEnv


class ChaosEnv(gymnasium.Wrapper):
    """CartPole whose steps fail at random; ``failures`` holds the probability of each kind.

    raise: an exception; die: the process is killed; hang: a step that never returns; slow: a step of 0.3 s; nan,
    infinity: in the observation; nan_reward, huge_reward: in the reward; shape, dtype, text: an observation of another
    shape, dtype or of strings.
    """

    def __init__(self, failures: dict[str, float], *, fail_in_reset: bool = False) -> None:
        super().__init__(gymnasium.wrappers.TimeLimit(CartPoleEnv(), 500))
        unknown = failures.keys() - self.KINDS
        assert not unknown, unknown
        self.failures = failures
        self.fail_in_reset = fail_in_reset
        self.chaos = np.random.default_rng(0)

    KINDS = frozenset(
        ("raise", "die", "hang", "slow", "nan", "infinity", "nan_reward", "huge_reward", "shape", "dtype", "text")
    )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        if seed is not None:
            self.chaos = np.random.default_rng(seed)
        if self.fail_in_reset:
            raise RuntimeError("no new episode")
        return self.env.reset(seed=seed, options=options)

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        for kind, probability in self.failures.items():
            if self.chaos.random() < probability:
                observation, reward = self._fail(kind, observation, float(reward))
        return observation, reward, terminated, truncated, info

    def _fail(self, kind: str, observation: np.ndarray, reward: float) -> tuple[Any, float]:
        if kind == "raise":
            raise ArithmeticError("the pole broke")
        if kind == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "hang":
            time.sleep(1e6)
        if kind == "slow":
            time.sleep(0.3)
        if kind in ("nan", "infinity"):
            observation = observation * np.float32("nan" if kind == "nan" else "inf")
        if kind == "nan_reward":
            reward = float("nan")
        if kind == "huge_reward":
            reward = 1e300
        if kind == "shape":
            observation = np.zeros(3, np.float32)
        if kind == "dtype":
            observation = observation.astype(np.complex128)
        if kind == "text":
            observation = np.array(["a", "b", "c", "d"])
        return observation, reward
