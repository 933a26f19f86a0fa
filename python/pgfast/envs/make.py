"""Vector environments from an id, a factory or a vector environment."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, TypeAlias

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv

from pgfast._native import core
from pgfast.envs.atari import AtariVecEnv, atari_game, is_atari, register_atari
from pgfast.envs.point import PointVectorEnv
from pgfast.envs.seeding import environment_seeds
from pgfast.envs.workers import WorkerVectorEnv

__all__ = ["Vectorization", "env_spec", "make_from_factory", "make_vec", "require_vectorization"]

Vectorization: TypeAlias = Literal["auto", "sync", "async"]
AnyVectorEnv: TypeAlias = VectorEnv[Any, Any, Any]


def env_spec(env_id: str) -> EnvSpec:
    """The registered definition of an id.

    An id names a registered environment and nothing else: the form ``module:Env-v0``, which imports the module, is
    refused. Raises ``ValueError``.
    """
    if not re.fullmatch(r"[\w/.-]+", env_id):
        raise ValueError(f'"{env_id}" is not an environment id: letters, digits, "_", "/", "." and "-" only')
    has_atari = register_atari()
    try:
        return gymnasium.spec(env_id)
    except gymnasium.error.Error as error:
        hint = "" if has_atari else ' Atari games need the extra: pip install "pgfast[atari]".'
        reason = str(error).rstrip(".")
        raise ValueError(f"{env_id} is not a registered environment: {reason}.{hint}") from None


def require_vectorization(env_id: str, vectorization: Vectorization) -> None:
    """Raises ``ValueError`` where an id's environments cannot be made a vector in this way."""
    if vectorization != "auto" and is_atari(env_spec(env_id)):
        raise ValueError(f'{env_id} runs on its native vector environment; vectorization must be "auto"')


def make_vec(
    env_id: str,
    num_envs: int,
    *,
    seed: int,
    num_threads: int | None = None,
    vectorization: Vectorization = "auto",
    env_timeout: float | None = None,
    max_env_restarts: int = 0,
    generation: int = 0,
) -> AnyVectorEnv:
    """A Gymnasium vector environment of ``num_envs`` copies, seeded.

    Atari ids give :class:`AtariVecEnv`; an id with a native vector environment gives that one; all others Gymnasium's
    ``SyncVectorEnv``, or with ``vectorization="async"`` one process per environment, see
    :class:`~pgfast.envs.workers.WorkerVectorEnv`.

    Args:
        env_id: a registered id, such as "CartPole-v1" or "BreakoutNoFrameskip-v4".
        num_envs: at least 1.
        seed: the environments' own seeds are hashed from it; the first ``reset()`` uses them.
        num_threads: threads of an Atari emulator; None for as many as the kernels use.
        env_timeout, max_env_restarts: for "async", the seconds that a step or a reset may take, and how many workers
            may be replaced.
        generation: tells apart environments made anew in the course of one run.

    Raises ``ValueError`` (unknown id, an id that cannot be represented, a number out of range).
    """
    if num_envs < 1:
        raise ValueError(f"make_vec: num_envs must be at least 1, got {num_envs}")
    if num_threads is not None and num_threads < 1:
        raise ValueError(f"make_vec: num_threads must be at least 1, got {num_threads}")
    spec = env_spec(env_id)
    seeds = environment_seeds(seed, num_envs, generation=generation)
    require_vectorization(env_id, vectorization)
    if is_atari(spec):
        return AtariVecEnv(atari_game(spec), num_envs, seeds=seeds, num_threads=num_threads or core.num_threads())
    env: AnyVectorEnv
    if vectorization == "async":
        factory = partial(_make_one, env_id)
        env = WorkerVectorEnv(factory, num_envs, timeout=env_timeout, max_restarts=max_env_restarts)
    else:
        own = vectorization == "auto" and _has_own_vector_env(spec)
        with _older_versions_welcome():
            env = gymnasium.make_vec(
                env_id, num_envs=num_envs, vectorization_mode="vector_entry_point" if own else "sync"
            )
    reset_with_seeds(env, seeds)
    return env


def _make_one(env_id: str) -> gymnasium.Env[Any, Any]:
    with _older_versions_welcome():
        return gymnasium.make(env_id)


@contextmanager
def _older_versions_welcome() -> Iterator[None]:
    """Who asks for an older version of a task, as the course's CartPole-v0, knows it: Gymnasium says so every time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is out of date", category=DeprecationWarning)
        yield


def _has_own_vector_env(spec: EnvSpec) -> bool:
    # Gymnasium's JAX environments are registered as phys2d/ and need jax; ask for them through a VectorEnv of your own.
    return spec.vector_entry_point is not None and not spec.id.startswith(("phys2d/", "tabular/"))


def make_from_factory(
    factory: Callable[[], gymnasium.Env[Any, Any]],
    num_envs: int,
    *,
    seed: int,
    vectorization: Vectorization = "auto",
    env_timeout: float | None = None,
    max_env_restarts: int = 0,
    generation: int = 0,
) -> AnyVectorEnv:
    """The same from a function that makes one environment."""
    env: AnyVectorEnv
    if vectorization == "async":
        env = WorkerVectorEnv(factory, num_envs, timeout=env_timeout, max_restarts=max_env_restarts)
    else:
        env = SyncVectorEnv([factory] * num_envs)
    if isinstance(env, SyncVectorEnv) and len({id(single.unwrapped) for single in env.envs}) < num_envs:
        raise ValueError(
            "the function that makes one environment must make a new one each time, it gave the same twice"
        )
    reset_with_seeds(env, environment_seeds(seed, num_envs, generation=generation))
    return env


def reset_with_seeds(env: AnyVectorEnv, seeds: list[int]) -> Any:
    """Resets with one seed per environment, in the form that the class takes; gives the observations."""
    if isinstance(env.unwrapped, (AtariVecEnv, PointVectorEnv, SyncVectorEnv, AsyncVectorEnv, WorkerVectorEnv)):
        return env.reset(seed=seeds)[0]  # type: ignore[arg-type]
    try:
        return env.reset(seed=seeds[0])[0]
    except (TypeError, gymnasium.error.Error):
        return env.reset(seed=seeds)[0]  # type: ignore[arg-type]
