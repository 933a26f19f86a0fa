"""TRPO of sb3-contrib as shipped: all environments in one process, which is fastest for cheap environments."""

from __future__ import annotations

from typing import Any

from sb3_contrib import TRPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from peers.sb3 import Sb3Training

__all__ = ["sb3_trpo"]


def sb3_trpo(env_id: str, num_envs: int, *, normalize: bool, **settings: Any) -> Sb3Training:
    """Returns a training; ``settings`` are those of sb3-contrib's TRPO."""
    env: VecEnv = make_vec_env(env_id, num_envs, seed=0)
    if normalize:
        env = VecNormalize(env)
    return Sb3Training(TRPO("MlpPolicy", env, device="cpu", seed=0, **settings))
