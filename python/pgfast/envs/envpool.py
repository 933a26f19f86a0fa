"""Gymnasium's classic-control and MuJoCo tasks in EnvPool's vector environments, which are C++."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from pgfast._typing import Array, BoolArray

__all__ = ["EnvPoolVectorEnv", "require_envpool_task"]

_TASKS = ("gymnasium.envs.classic_control.", "gymnasium.envs.mujoco.")
_alive: WeakSet[EnvPoolVectorEnv] = WeakSet()
_held: list[Any] = []


def _hold_pools() -> None:
    """Keeps all pools alive in a process that is about to be forked.

    A pool's destructor crashes in the child, which has none of the pool's threads.
    """
    _held.extend(env._pool for env in _alive)


os.register_at_fork(before=_hold_pools, after_in_parent=_held.clear)


class EnvPoolVectorEnv(VectorEnv[Array, Array, Array]):
    """``num_envs`` copies of a task in one of EnvPool's pools (autoreset on the next step).

    Spaces are those of Gymnasium's environment. Rewards are float32, as EnvPool returns them. The row after an
    episode's end only resets: its reward is 0, and the action is ignored. An episode that terminates at the step of its
    time limit is reported as truncated alone.

    The environments run on ``num_threads`` threads; results do not depend on the number. Every environment has random
    numbers of its own.

    Raises ``ImportError`` without EnvPool, and ``ValueError`` for a task or arguments that it lacks.
    """

    def __init__(self, spec: EnvSpec, env_kwargs: Mapping[str, Any], num_envs: int, *, num_threads: int) -> None:
        require_envpool_task(spec, env_kwargs)
        self.spec, self._id = spec, spec.id
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.num_envs = num_envs
        self._config = _task_config(spec, env_kwargs)
        self._num_threads = min(num_threads, num_envs)
        with _unwarned():
            described = _import_envpool().make_spec(spec.id, **self._config)
            self.single_observation_space = described.observation_space
            self.single_action_space = _in_single_precision(described.action_space)
            self._action_dtype = described.action_space.dtype
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._pool: Any = None
        _alive.add(self)

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Starts new episodes.

        ``seed`` is one per environment, or an int for seed, seed + 1, ...; None continues the environments' random
        numbers. There are no options.
        """
        if options:
            raise ValueError(f"EnvPoolVectorEnv.reset: options are not supported, got {sorted(options)}")
        if seed is None and self._pool is None:
            seed = np.random.SeedSequence().generate_state(self.num_envs).tolist()
        if seed is not None:  # EnvPool takes seeds only when it makes its environments
            seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else [int(each) for each in seed]
            if len(seeds) != self.num_envs:
                raise ValueError(f"EnvPoolVectorEnv.reset: seed must have {self.num_envs} numbers, got {len(seeds)}")
            self.close_extras()
            seeds = [each % 2**31 for each in seeds]
            with _unwarned():
                self._pool = _import_envpool().make_gymnasium(
                    self._id, num_envs=self.num_envs, num_threads=self._num_threads, seed=seeds, **self._config
                )
                _ = self._pool.observation_space, self._pool.action_space  # made when they are first asked for
        observations, _ = self._pool.reset()
        return observations, {}

    def step(self, actions: Array) -> tuple[Array, Array, BoolArray, BoolArray, dict[str, Any]]:
        """Takes ``actions`` ``[N, ...]`` of the action space."""
        if self._pool is None:
            raise RuntimeError("EnvPoolVectorEnv.step: call reset first")
        observations, rewards, terminated, truncated, _ = self._pool.step(np.asarray(actions, self._action_dtype))
        return observations, rewards, terminated, truncated, {}

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the threads of the pool."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


def require_envpool_task(spec: EnvSpec, env_kwargs: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` unless EnvPool has the task that an id is registered with, and takes its arguments."""
    if not str(spec.entry_point).startswith(_TASKS):
        raise ValueError(
            f'vectorization="envpool" is for the classic-control and MuJoCo tasks of Gymnasium; {spec.id} is another'
        )
    if spec.additional_wrappers:
        raise ValueError(f'{spec.id} is registered with wrappers, which vectorization="envpool" cannot apply')
    envpool = _import_envpool()
    if spec.id not in envpool.list_all_envs():
        raise ValueError(f'EnvPool {envpool.__version__} has no {spec.id}; take vectorization="sync" or "async"')
    known = [name for name in envpool.make_spec(spec.id).config._fields if name in _known_to_gymnasium(spec)]
    unknown = sorted({**spec.kwargs, **env_kwargs}.keys() - set(known))
    if unknown:
        raise ValueError(f"EnvPool's {spec.id} takes the env_kwargs {', '.join(known)}, got {', '.join(unknown)}")
    try:
        envpool.make_spec(spec.id, **_task_config(spec, env_kwargs))
    except (TypeError, ValueError) as error:
        raise ValueError(f"EnvPool's {spec.id} does not take the env_kwargs {dict(env_kwargs)!r:.200}") from error


def _known_to_gymnasium(spec: EnvSpec) -> set[str]:
    """The arguments of Gymnasium's environment, by which evaluation elsewhere and videos make it."""
    creator: Any = load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
    return {"max_episode_steps", *inspect.signature(creator).parameters}


def _task_config(spec: EnvSpec, env_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    limit = {} if spec.max_episode_steps is None else {"max_episode_steps": spec.max_episode_steps}
    return {**limit, **spec.kwargs, **env_kwargs}


def _in_single_precision(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The action space of Gymnasium's environment: EnvPool's is in double precision for MuJoCo's tasks."""
    if isinstance(space, spaces.Box):
        return spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)
    return space


@contextmanager
def _unwarned() -> Iterator[None]:
    """Hides Gymnasium's warnings of the double precision in which EnvPool describes spaces of single precision."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*precision lowered by casting")
        yield


def _import_envpool() -> Any:
    try:
        import envpool
    except ImportError as error:
        raise ImportError('vectorization="envpool" needs EnvPool: pip install "pgfast[envpool]"') from error
    return envpool
