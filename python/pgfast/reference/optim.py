"""The steps of the optimizers: each takes parameters, gradient and state ``[P]`` and returns the new ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def sgd(
    parameters: Array, gradient: Array, velocity: Array, learning_rate: float, momentum: float
) -> tuple[Array, Array]:
    """v <- momentum v + g; parameters <- parameters - learning_rate v. Returns (parameters, v)."""
    velocity = momentum * velocity + gradient
    return parameters - learning_rate * velocity, velocity


def adam(
    parameters: Array,
    gradient: Array,
    mean: Array,
    mean_square: Array,
    step: int,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> tuple[Array, Array, Array]:
    """Kingma and Ba (2015), algorithm 1; ``step`` counts from 1. Returns (parameters, m, s).

    m <- beta1 m + (1 - beta1) g,  s <- beta2 s + (1 - beta2) g^2
    parameters <- parameters - learning_rate m / (1 - beta1^step) / (sqrt(s / (1 - beta2^step)) + epsilon)
    """
    mean = beta1 * mean + (1.0 - beta1) * gradient
    mean_square = beta2 * mean_square + (1.0 - beta2) * gradient**2
    unbiased_mean = mean / (1.0 - beta1**step)
    unbiased_mean_square = mean_square / (1.0 - beta2**step)
    parameters = parameters - learning_rate * unbiased_mean / (np.sqrt(unbiased_mean_square) + epsilon)
    return parameters, mean, mean_square


def rmsprop(
    parameters: Array,
    gradient: Array,
    mean_square: Array,
    learning_rate: float,
    decay: float,
    epsilon: float,
    form: str,
) -> tuple[Array, Array]:
    """s <- decay s + (1 - decay) g^2; parameters <- parameters - learning_rate g / d. Returns (parameters, s).

    The form "pytorch" has d = sqrt(s) + epsilon and starts s at 0; "tensorflow" has d = sqrt(s + epsilon) and starts s
    at 1.
    """
    mean_square = decay * mean_square + (1.0 - decay) * gradient**2
    divisor = np.sqrt(mean_square) + epsilon if form == "pytorch" else np.sqrt(mean_square + epsilon)
    return parameters - learning_rate * gradient / divisor, mean_square


def clip_by_global_norm(gradient: Array, max_norm: float) -> tuple[Array, float]:
    """g min(1, max_norm / ||g||), and ||g||."""
    norm = float(np.sqrt(np.sum(gradient**2)))
    return (gradient * (max_norm / norm) if norm > max_norm else gradient.copy()), norm
