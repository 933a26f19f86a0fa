"""K independent categorical distributions for each row: ``logits`` ``[B, sum(sizes)]``, ``actions`` ``[B, K]``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pgfast.reference import categorical

__all__ = ["entropy", "gradient", "groups", "kl", "log_prob", "mode", "sample"]


def groups(logits: NDArray[np.float64], sizes: tuple[int, ...]) -> list[NDArray[np.float64]]:
    """The logits of each group, K arrays ``[B, sizes[k]]``."""
    return np.split(logits, np.cumsum(sizes)[:-1], axis=1)


def log_prob(logits: NDArray[np.float64], sizes: tuple[int, ...], actions: NDArray[np.int64]) -> NDArray[np.float64]:
    """sum_k log p_k(actions_k), ``[B]``."""
    terms = [
        categorical.log_prob(group, column) for group, column in zip(groups(logits, sizes), actions.T, strict=True)
    ]
    return _sum(terms)


def entropy(logits: NDArray[np.float64], sizes: tuple[int, ...]) -> NDArray[np.float64]:
    """sum_k H(p_k), ``[B]``."""
    return _sum([categorical.entropy(group) for group in groups(logits, sizes)])


def kl(logits: NDArray[np.float64], sizes: tuple[int, ...], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """sum_k KL(p_k, q_k), ``[B]``."""
    pairs = zip(groups(logits, sizes), groups(other, sizes), strict=True)
    return _sum([categorical.kl(p, q) for p, q in pairs])


def mode(logits: NDArray[np.float64], sizes: tuple[int, ...]) -> NDArray[np.int64]:
    """The first of the most probable actions of each group, ``[B, K]``."""
    return np.stack([categorical.mode(group) for group in groups(logits, sizes)], axis=1)


def sample(logits: NDArray[np.float64], sizes: tuple[int, ...], numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """Inverse-CDF sampling of each group, ``[B, K]``; numbers uniform ``[B, K]``."""
    pairs = zip(groups(logits, sizes), numbers.T, strict=True)
    return np.stack([categorical.sample(group, column) for group, column in pairs], axis=1)


def gradient(
    logits: NDArray[np.float64],
    sizes: tuple[int, ...],
    actions: NDArray[np.int64],
    weight_log_prob: NDArray[np.float64],
    weight_entropy: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Gradient of sum_b weight_log_prob_b log p_b(actions_b) + weight_entropy_b H_b at the logits."""
    pairs = zip(groups(logits, sizes), actions.T, strict=True)
    parts = [categorical.gradient(group, column, weight_log_prob, weight_entropy) for group, column in pairs]
    return np.concatenate(parts, axis=1)


def _sum(terms: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.sum(terms, axis=0)
    return result
