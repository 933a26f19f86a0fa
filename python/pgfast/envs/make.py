"""Vector environments from an id, a factory or a vector environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeAlias

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv

from pgfast._native import core
from pgfast.envs.atari import AtariVecEnv, atari_game, is_atari
from pgfast.envs.closing import close_at_end
from pgfast.envs.envpool import EnvPoolVectorEnv, require_envpool_task
from pgfast.envs.failures import EnvironmentFailure, describe
from pgfast.envs.interface import CheckedEnv, InterfaceError, make_checked
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
# Arguments that gymnasium.make_vec takes itself and does not pass on to the environment.
_RESERVED = {"id", "num_envs", "vectorization_mode", "vector_kwargs", "wrappers"}
_TAKES_SEEDS = (AtariVecEnv, EnvPoolVectorEnv, PointVectorEnv, SyncVectorEnv, AsyncVectorEnv, WorkerVectorEnv)
Wrapper: TypeAlias = Callable[[gymnasium.Env[Any, Any]], gymnasium.Env[Any, Any]]


def require_vectorization(env_id: str, vectorization: Vectorization, env_kwargs: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` if an id does not support this vectorization."""
    spec = env_spec(env_id)
    if vectorization != "auto" and is_atari(spec):
        raise ValueError(f'{env_id} runs on its native vector environment; vectorization must be "auto"')
    if vectorization == "envpool":
        require_envpool_task(spec, env_kwargs)


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
    :class:`~pgfast.envs.workers.WorkerVectorEnv`, one process per environment; with "envpool" an
    :class:`~pgfast.envs.envpool.EnvPoolVectorEnv`, for Gymnasium's classic-control and MuJoCo tasks; with "sync"
    Gymnasium's, even if the id has a native vector environment.

    Args:
        env_id: a registered id, such as "CartPole-v1" or "BreakoutNoFrameskip-v4"; or "module:id", which first imports
            the module that registers it.
        num_envs: at least 1.
        seed: one seed per environment is hashed from it; the first ``reset()`` uses these unless it is given others.
        num_threads: threads of an Atari emulator or of EnvPool; None for as many as the kernels use.
        env_timeout, max_env_restarts: for "async", the seconds that a step or a reset may take, and how many workers
            may be replaced.
        env_kwargs: arguments of the environment beside those that it is registered with.
        wrappers: applied to each environment in turn, which makes it run on its own and not in a native vector
            environment.
        generation: distinguishes the sets of environments that one run makes.

    Raises:
        ValueError: for an unknown id, an id or arguments that cannot be represented, or a number out of range.
        ImportError: if a module or a package that the environment needs is missing.
        RuntimeError: if an environment cannot be made, an :class:`~pgfast.envs.failures.EnvironmentFailure`.
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
    require_vectorization(env_id, options.vectorization, env_kwargs)
    if options.vectorization == "envpool":
        if wrappers:
            raise ValueError('vectorization="envpool" takes no wrappers')
        return EnvPoolVectorEnv(spec, env_kwargs, num_envs, num_threads=num_threads or core.num_threads())
    if is_atari(spec):
        if wrappers:
            raise ValueError(f"{env_id} runs on its native vector environment, which takes no wrappers")
        return AtariVecEnv(atari_game(spec, env_kwargs), num_envs, num_threads=num_threads or core.num_threads())
    # Gymnasium's JAX environments, phys2d/ and tabular/, need jax; users can pass them as a VectorEnv.
    has_native = spec.vector_entry_point is not None and not spec.id.startswith(("phys2d/", "tabular/"))
    if has_native and options.vectorization == "auto" and not wrappers:
        with _failures_named(lambda: None), _missing_packages_named(spec):
            return gymnasium.make_vec(spec, num_envs, vectorization_mode="vector_entry_point", **env_kwargs)
    env = make_from_factory(partial(_make_one, spec, env_kwargs, wrappers), num_envs, options)
    env.spec = spec
    return env


def make_from_factory(
    factory: Callable[[], gymnasium.Env[Any, Any]], num_envs: int, options: EnvironmentOptions
) -> AnyVectorEnv:
    """Makes a vector environment from a function that makes one environment.

    Raises :class:`EnvironmentFailure` if that fails, and closes the environments that were made before.
    """
    if options.vectorization == "async":
        return WorkerVectorEnv(factory, num_envs, timeout=options.env_timeout, max_restarts=options.max_env_restarts)
    made: list[CheckedEnv] = []
    with ExitStack() as to_close:

        def make() -> CheckedEnv:
            env = make_checked(factory)
            if any(env.unwrapped is other.unwrapped for other in made):
                raise InterfaceError("the function must make a new environment each time, it returned the same twice")
            to_close.callback(env.close)
            made.append(env)
            return env

        with _failures_named(lambda: len(made) if len(made) < num_envs else None):
            env = SyncVectorEnv([make] * num_envs)
        close_at_end(env, to_close.pop_all().close)
    return env


def reset_with_seeds(env: AnyVectorEnv, seeds: list[int], **options: Any) -> tuple[Any, dict[str, Any]]:
    """Resets with one seed per environment, or with the first seed if the class is not known to take a list."""
    if isinstance(env.unwrapped, _TAKES_SEEDS):
        return env.reset(seed=seeds, **options)  # type: ignore[arg-type]
    try:
        return env.reset(seed=seeds[0], **options)
    except (TypeError, gymnasium.error.Error):
        return env.reset(seed=seeds, **options)  # type: ignore[arg-type]


def _make_one(spec: EnvSpec, env_kwargs: Mapping[str, Any], wrappers: Sequence[Wrapper]) -> gymnasium.Env[Any, Any]:
    """Makes an environment from its definition: in a worker process, its id may not be registered."""
    with _missing_packages_named(spec):
        env: gymnasium.Env[Any, Any] = gymnasium.make(spec, **env_kwargs)
    for wrapper in wrappers:
        env = wrapper(env)
    return env


@contextmanager
def _failures_named(number: Callable[[], int | None]) -> Iterator[None]:
    """Raises :class:`EnvironmentFailure` for the environment whose ``number()`` is being made."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:  # environments may raise anything
        raise EnvironmentFailure(number(), None, describe(error)) from error


@contextmanager
def _missing_packages_named(spec: EnvSpec) -> Iterator[None]:
    """Raises ``ImportError`` in one sentence if an environment needs a package that is not installed."""
    try:
        yield
    except gymnasium.error.DependencyNotInstalled as error:
        reason = str(error).rstrip(".")
        hint = ' or pip install "pgfast[box2d]"' if "box2d" in reason.lower() else ""
        raise ImportError(f"{spec.id} needs a package that is missing: {reason}{hint}") from error
