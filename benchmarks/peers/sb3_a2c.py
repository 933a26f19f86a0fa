"""A2C of stable-baselines3, as fast as that library goes.

On Breakout with environments of its own, as its users have it: ``make_atari_env``, stepped one after the other, which
is faster for it than a process for each. And with ale-py's native vector environment, which it does not come with.
"""

from __future__ import annotations

from typing import Any

import ale_py
import gymnasium
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack

from peers.sb3 import Sb3Training

__all__ = ["own_environments", "sb3_a2c", "sb3_a2c_breakout"]


def sb3_a2c(env_id: str, num_envs: int, **settings: Any) -> Sb3Training:
    """A training with a small MLP, environments in one process; the settings in stable-baselines3's words."""
    return Sb3Training(A2C("MlpPolicy", make_vec_env(env_id, num_envs, seed=0), device="cpu", seed=0, **settings))


def own_environments(num_envs: int) -> VecEnv:
    """Breakout as stable-baselines3 and rl-zoo3 make it."""
    gymnasium.register_envs(ale_py)
    return VecFrameStack(make_atari_env("BreakoutNoFrameskip-v4", num_envs, seed=0), n_stack=4)


def sb3_a2c_breakout(env: VecEnv, n_steps: int) -> Sb3Training:
    """A training on Breakout with the Nature network and the settings of rl-zoo3."""
    model = A2C(
        "CnnPolicy",
        env,
        n_steps=n_steps,
        ent_coef=0.01,
        vf_coef=0.25,
        policy_kwargs={"optimizer_class": RMSpropTFLike, "optimizer_kwargs": {"eps": 1e-5}},
        device="cpu",
        seed=0,
    )
    return Sb3Training(model)
