"""The Gaussian with diagonal covariance of each row of ``mean`` ``[B, A]``; ``log_std`` is ``[A]`` or ``[B, A]``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def log_prob(mean: Array, log_std: Array, actions: Array) -> Array:
    """log p(a) = -sum_j ((a_j - m_j) / std_j)^2 / 2 + log_std_j + log(2 pi) / 2, ``[B]``; actions ``[B, A]``."""
    z = (actions - mean) / np.exp(log_std)
    result: Array = -np.sum(z**2 / 2.0 + log_std + np.log(2.0 * np.pi) / 2.0, axis=1)
    return result


def entropy(mean: Array, log_std: Array) -> Array:
    """H = sum_j log_std_j + log(2 pi e) / 2, ``[B]``."""
    result: Array = np.sum(np.broadcast_to(log_std, mean.shape) + np.log(2.0 * np.pi * np.e) / 2.0, axis=1)
    return result


def kl(mean: Array, log_std: Array, other_mean: Array, other_log_std: Array) -> Array:
    """KL(p, q) = sum_j log_std_q - log_std_p + (std_p^2 + (m_p - m_q)^2) / (2 std_q^2) - 1/2, ``[B]``."""
    squares = np.exp(log_std) ** 2 + (mean - other_mean) ** 2
    terms = other_log_std - log_std + squares / (2.0 * np.exp(other_log_std) ** 2) - 0.5
    result: Array = np.sum(terms, axis=1)
    return result


def sample(mean: Array, log_std: Array, normals: Array) -> Array:
    """m + std e, ``[B, A]``, from standard normal numbers e ``[B, A]``."""
    return mean + np.exp(log_std) * normals


def gradient(
    mean: Array, log_std: Array, actions: Array, weight_log_prob: Array, weight_entropy: Array
) -> tuple[Array, Array]:
    """Gradient of sum_b weight_log_prob_b log p_b(action_b) + weight_entropy_b H_b: dmean ``[B, A]``, dlog_std.

    d log p / d m = (a - m) / std^2,  d log p / d log_std = ((a - m) / std)^2 - 1,  d H / d log_std = 1
    """
    z = (actions - mean) / np.exp(log_std)
    dmean = weight_log_prob[:, np.newaxis] * z / np.exp(log_std)
    dlog_std = weight_log_prob[:, np.newaxis] * (z**2 - 1.0) + weight_entropy[:, np.newaxis]
    return dmean, dlog_std if log_std.ndim == 2 else dlog_std.sum(axis=0)
