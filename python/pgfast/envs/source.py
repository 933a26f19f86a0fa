"""The sources of an agent's environments: an id, a vector environment, or a function that makes one environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType, NoneType
from typing import Any, TypeAlias

import gymnasium
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from pgfast.envs.action_masks import MaskSource, has_mask_method, require_masks, without_mask
from pgfast.envs.interface import require_vector_interface
from pgfast.envs.make import AnyVectorEnv, make_from_factory, make_from_id, require_vectorization
from pgfast.envs.options import EnvironmentOptions, Vectorization
from pgfast.envs.registration import registered_id, require_id
from pgfast.envs.spaces import SpaceInfo
from pgfast.envs.task import task_id
from pgfast.envs.watchdog import Watchdog
from pgfast.envs.workers import START_SECONDS

__all__ = ["EnvironmentLike", "EnvironmentSource"]

EnvironmentLike: TypeAlias = str | AnyVectorEnv | Callable[[], gymnasium.Env[Any, Any]]


class EnvironmentSource:
    """Makes an agent's environments. Raises ``TypeError`` for any other kind of ``env``.

    ``env_id`` is the id, ``num_envs`` the size of a vector environment; each is None if another kind was given.
    ``env_kwargs`` are the arguments of environments made from the id.
    """

    def __init__(self, env: EnvironmentLike, env_kwargs: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.env_id: str | None = None
        self.env_kwargs = dict(env_kwargs)
        self.num_envs: int | None = None
        self._task_id: str | None = None
        self._has_mask_method = False
        self._spaces: tuple[spaces.Space[Any], spaces.Space[Any]] | None = None
        self._vector: AnyVectorEnv | None = None
        self._factory: Callable[[], gymnasium.Env[Any, Any]] | None = None
        if isinstance(env, str):
            self.env_id = registered_id(env)
        elif isinstance(env, VectorEnv):
            require_vector_interface(env)
            self._vector, self.num_envs = env, env.num_envs
        elif isinstance(env, gymnasium.Env):
            raise TypeError("env is a single environment; pass a function that makes one, such as lambda: MyEnv()")
        elif callable(env):
            self._factory = env
        else:
            raise TypeError(
                "env must be an environment id, a gymnasium.vector.VectorEnv or a function that makes one "
                f"environment, got {type(env).__name__}"
            )

    @classmethod
    def of_file(cls, env_id: str, env_kwargs: Mapping[str, Any]) -> EnvironmentSource:
        """The environments that a file names, which need not be registered before one is made.

        Raises ``ValueError`` unless the id has the form of one, without a module to import.
        """
        require_id(env_id)
        return cls(env_id, env_kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle: a vector environment stays behind, and the source becomes None."""
        if self._vector is not None:
            return NoneType, ()
        return EnvironmentSource, (self.env_id or self._factory, self.env_kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> EnvironmentSource:
        return self

    @property
    def task_id(self) -> str | None:
        """The id that the environments are registered with; None if there is none, or a wrapper changes the task."""
        if self.env_id is not None:
            return self.env_id
        self.spaces()
        return self._task_id

    @property
    def known_id(self) -> str | None:
        """:attr:`task_id` if it is known without making an environment."""
        return self.env_id or self._task_id

    def spaces(self) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
        """(observation space, action space) of one environment"""
        if self._spaces is None:
            env = self.make(1, EnvironmentOptions(num_threads=1))
            self._spaces = env.single_observation_space, env.single_action_space
            self._task_id = task_id(env)
            self._has_mask_method = has_mask_method(env)
            self.close(env)
        return self._spaces

    def space_info(self, action_mask: MaskSource) -> SpaceInfo:
        """The spaces of an agent that takes action masks from there.

        Raises ``ValueError`` for spaces that no agent supports, or if there can be no masks.
        """
        observation, action = self.spaces()
        space = SpaceInfo.of(without_mask(observation, action_mask), action)
        require_masks(action_mask, space.action, has_method=self._has_mask_method)
        return space

    def require(self, vectorization: Vectorization, max_env_restarts: int) -> None:
        """Raises ``ValueError`` for options that :meth:`make` would refuse."""
        if self.env_id is not None:
            require_vectorization(self.env_id, vectorization, self.env_kwargs)
        elif vectorization == "envpool":
            raise ValueError('vectorization="envpool" is for environment ids')
        if self._vector is not None and max_env_restarts:
            raise ValueError(
                "max_env_restarts is for worker processes that pgfast makes; a vector environment was given"
            )
        if self.env_kwargs and self.env_id is None:
            raise ValueError("env_kwargs are for an environment id; set the arguments where the environment is made")

    def make(self, num_envs: int, options: EnvironmentOptions) -> AnyVectorEnv:
        """Returns new environments, to be reset with seeds, or the vector environment that was given."""
        if self.env_id is None and options.vectorization == "envpool":  # chosen for an id; others step in this process
            options = replace(options, vectorization="auto")
        self.require(options.vectorization, options.max_env_restarts)
        if self._vector is not None:
            return self._vector
        seconds, in_workers = options.env_timeout, options.vectorization == "async"
        with Watchdog(None if seconds is None or in_workers else max(seconds, START_SECONDS)):
            if self.env_id is not None:
                return make_from_id(self.env_id, num_envs, options, self.env_kwargs)
            assert self._factory is not None
            return make_from_factory(self._factory, num_envs, options)

    def close(self, env: AnyVectorEnv) -> None:
        """Closes environments that :meth:`make` made, but not a vector environment that was given."""
        if env is not self._vector:
            env.close()
