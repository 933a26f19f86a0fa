"""Failures of environments, with the number of the environment that failed and, if it is known, the cure."""

from __future__ import annotations

import errno
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorEnv

from pgfast._typing import Array
from pgfast.envs.interface import InterfaceError

__all__ = ["EnvironmentFailure", "describe", "explain", "with_cure"]

_CURES = [
    (r"reset\(\) got an unexpected keyword argument", "define reset(self, *, seed=None, options=None)"),
    (r"multiple emulator instances", 'vectorization="async" runs each environment in a process of its own'),
]
# Gymnasium's wrappers and vector environments raise these for environments with old Gym's interface.
_UNPACKED = [
    (r"values to unpack \(expected 5", "step() must return (observation, reward, terminated, truncated, info)"),
    (r"values to unpack \(expected 2", "reset() must return (observation, info)"),
    (r"object has no attribute 'items'", "step() and reset() must return a dict as info"),
    (r"setting an array element with a sequence|0-dimensional arrays", "the reward must be one number"),
]
_SHAPES = r"could not broadcast|setting an array element with a sequence"
_BATCHED = [(_SHAPES, "an array in infos needs the same shape in all environments")]  # where Gymnasium batches infos


class EnvironmentFailure(RuntimeError):  # noqa: N818 - the error is the environment's
    """An environment raised, died, hung or left its spaces.

    ``environment`` is its number, None if unknown; ``step`` counts from 1, 0 is the reset, and at None the environment
    could not be made.
    """

    def __init__(self, environment: int | None, step: int | None, cause: str) -> None:
        cause = with_cure(cause)
        super().__init__(environment, step, cause)
        self.environment = environment
        self.step = step
        self.cause = cause

    def __str__(self) -> str:
        which = "an environment" if self.environment is None else f"environment {self.environment}"
        what = "could not be made" if self.step is None else f"failed at step {self.step}"
        return f"{which} {what}: {self.cause}"


def describe(error: BaseException) -> str:
    """An environment's error in one line: its type, its message or else the method that raised it, and the cure."""
    if isinstance(error, InterfaceError):
        return str(error)
    *_, innermost = (None, *_traces(error))
    message = " ".join(str(error).split())
    if message:
        text = f"{type(error).__name__}: {message}"
    elif innermost is None:
        text = type(error).__name__
    else:
        text = f"{type(error).__name__} in {_method(innermost)}"
    cures = list(_CURES)
    if innermost is not None and innermost.tb_frame.f_globals.get("__name__", "").startswith("gymnasium."):
        cures += _BATCHED * (innermost.tb_frame.f_code.co_name == "_add_info") + _UNPACKED
    return next((f"{text.rstrip('.')}; {cure}" for pattern, cure in cures if re.search(pattern, message)), text)


def explain(error: Exception, env: VectorEnv[Any, Any, Any], step: int) -> EnvironmentFailure:
    """Wraps an error of a vector environment, with the number of the environment that raised it if known."""
    return EnvironmentFailure(_culprit(error, env), step, describe(error))


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


def _traces(error: BaseException) -> Iterator[TracebackType]:
    """The frames that an error passed through, from the outermost to the one that raised it."""
    trace = error.__traceback__
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _method(trace: TracebackType) -> str:
    """The method that a frame runs, by the name of the object's class, and its place in the file."""
    code, names = trace.tb_frame.f_code, trace.tb_frame.f_locals
    owner = f"{type(names['self']).__name__}." if "self" in names else ""
    return f"{owner}{code.co_name} ({Path(code.co_filename).name}, line {trace.tb_lineno})"


def _culprit(error: Exception, env: VectorEnv[Any, Any, Any]) -> int | None:
    """Finds the environment, which Gymnasium does not name: in the frames of its loop, or by an unexpected shape."""
    inner = env.unwrapped
    if not isinstance(inner, SyncVectorEnv):
        return None
    for trace in _traces(error):
        names = trace.tb_frame.f_locals
        # The loop called the environment, or could not store what the environment returned.
        called = None if trace.tb_next is None else trace.tb_next.tb_frame.f_code.co_name
        is_loop = names.get("self") is inner and isinstance(names.get("i"), int)
        if is_loop and called in (None, "step", "reset", "_add_info"):
            return int(names["i"])
    latest: tuple[Array, ...] = tuple(getattr(inner, "_env_obs", ()))
    shape = inner.single_observation_space.shape
    odd = [index for index, observation in enumerate(latest) if np.shape(observation) != shape]
    return odd[0] if odd else None
