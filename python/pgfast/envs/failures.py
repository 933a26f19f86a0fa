"""Failures of environments, with the number of the environment that failed."""

from __future__ import annotations

import errno
import os
import resource
from types import TracebackType
from typing import Any

import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorEnv

from pgfast._typing import Array

__all__ = ["EnvironmentFailure", "explain", "require_shapes", "with_cure"]


class EnvironmentFailure(RuntimeError):  # noqa: N818 - the error is the environment's
    """An environment raised, died, hung or left its spaces. ``environment`` is its number, None if unknown."""

    def __init__(self, environment: int | None, step: int, cause: str) -> None:
        cause = with_cure(cause)
        super().__init__(environment, step, cause)
        self.environment = environment
        self.step = step
        self.cause = cause

    def __str__(self) -> str:
        which = "an environment" if self.environment is None else f"environment {self.environment}"
        return f"{which} failed at step {self.step}: {self.cause}"


def explain(error: Exception, env: VectorEnv[Any, Any, Any], step: int) -> EnvironmentFailure:
    """Wraps an error of a vector environment, with the number of the environment that raised it if known."""
    return EnvironmentFailure(_culprit(error, env), step, f"{type(error).__name__}: {error}")


def require_shapes(env: VectorEnv[Any, Any, Any], step: int, observations: Any, **rows: Any) -> None:
    """Raises :class:`EnvironmentFailure` unless observations fit their space and ``rows`` are ``[N]`` each."""
    expected = (env.num_envs, *(env.single_observation_space.shape or ()))
    if np.shape(observations) != expected:
        raise EnvironmentFailure(None, step, f"observations have shape {np.shape(observations)}, not {expected}")
    for name, values in rows.items():
        if np.shape(values) != (env.num_envs,):
            raise EnvironmentFailure(None, step, f"{name} has shape {np.shape(values)}, not ({env.num_envs},)")


def with_cure(message: str) -> str:
    """The message of an error; if the process has too many open files, followed by what helps."""
    cure = "use fewer environments"
    if os.strerror(errno.EMFILE) not in message or cure in message:
        return message
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        cure += (
            f" or raise the limit of {soft} with: ulimit -n {'unlimited' if hard == resource.RLIM_INFINITY else hard}"
        )
    return f"{message}; {cure}"


def _culprit(error: Exception, env: VectorEnv[Any, Any, Any]) -> int | None:
    """Finds the environment, which Gymnasium does not name: in the frames of its loop, or by an unexpected shape."""
    inner = env.unwrapped
    if not isinstance(inner, SyncVectorEnv):
        return None
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        names = trace.tb_frame.f_locals
        if names.get("self") is inner and isinstance(names.get("i"), int) and trace.tb_next is not None:
            called = trace.tb_next.tb_frame.f_code.co_name
            if called in ("step", "reset"):
                return int(names["i"])
        trace = trace.tb_next
    latest: tuple[Array, ...] = tuple(getattr(inner, "_env_obs", ()))
    shape = inner.single_observation_space.shape
    odd = [index for index, observation in enumerate(latest) if np.shape(observation) != shape]
    return odd[0] if odd else None
