"""The categorical distribution p = softmax(logits) of each row of ``logits`` ``[B, A]``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["entropy", "gradient", "kl", "log_prob", "log_probabilities", "mode", "probabilities", "sample"]


def log_probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """log p = (l - max l) - log sum_a exp(l_a - max l), ``[B, A]``."""
    shifted: NDArray[np.float64] = logits - logits.max(axis=1, keepdims=True)
    log_normalizer: NDArray[np.float64] = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted - log_normalizer


def probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """p, ``[B, A]``."""
    return np.exp(log_probabilities(logits))


def log_prob(logits: NDArray[np.float64], actions: NDArray[np.int64]) -> NDArray[np.float64]:
    """log p(actions), ``[B]``."""
    return log_probabilities(logits)[np.arange(len(actions)), actions]


def entropy(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """H = -sum_a p_a log p_a, ``[B]``."""
    result: NDArray[np.float64] = -np.sum(probabilities(logits) * log_probabilities(logits), axis=1)
    return result


def kl(logits: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """KL(p, q) = sum_a p_a (log p_a - log q_a), ``[B]``, q = softmax(other)."""
    log_ratio = log_probabilities(logits) - log_probabilities(other)
    result: NDArray[np.float64] = np.sum(probabilities(logits) * log_ratio, axis=1)
    return result


def mode(logits: NDArray[np.float64]) -> NDArray[np.int64]:
    """The first of the most probable actions, ``[B]``."""
    actions: NDArray[np.int64] = np.argmax(logits, axis=1)
    return actions


def sample(logits: NDArray[np.float64], numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """Inverse-CDF sampling: the first action a with numbers < p_0 + ... + p_a, ``[B]``; numbers uniform ``[B]``."""
    cumulative = np.cumsum(probabilities(logits), axis=1)
    actions: NDArray[np.int64] = np.argmax(numbers[:, np.newaxis] < cumulative, axis=1)
    return actions


def gradient(
    logits: NDArray[np.float64],
    actions: NDArray[np.int64],
    weight_log_prob: NDArray[np.float64],
    weight_entropy: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Gradient of sum_b weight_log_prob_b log p_b(action_b) + weight_entropy_b H_b at the logits, ``[B, A]``.

    d log p(action) / d l_a = [a = action] - p_a,  d H / d l_a = -p_a (log p_a + H)
    """
    p = probabilities(logits)
    score = np.eye(logits.shape[1])[actions] - p
    entropy_gradient = -p * (log_probabilities(logits) + entropy(logits)[:, np.newaxis])
    return weight_log_prob[:, np.newaxis] * score + weight_entropy[:, np.newaxis] * entropy_gradient
