"""Fast policy gradients on the CPU."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import gymnasium

from pgfast._native import core, native_info, set_num_threads

if TYPE_CHECKING:
    from pgfast import distributions, kernels, losses, nn, optim, policies, value_functions
    from pgfast.algorithms import A2C, ACKTR, NPG, PPO, TRPO, VPG
    from pgfast.envs import make_vec
    from pgfast.loading import load
    from pgfast.metrics import Metric
    from pgfast.random import Rng
    from pgfast.resuming import resume
    from pgfast.runs.files import CheckpointError
    from pgfast.training.callbacks import Callback

    __version__: str

__all__ = [
    "A2C",
    "ACKTR",
    "NPG",
    "PPO",
    "TRPO",
    "VPG",
    "Callback",
    "CheckpointError",
    "Metric",
    "NonFiniteError",
    "Rng",
    "__version__",
    "distributions",
    "kernels",
    "load",
    "losses",
    "make_vec",
    "native_info",
    "nn",
    "optim",
    "policies",
    "resume",
    "set_num_threads",
    "value_functions",
]

NonFiniteError = core.NonFiniteError

gymnasium.register(
    "pgfast/Point-v0",
    entry_point="pgfast.envs.point:PointEnv",
    vector_entry_point="pgfast.envs.point:PointVectorEnv",
    max_episode_steps=40,  # the limit that PointVectorEnv applies
)

# Imported on first access: a program that only calls kernels loads neither networks nor the training code.
_MODULES = (
    *("distributions", "envs", "kernels", "losses", "metrics", "nn", "optim", "policies", "profiling", "random"),
    *("reduce", "state", "value_functions"),
)
_LAZY = {
    **dict.fromkeys(("A2C", "ACKTR", "NPG", "PPO", "TRPO", "VPG"), "pgfast.algorithms"),
    "Callback": "pgfast.training.callbacks",
    "CheckpointError": "pgfast.runs.files",
    "Metric": "pgfast.metrics",
    "Rng": "pgfast.random",
    "load": "pgfast.loading",
    "make_vec": "pgfast.envs",
    "resume": "pgfast.resuming",
}


if not TYPE_CHECKING:  # for which every name would exist, misspelled ones too

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            value = import_module("importlib.metadata").version("pgfast")
        elif name in _MODULES:
            value = import_module(f"pgfast.{name}")
        elif name in _LAZY:
            value = getattr(import_module(_LAZY[name]), name)
        else:
            raise AttributeError(f"module 'pgfast' has no attribute '{name}'")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
