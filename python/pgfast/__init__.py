"""Fast policy gradients on the CPU."""

from __future__ import annotations

from importlib.metadata import version as _version

from pgfast import distributions, kernels, losses, nn, optim
from pgfast._native import native_info, set_num_threads
from pgfast.algos import A2C
from pgfast.envs import make_vec
from pgfast.random import Rng
from pgfast.training.files import CheckpointError
from pgfast.training.loading import load

__version__ = _version("pgfast")

__all__ = [
    "A2C",
    "CheckpointError",
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
    "set_num_threads",
]
