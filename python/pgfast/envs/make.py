"""Vector environments from an id, a factory or a vector environment."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

import gymnasium
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv

from pgfast._native import core
from pgfast.envs.atari import AtariVecEnv, atari_game, is_atari
from pgfast.envs.options import EnvironmentOptions, Vectorization
from pgfast.envs.point import PointVectorEnv
from pgfast.envs.registration import env_spec, registered_id
from pgfast.envs.seeding import environment_seeds
from pgfast.envs.workers import WorkerVectorEnv

__all__ = [
    "AnyVectorEnv",
    "make_from_factory",
    "make_from_id",
    "make_vec",
    "require_vectorization",
    "reset_with_seeds",
]

AnyVectorEnv: TypeAlias = VectorEnv[Any, Any, Any]
# What gymnasium.make_vec would not pass on to the environment.
_RESERVED = {"id", "num_envs", "vectorization_mode", "vector_kwargs", "wrappers"}
Wrapper: TypeAlias = Callable[[gymnasium.Env[Any, Any]], gymnasium.Env[Any, Any]]


def require_vectorization(env_id: str, vectorization: Vectorization) -> None:
    """Raises ``ValueError`` if an id does not support this vectorization."""
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
    env_kwargs: Mapping[str, Any] | None = None,
    wrappers: Sequence[Wrapper] = (),
    generation: int = 0,
) -> AnyVectorEnv:
    """Makes a Gymnasium vector environment of ``num_envs`` copies, whose first ``reset()`` is seeded.

    For an Atari id this is an :class:`AtariVecEnv`; for an id with a native vector environment, that one; for any other
    id, Gymnasium's ``SyncVectorEnv``. With ``vectorization="async"`` it is a
    :class:`~pgfast.envs.workers.WorkerVectorEnv`, one process per environment.

    Args:
        env_id: a registered id, such as "CartPole-v1" or "BreakoutNoFrameskip-v4"; or "module:id", which first imports
            the module that registers it.
        num_envs: at least 1.
        seed: one seed per environment is hashed from it; the first ``reset()`` uses these unless it is given others.
        num_threads: threads of an Atari emulator; None for as many as the kernels use.
        env_timeout, max_env_restarts: for "async", the seconds that a step or a reset may take, and how many workers
            may be replaced.
        env_kwargs: arguments of the environment beside those that it is registered with.
        wrappers: applied to each environment in turn, which makes it run on its own and not in a native vector
            environment.
        generation: distinguishes the sets of environments that one run makes.

    Raises:
        ValueError: for an unknown id, an id or arguments that cannot be represented, or a number out of range.
        ImportError: if a module or a package that the environment needs is missing.
    """
    options = EnvironmentOptions(
        num_threads=num_threads, vectorization=vectorization, env_timeout=env_timeout, max_env_restarts=max_env_restarts
    )
    seeds = environment_seeds(seed, num_envs, generation=generation)
    env = make_from_id(registered_id(env_id), num_envs, options, env_kwargs or {}, wrappers)

    def first_reset(*, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        del env.reset  # restores the method of the class
        if seed is None:
            return reset_with_seeds(env, seeds, options=options)
        return env.reset(seed=seed, options=options)

    env.reset = first_reset  # type: ignore[method-assign]
    return env


def make_from_id(
    env_id: str,
    num_envs: int,
    options: EnvironmentOptions,
    env_kwargs: Mapping[str, Any],
    wrappers: Sequence[Wrapper] = (),
) -> AnyVectorEnv:
    """Makes the environments of :func:`make_vec`, to be reset with seeds. Raises as it does."""
    num_threads = options.num_threads
    if num_envs < 1:
        raise ValueError(f"make_vec: num_envs must be at least 1, got {num_envs}")
    if num_threads is not None and num_threads < 1:
        raise ValueError(f"make_vec: num_threads must be at least 1, got {num_threads}")
    reserved = sorted(env_kwargs.keys() & _RESERVED)
    if reserved:
        raise ValueError(f"env_kwargs are for the environment itself, which takes no {', '.join(reserved)}")
    spec = env_spec(env_id)
    require_vectorization(env_id, options.vectorization)
    if is_atari(spec):
        if wrappers:
            raise ValueError(f"{env_id} runs on its native vector environment, which takes no wrappers")
        return AtariVecEnv(atari_game(spec, env_kwargs), num_envs, num_threads=num_threads or core.num_threads())
    if options.vectorization == "async" or wrappers:
        return make_from_factory(partial(_make_one, env_id, env_kwargs, wrappers), num_envs, options)
    # Gymnasium's JAX environments, phys2d/ and tabular/, need jax; users can pass them as a VectorEnv.
    has_native = spec.vector_entry_point is not None and not spec.id.startswith(("phys2d/", "tabular/"))
    mode = "vector_entry_point" if has_native and options.vectorization == "auto" else "sync"
    with _older_versions_welcome(), _failures_named(env_id, env_kwargs):
        return gymnasium.make_vec(env_id, num_envs, vectorization_mode=mode, **env_kwargs)


def make_from_factory(
    factory: Callable[[], gymnasium.Env[Any, Any]], num_envs: int, options: EnvironmentOptions
) -> AnyVectorEnv:
    """Makes a vector environment from a function that makes one environment."""
    if options.vectorization == "async":
        return WorkerVectorEnv(factory, num_envs, timeout=options.env_timeout, max_restarts=options.max_env_restarts)
    env = SyncVectorEnv([factory] * num_envs)
    if len({id(single.unwrapped) for single in env.envs}) < num_envs:
        raise ValueError(
            "the function that makes one environment must make a new one each time, it gave the same twice"
        )
    return env


def reset_with_seeds(env: AnyVectorEnv, seeds: list[int], **options: Any) -> tuple[Any, dict[str, Any]]:
    """Resets with one seed per environment, or with the first seed if the class is not known to take a list."""
    if isinstance(env.unwrapped, (AtariVecEnv, PointVectorEnv, SyncVectorEnv, AsyncVectorEnv, WorkerVectorEnv)):
        return env.reset(seed=seeds, **options)  # type: ignore[arg-type]
    try:
        return env.reset(seed=seeds[0], **options)
    except (TypeError, gymnasium.error.Error):
        return env.reset(seed=seeds, **options)  # type: ignore[arg-type]


def _make_one(env_id: str, env_kwargs: Mapping[str, Any], wrappers: Sequence[Wrapper]) -> gymnasium.Env[Any, Any]:
    with _older_versions_welcome(), _failures_named(env_id, env_kwargs):
        env: gymnasium.Env[Any, Any] = gymnasium.make(env_id, **env_kwargs)
    for wrapper in wrappers:
        env = wrapper(env)
    return env


@contextmanager
def _failures_named(env_id: str, env_kwargs: Mapping[str, Any]) -> Iterator[None]:
    """Raises in one sentence if an environment needs a package that is missing or refuses its arguments."""
    try:
        yield
    except gymnasium.error.DependencyNotInstalled as error:
        reason = str(error).rstrip(".")
        hint = ' or pip install "pgfast[box2d]"' if "box2d" in reason.lower() else ""
        raise ImportError(f"{env_id} needs a package that is missing: {reason}{hint}") from error
    except TypeError as error:
        if not env_kwargs:
            raise
        raise ValueError(f"{env_id} cannot be made with env_kwargs {dict(env_kwargs)}: {error}") from error


@contextmanager
def _older_versions_welcome() -> Iterator[None]:
    """Silences Gymnasium's out-of-date warning: the user asked for this version, such as the course's CartPole-v0."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is out of date", category=DeprecationWarning)
        yield
