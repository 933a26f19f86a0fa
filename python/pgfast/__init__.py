"""Fast policy gradients on the CPU."""

from __future__ import annotations

from importlib.metadata import version as _version

from pgfast import baselines, distributions, kernels, losses, nn, optim, policies
from pgfast._native import native_info, set_num_threads
from pgfast.algos import A2C, NPG, TRPO, VPG
from pgfast.envs import make_vec
from pgfast.random import Rng
from pgfast.training.files import CheckpointError
from pgfast.training.loading import load

__version__ = _version("pgfast")

__all__ = [
    "A2C",
    "NPG",
    "TRPO",
    "VPG",
    "CheckpointError",
    "Rng",
    "__version__",
    "baselines",
    "distributions",
    "kernels",
    "load",
    "losses",
    "make_vec",
    "native_info",
    "nn",
    "optim",
    "policies",
    "set_num_threads",
]
