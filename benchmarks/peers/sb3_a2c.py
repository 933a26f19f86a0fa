"""A2C of stable-baselines3, as fast as that library goes.

On Breakout it is fed by ale-py's native vector environment: its own Atari wrappers need OpenCV, and stepping
16 wrapped emulators one after the other is slower than this.
"""

from __future__ import annotations

from typing import Any

from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike

from peers.ale_vec_env import AleVecEnv
from peers.sb3 import Sb3Training

__all__ = ["sb3_a2c", "sb3_a2c_breakout"]


def sb3_a2c(env_id: str, num_envs: int, **settings: Any) -> Sb3Training:
    """A training with a small MLP, environments in one process; the settings in stable-baselines3's words."""
    return Sb3Training(A2C("MlpPolicy", make_vec_env(env_id, num_envs, seed=0), device="cpu", seed=0, **settings))


def sb3_a2c_breakout(num_envs: int, n_steps: int, num_threads: int) -> Sb3Training:
    """A training on Breakout with the Nature network and the settings of rl-zoo3."""
    model = A2C(
        "CnnPolicy",
        AleVecEnv("breakout", num_envs, num_threads),
        n_steps=n_steps,
        ent_coef=0.01,
        vf_coef=0.25,
        policy_kwargs={"optimizer_class": RMSpropTFLike, "optimizer_kwargs": {"eps": 1e-5}},
        device="cpu",
        seed=0,
    )
    return Sb3Training(model)
