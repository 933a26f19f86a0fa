"""Options for making vector environments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

__all__ = ["EnvironmentOptions", "Vectorization"]

Vectorization: TypeAlias = Literal["auto", "sync", "async", "envpool"]


@dataclass(frozen=True, kw_only=True)
class EnvironmentOptions:
    """Options of all environments of a run."""

    num_threads: int | None = None
    """Threads of an Atari emulator or of EnvPool; None for as many as the kernels use."""
    vectorization: Vectorization = "auto"
    """See :func:`pgfast.make_vec`."""
    env_timeout: float | None = None
    """Seconds that a step or a reset may take; None for no limit."""
    max_env_restarts: int = 0
    """How many workers may be replaced if ``vectorization`` is "async"."""

    def with_restarts_left(self, used: int) -> EnvironmentOptions:
        """Returns the options with ``used`` restarts fewer, at least 0."""
        return replace(self, max_env_restarts=max(0, self.max_env_restarts - used))
