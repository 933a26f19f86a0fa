"""PPO of stable-baselines3 as shipped: all environments in one process, which is fastest for cheap environments."""

from __future__ import annotations

from typing import Any

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from peers.sb3 import Sb3Training, sb3_breakout

__all__ = ["sb3_ppo", "sb3_ppo_breakout"]


def sb3_ppo(env_id: str, num_envs: int, *, normalize: bool, **settings: Any) -> Sb3Training:
    """Returns a training with two MLPs; ``settings`` are those of the library."""
    env: VecEnv = make_vec_env(env_id, num_envs, seed=0)
    if normalize:
        env = VecNormalize(env)
    return Sb3Training(PPO("MlpPolicy", env, device="cpu", seed=0, **settings))


def sb3_ppo_breakout(num_envs: int, **settings: Any) -> Sb3Training:
    """Returns a training on Breakout with the Nature network; ``settings`` are those of the library."""
    return Sb3Training(PPO("CnnPolicy", sb3_breakout(num_envs), device="cpu", seed=0, **settings))
