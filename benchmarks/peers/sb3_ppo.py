"""PPO of stable-baselines3, with its own environments or EnvPool's."""

from __future__ import annotations

from typing import Any

from stable_baselines3 import PPO

from peers.sb3 import Sb3Training, sb3_breakout, sb3_envs

__all__ = ["sb3_ppo", "sb3_ppo_breakout"]


def sb3_ppo(env_id: str, num_envs: int, *, normalize: bool, envpool: bool, **settings: Any) -> Sb3Training:
    """Returns a training with two MLPs; ``settings`` are those of the library."""
    env = sb3_envs(env_id, num_envs, normalize=normalize, envpool=envpool)
    return Sb3Training(PPO("MlpPolicy", env, device="cpu", seed=0, **settings))


def sb3_ppo_breakout(num_envs: int, **settings: Any) -> Sb3Training:
    """Returns a training on Breakout with the Nature network; ``settings`` are those of the library."""
    return Sb3Training(PPO("CnnPolicy", sb3_breakout(num_envs), device="cpu", seed=0, **settings))
