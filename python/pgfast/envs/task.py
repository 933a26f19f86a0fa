"""The registered task of an environment, by which its preset is found however it is given."""

from __future__ import annotations

from typing import Any

from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv

from pgfast.envs.atari import is_atari
from pgfast.envs.workers import WorkerVectorEnv

__all__ = ["task_id"]


def task_id(env: VectorEnv[Any, Any, Any]) -> str | None:
    """The id of the environments in a vector environment.

    None if they are not registered, or a wrapper changes the task; and for Atari, whose task is its native vector
    environment.
    """
    return _id_of(_spec(env)) if env is env.unwrapped else None


def _spec(env: VectorEnv[Any, Any, Any]) -> Any:
    spec: Any = env.spec
    if isinstance(env, SyncVectorEnv):
        spec = env.envs[0].spec
    elif isinstance(env, WorkerVectorEnv):
        spec = env.single_spec
    elif isinstance(env, AsyncVectorEnv):
        # Made like Gymnasium makes its first. get_attr would end the workers if the definition cannot be pickled.
        single = env.env_fns[0]()
        spec = single.spec
        single.close()
    return spec


def _id_of(spec: Any) -> str | None:
    is_gymnasiums = isinstance(spec, EnvSpec)  # EnvPool's environments have a spec of another class
    return spec.id if is_gymnasiums and not spec.additional_wrappers and not is_atari(spec) else None
