"""Training with stable-baselines3 and sb3-contrib."""

from __future__ import annotations

import ale_py
import gymnasium
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize

from peers.torch_training import TorchTraining
from peers.vec_envs import EnvPoolVecEnv
from threads import all_threads

__all__ = ["Sb3Training", "sb3_breakout", "sb3_envs"]


class Sb3Training(TorchTraining):
    """The training of a model of the library."""

    def __init__(self, model: OnPolicyAlgorithm) -> None:
        self.model = model
        self._first = True

    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.policy.parameters())

    def train(self, timesteps: int) -> int:
        before = self.model.num_timesteps
        self.model.learn(timesteps, reset_num_timesteps=self._first)
        self._first = False
        return self.model.num_timesteps - before


def sb3_breakout(num_envs: int) -> VecEnv:
    """Returns Breakout as stable-baselines3 and rl-zoo3 make it."""
    gymnasium.register_envs(ale_py)
    return VecFrameStack(make_atari_env("BreakoutNoFrameskip-v4", num_envs, seed=0), n_stack=4)


def sb3_envs(env_id: str, num_envs: int, *, normalize: bool, envpool: bool) -> VecEnv:
    """Returns environments in one process, which is fastest for cheap ones, or EnvPool's on all threads."""
    env = EnvPoolVecEnv(env_id, num_envs, all_threads()) if envpool else make_vec_env(env_id, num_envs, seed=0)
    return VecNormalize(env) if normalize else env
