"""The categorical distribution p = softmax(logits) of each row, or of each group of its columns.

With ``sizes`` None there is one choice: ``logits`` ``[B, A]``, ``actions`` ``[B]``. With K sizes there are K
independent choices: ``logits`` ``[B, sum(sizes)]``, ``actions`` ``[B, K]``. Log-probability, entropy and KL divergence
are then sums over the choices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Actions = NDArray[np.int64]
Sizes = tuple[int, ...] | None


def groups(logits: Array, sizes: Sizes) -> list[Array]:
    """The logits of each group, K arrays ``[B, sizes[k]]``."""
    return [logits] if sizes is None else np.split(logits, np.cumsum(sizes)[:-1], axis=1)


def log_probabilities(logits: Array, sizes: Sizes = None) -> Array:
    """log p = (l - max l) - log sum_a exp(l_a - max l) of each group, shaped as the logits."""
    shifted = [group - group.max(axis=1, keepdims=True) for group in groups(logits, sizes)]
    return np.concatenate([group - np.log(np.exp(group).sum(axis=1, keepdims=True)) for group in shifted], axis=1)


def probabilities(logits: Array, sizes: Sizes = None) -> Array:
    """p, shaped as the logits."""
    return np.exp(log_probabilities(logits, sizes))


def log_prob(logits: Array, actions: Actions, sizes: Sizes = None) -> Array:
    """log p(actions) = sum_k log p_k(actions_k), ``[B]``."""
    taken = np.take_along_axis(log_probabilities(logits, sizes), _columns(actions, sizes), axis=1)
    result: Array = taken.sum(axis=1)
    return result


def entropy(logits: Array, sizes: Sizes = None) -> Array:
    """H = -sum_k sum_a p_ka log p_ka, ``[B]``."""
    result: Array = -np.sum(probabilities(logits, sizes) * log_probabilities(logits, sizes), axis=1)
    return result


def kl(logits: Array, other: Array, sizes: Sizes = None) -> Array:
    """KL(p, q) = sum_k sum_a p_ka (log p_ka - log q_ka), ``[B]``, q = softmax(other)."""
    log_ratio = log_probabilities(logits, sizes) - log_probabilities(other, sizes)
    result: Array = np.sum(probabilities(logits, sizes) * log_ratio, axis=1)
    return result


def mode(logits: Array, sizes: Sizes = None) -> Actions:
    """The most probable action of each group; the first one in a tie."""
    return _actions([np.argmax(group, axis=1) for group in groups(logits, sizes)], sizes)


def sample(logits: Array, numbers: Array, sizes: Sizes = None) -> Actions:
    """Inverse-CDF sampling: the first action a with number < p_0 + ... + p_a; ``numbers`` has the actions' shape."""
    columns = numbers.reshape(len(logits), -1, 1)
    cumulative = [np.cumsum(probabilities(group), axis=1) for group in groups(logits, sizes)]
    return _actions([np.argmax(columns[:, k] < sums, axis=1) for k, sums in enumerate(cumulative)], sizes)


def gradient(
    logits: Array, actions: Actions, weight_log_prob: Array, weight_entropy: Array, sizes: Sizes = None
) -> Array:
    """Gradient of sum_b weight_log_prob_b log p_b(actions_b) + weight_entropy_b H_b in the logits, of their shape.

    d log p(action) / d l_a = [a = action] - p_a,  d H / d l_a = -p_a (log p_a + H) in each group
    """
    taken = np.zeros_like(logits)
    np.put_along_axis(taken, _columns(actions, sizes), 1.0, axis=1)
    p = probabilities(logits, sizes)
    group_entropy = [np.broadcast_to(entropy(group)[:, np.newaxis], group.shape) for group in groups(logits, sizes)]
    entropy_gradient = -p * (log_probabilities(logits, sizes) + np.concatenate(group_entropy, axis=1))
    return weight_log_prob[:, np.newaxis] * (taken - p) + weight_entropy[:, np.newaxis] * entropy_gradient


def _columns(actions: Actions, sizes: Sizes) -> Actions:
    """The columns ``[B, K]`` of the logits that belong to the actions."""
    first = np.cumsum((0, *(sizes or ())[:-1]))
    columns: Actions = actions.reshape(len(actions), -1) + first
    return columns


def _actions(columns: list[Actions], sizes: Sizes) -> Actions:
    return columns[0] if sizes is None else np.stack(columns, axis=1)
