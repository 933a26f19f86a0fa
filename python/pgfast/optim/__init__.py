"""Optimizers on flat parameter vectors, and learning-rate schedules."""

from __future__ import annotations

from pgfast.optim.first_order import SGD, Adam, Optimizer, RMSprop, RmspropForm
from pgfast.optim.kfac import KFAC, KroneckerFactors
from pgfast.optim.schedules import cosine_schedule, linear_schedule, tabulated_schedule

__all__ = [
    "KFAC",
    "SGD",
    "Adam",
    "KroneckerFactors",
    "Optimizer",
    "RMSprop",
    "RmspropForm",
    "cosine_schedule",
    "linear_schedule",
    "tabulated_schedule",
]


def __dir__() -> list[str]:
    return __all__
