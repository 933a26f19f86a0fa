"""The interface that environments must have; an error names what differs from it, and the cure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv

__all__ = [
    "CheckedEnv",
    "InterfaceError",
    "autoreset_mode",
    "make_checked",
    "require_vector_interface",
    "reset_results",
    "step_results",
]

_MODES = ", ".join(f"AutoresetMode.{mode.name}" for mode in AutoresetMode)


class InterfaceError(TypeError):
    """An environment differs from Gymnasium's interface; the message is a whole sentence."""


class CheckedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """One environment whose results are checked, and which is closed once at most.

    Observations are cast to the dtype of their space. Actions of spaces without axes become arrays. At the end of an
    episode, an empty action mask is left out of the info: Gymnasium's vector environments cannot batch it with those of
    the other environments.

    Raises :class:`InterfaceError` for missing spaces, and for results of another number, kind, shape or dtype.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        for name in ("observation_space", "action_space"):
            space = getattr(env, name, None)
            if space is None:
                raise InterfaceError(f"{_name(env)} has no {name}: set self.{name} in its __init__")
            if not isinstance(space, spaces.Space):
                raise InterfaceError(f"{_name(env)}.{name} must be a gymnasium.spaces.Space, got {_described(space)}")
        super().__init__(env)
        self._is_closed = False
        space = env.observation_space
        self._shape = space.shape
        self._dtype = None if space.shape is None or space.dtype is None else np.dtype(space.dtype)
        self._takes_scalars = _takes_scalars(env.action_space)

    @property
    def spec(self) -> EnvSpec | None:  # type: ignore[override]
        """The environment's own: this wrapper changes no task."""
        return self.env.spec

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = reset_results(self.env.reset(seed=seed, options=options))
        _require_dict("reset", info)
        return self._fitting(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if self._takes_scalars:
            action = _as_in_space(self.env.action_space, action)
        observation, reward, terminated, truncated, info = step_results(self.env.step(action))
        if not isinstance(reward, (float, int, np.floating, np.integer)):
            reward = _one_number(reward)
        if not isinstance(terminated, (bool, np.bool_)):
            terminated = _flag("terminated", terminated)
        if not isinstance(truncated, (bool, np.bool_)):
            truncated = _flag("truncated", truncated)
        _require_dict("step", info)
        if terminated or truncated:
            info = _without_empty_mask(info)
        return self._fitting(observation), reward, terminated, truncated, info

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self.env.close()

    def _fitting(self, observation: Any) -> Any:
        if self._dtype is None:  # such as of a Dict
            return observation
        array = observation if isinstance(observation, np.ndarray) else np.asarray(observation)
        if array.shape != self._shape:
            raise InterfaceError(f"the observation has shape {array.shape}, the observation space {self._shape}")
        if array.dtype is self._dtype or array.dtype == self._dtype:
            return array
        if not np.can_cast(array.dtype, self._dtype, "same_kind"):
            raise InterfaceError(f"the observation has dtype {array.dtype}, the observation space {self._dtype}")
        return array.astype(self._dtype)


def make_checked(factory: Callable[[], gymnasium.Env[Any, Any]]) -> CheckedEnv:
    """Makes one environment. Raises :class:`InterfaceError` unless the function returns one."""
    env: Any = factory()
    if isinstance(env, VectorEnv):
        raise InterfaceError("the function returned a vector environment: pass that itself, or return a single one")
    if isinstance(env, type):
        raise InterfaceError(f"the function returned the class {env.__name__}, not an environment: call the class")
    if not isinstance(env, gymnasium.Env):
        is_old = any(kind.__module__.split(".")[0] == "gym" for kind in type(env).__mro__)
        hint = ", which shimmy.GymV26CompatibilityV0 and GymV21CompatibilityV0 make of one of old Gym" if is_old else ""
        raise InterfaceError(f"the function must return a gymnasium.Env{hint}, got {_described(env)}")
    try:
        return CheckedEnv(env)
    except BaseException:
        env.close()
        raise


def step_results(results: Any) -> Any:
    """Returns the five results of a step. Raises :class:`InterfaceError` for another number."""
    if isinstance(results, (tuple, list)) and len(results) == 5:
        return results
    is_old = isinstance(results, (tuple, list)) and len(results) == 4
    hint = ": split old Gym's done into terminated (the task ended) and truncated (its time limit)" if is_old else ""
    raise InterfaceError(
        f"step() must return (observation, reward, terminated, truncated, info), got {_described(results)}{hint}"
    )


def reset_results(results: Any) -> Any:
    """Returns the two results of a reset. Raises :class:`InterfaceError` for another number."""
    if isinstance(results, (tuple, list)) and len(results) == 2:
        return results
    raise InterfaceError(f"reset() must return (observation, info), got {_described(results)}")


def autoreset_mode(env: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    """Returns when a vector environment resets. Raises ``ValueError`` if its metadata do not say so."""
    given = env.metadata.get("autoreset_mode")
    if given is None:
        raise ValueError(
            f'{_name(env)} does not say when it resets: set env.metadata = {{**env.metadata, "autoreset_mode": mode}}, '
            f"where mode is what the class does, of {_MODES}; Gymnasium's classes take autoreset_mode="
        )
    try:
        return AutoresetMode(given)
    except ValueError:
        raise ValueError(f'metadata["autoreset_mode"] of {_name(env)} must be one of {_MODES}, got {given!r}') from None


def require_vector_interface(env: VectorEnv[Any, Any, Any]) -> None:
    """Raises ``ValueError`` unless a vector environment has a size, spaces and an autoreset mode."""
    for name in ("num_envs", "single_observation_space", "single_action_space"):
        if getattr(env, name, None) is None:
            is_supersuit = type(env.unwrapped).__module__.split(".")[0] == "supersuit"
            cure = "wrap it in pgfast.envs.SuperSuitVectorEnv" if is_supersuit else f"set self.{name} in its __init__"
            raise ValueError(f"{_name(env)} has no {name}: {cure}")
    autoreset_mode(env)


def _takes_scalars(space: spaces.Space[Any]) -> bool:
    """Whether a part of an action has no axes but must be an array, as samples of all spaces but Discrete are."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        return any(map(_takes_scalars, space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces))
    return space.shape == () and not isinstance(space, spaces.Discrete)


def _as_in_space(space: spaces.Space[Any], action: Any) -> Any:
    """The action with arrays in place of the NumPy scalars that iterating over a batch yields."""
    if isinstance(space, spaces.Dict):
        return {key: _as_in_space(part, action[key]) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_as_in_space(part, value) for part, value in zip(space.spaces, action, strict=True))
    return action if isinstance(space, spaces.Discrete) else np.asarray(action)


def _one_number(reward: Any) -> float:
    array = np.asarray(reward)
    if array.shape == () and (array.dtype.kind in "biuf" or (array.dtype == object and hasattr(reward, "__float__"))):
        return float(reward)
    hint = ""
    if array.size == 1 and array.dtype.kind in "biuf":
        hint = ": return the number in it"
    elif array.ndim == 1 and array.dtype.kind in "biuf":
        hint = (
            ": weigh several objectives in a wrapper such as mo-gymnasium's LinearReward or "
            "gymnasium.wrappers.TransformReward"
        )
    raise InterfaceError(f"the reward must be one number, got {_described(reward)}{hint}")


def _flag(name: str, value: Any) -> bool:
    array = np.asarray(value)
    if array.shape == () and array.dtype.kind in "biuf":
        return bool(value)
    raise InterfaceError(f"{name} must be True or False, got {_described(value)}")


def _require_dict(method: str, info: Any) -> None:
    if not isinstance(info, dict):
        raise InterfaceError(f"the info of {method}() must be a dict, got {_described(info)}")


def _without_empty_mask(info: dict[str, Any]) -> dict[str, Any]:
    mask = info.get("action_mask", True)
    is_empty = mask is None or (hasattr(mask, "__len__") and len(mask) == 0)
    return {key: value for key, value in info.items() if key != "action_mask"} if is_empty else info


def _described(value: Any) -> str:
    """Describes a value by its type and size, without its content."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)} values"
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _name(env: Any) -> str:
    return type(env.unwrapped).__name__
