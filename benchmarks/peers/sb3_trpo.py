"""TRPO of sb3-contrib, as the benchmark's peer."""

from __future__ import annotations

import time
from typing import Any

import torch
from sb3_contrib import TRPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize


class Sb3TRPO:
    """One training that goes on from call to call; the settings in sb3-contrib's words."""

    def __init__(self, env_id: str, num_envs: int, n_steps: int, threads: int, *, normalize: bool, **settings: Any):
        torch.set_num_threads(threads)
        env: VecEnv = make_vec_env(env_id, num_envs, seed=0)
        if normalize:
            env = VecNormalize(env)
        self.model = TRPO("MlpPolicy", env, n_steps=n_steps, device="cpu", seed=0, **settings)
        self._first = True

    def run(self, timesteps: int) -> float:
        """Timesteps per second."""
        before, began = self.model.num_timesteps, time.perf_counter()
        self.model.learn(timesteps, reset_num_timesteps=self._first)
        self._first = False
        return float((self.model.num_timesteps - before) / (time.perf_counter() - began))
