"""Where an agent's environments come from: an id, a vector environment, or a function that makes one environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import gymnasium
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from pgfast.envs.make import (
    AnyVectorEnv,
    Vectorization,
    make_from_factory,
    make_vec,
    require_vectorization,
    reset_with_seeds,
)
from pgfast.envs.seeding import environment_seeds
from pgfast.envs.watchdog import Watchdog
from pgfast.envs.workers import START_SECONDS

__all__ = ["EnvironmentLike", "EnvironmentSource"]

EnvironmentLike: TypeAlias = str | AnyVectorEnv | Callable[[], gymnasium.Env[Any, Any]]


class EnvironmentSource:
    """Makes an agent's environments. Raises ``TypeError`` if ``env`` is none of the three kinds."""

    def __init__(self, env: EnvironmentLike) -> None:
        self.env_id: str | None = None
        self._vector: AnyVectorEnv | None = None
        self._factory: Callable[[], gymnasium.Env[Any, Any]] | None = None
        if isinstance(env, str):
            self.env_id = env
        elif isinstance(env, VectorEnv):
            self._vector = env
        elif isinstance(env, gymnasium.Env):
            raise TypeError("env is a single environment; pass a function that makes one, such as lambda: MyEnv()")
        elif callable(env):
            self._factory = env
        else:
            raise TypeError(
                "env must be an environment id, a gymnasium.vector.VectorEnv or a function that makes one "
                f"environment, got {type(env).__name__}"
            )

    @property
    def num_envs(self) -> int | None:
        """Environments of a vector environment that was given; None where this class makes them."""
        return None if self._vector is None else self._vector.num_envs

    def spaces(self) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
        """(observation space, action space) of one environment."""
        if self._vector is not None:
            return self._vector.single_observation_space, self._vector.single_action_space
        env = self.make(1, seed=0, num_threads=1)
        found = env.single_observation_space, env.single_action_space
        env.close()
        return found

    def require(self, vectorization: Vectorization, max_env_restarts: int) -> None:
        """Raises ``ValueError`` for what :meth:`make` would refuse."""
        if self.env_id is not None:
            require_vectorization(self.env_id, vectorization)
        if self._vector is not None and max_env_restarts:
            raise ValueError(
                "max_env_restarts is for worker processes that pgfast makes; a vector environment was given"
            )

    def make(
        self,
        num_envs: int,
        *,
        seed: int,
        generation: int = 0,
        num_threads: int | None = None,
        vectorization: Vectorization = "auto",
        env_timeout: float | None = None,
        max_env_restarts: int = 0,
    ) -> AnyVectorEnv:
        """New environments; a vector environment that was given is reset instead, and is the same object."""
        self.require(vectorization, max_env_restarts)
        if self._vector is not None:
            reset_with_seeds(self._vector, environment_seeds(seed, self._vector.num_envs, generation=generation))
            return self._vector
        in_workers = vectorization == "async"
        with Watchdog(None if env_timeout is None or in_workers else max(env_timeout, START_SECONDS)):
            if self.env_id is not None:
                return make_vec(
                    self.env_id,
                    num_envs,
                    seed=seed,
                    num_threads=num_threads,
                    vectorization=vectorization,
                    env_timeout=env_timeout,
                    max_env_restarts=max_env_restarts,
                    generation=generation,
                )
            assert self._factory is not None
            return make_from_factory(
                self._factory,
                num_envs,
                seed=seed,
                vectorization=vectorization,
                env_timeout=env_timeout,
                max_env_restarts=max_env_restarts,
                generation=generation,
            )

    def close(self, env: AnyVectorEnv) -> None:
        """Closes what ``make`` gave; a vector environment that was given stays its owner's."""
        if env is not self._vector:
            env.close()
