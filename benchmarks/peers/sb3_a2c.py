"""A2C of stable-baselines3, as fast as the library can be.

On Breakout it runs with its default environments, as its users have them: ``make_atari_env``, stepped one after the
other, which is faster than a process for each. It also runs with ale-py's native vector environment, which is not part
of the library.
"""

from __future__ import annotations

from typing import Any

from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.vec_env import VecEnv

from peers.sb3 import Sb3Training

__all__ = ["sb3_a2c", "sb3_a2c_breakout"]


def sb3_a2c(env_id: str, num_envs: int, **settings: Any) -> Sb3Training:
    """Returns a training with a small MLP and environments in one process; ``settings`` are those of the library."""
    return Sb3Training(A2C("MlpPolicy", make_vec_env(env_id, num_envs, seed=0), device="cpu", seed=0, **settings))


def sb3_a2c_breakout(env: VecEnv, n_steps: int) -> Sb3Training:
    """Returns a training on Breakout with the Nature network and the settings of rl-zoo3."""
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
