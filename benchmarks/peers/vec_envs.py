"""Native vector environments behind stable-baselines3's interface."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import Any

import ale_py
import envpool
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

__all__ = ["AleVecEnv", "EnvPoolVecEnv"]

StepResults = tuple[NDArray[Any], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]


class _NativeVecEnv(VecEnv):
    """What both have in common: nothing of one environment can be read or set."""

    @abstractmethod
    def step_wait(self) -> StepResults: ...

    def close(self) -> None:
        """Does nothing: the environments are freed at the end of the process."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Returns ``render_mode``, the one attribute that stable-baselines3 reads: None, as nothing is rendered."""
        if attr_name != "render_mode":
            raise AttributeError(attr_name)
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AttributeError(attr_name)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        raise AttributeError(method_name)

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


class AleVecEnv(_NativeVecEnv):
    """ale-py's. Clips rewards to their sign, ends episodes at lost lives and resets at once, like stable-baselines3."""

    def __init__(self, game: str, num_envs: int, num_threads: int) -> None:
        self._env = ale_py.AtariVectorEnv(
            game,
            num_envs,
            num_threads=num_threads,
            repeat_action_probability=0.0,
            autoreset_mode=AutoresetMode.SAME_STEP,
            life_loss_info=True,
            reward_clipping=True,
        )
        super().__init__(num_envs, self._env.single_observation_space, self._env.single_action_space)

    def reset(self) -> NDArray[np.uint8]:
        observations: NDArray[np.uint8] = self._env.reset(seed=0)[0]
        return observations

    def step_async(self, actions: NDArray[np.int64]) -> None:
        self._env.send(actions)

    def step_wait(self) -> StepResults:
        observations, rewards, terminated, truncated, info = self._env.recv()
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for index in np.flatnonzero(truncated & ~terminated):
            infos[index] = {"terminal_observation": info["final_obs"][index], "TimeLimit.truncated": True}
        return observations, rewards.astype(np.float32), terminated | truncated, infos


class EnvPoolVecEnv(_NativeVecEnv):
    """EnvPool's, of a task of Gymnasium. An environment whose episode ends is reset at once, by a call of its own."""

    def __init__(self, env_id: str, num_envs: int, num_threads: int) -> None:
        threads = min(num_threads, num_envs)
        with warnings.catch_warnings():  # of the double precision in which EnvPool describes its spaces
            warnings.filterwarnings("ignore", ".*precision lowered by casting")
            self._pool: Any = envpool.make_gymnasium(env_id, num_envs=num_envs, num_threads=threads, seed=0)
            super().__init__(num_envs, self._pool.observation_space, self._pool.action_space)

    def reset(self) -> NDArray[Any]:
        observations: NDArray[Any] = self._pool.reset()[0]
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        self._actions = actions.astype(self.action_space.dtype)

    def step_wait(self) -> StepResults:
        observations, rewards, terminated, truncated, _ = self._pool.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        dones = terminated | truncated
        for index in np.flatnonzero(dones):
            last = observations[index].copy()
            infos[index] = {"terminal_observation": last, "TimeLimit.truncated": truncated[index]}
            observations[index] = self._pool.reset(np.array([index], np.int32))[0][0]
        return observations, rewards, dones, infos
