"""TRPO of sb3-contrib, with its own environments or EnvPool's."""

from __future__ import annotations

from typing import Any

from sb3_contrib import TRPO

from peers.sb3 import Sb3Training, sb3_envs

__all__ = ["sb3_trpo"]


def sb3_trpo(env_id: str, num_envs: int, *, normalize: bool, envpool: bool, **settings: Any) -> Sb3Training:
    """Returns a training; ``settings`` are those of sb3-contrib's TRPO."""
    env = sb3_envs(env_id, num_envs, normalize=normalize, envpool=envpool)
    return Sb3Training(TRPO("MlpPolicy", env, device="cpu", seed=0, **settings))
