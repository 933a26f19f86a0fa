"""The categorical distribution p = softmax(logits) of each row, or of each group of its columns.

With ``sizes`` None there is one choice: ``logits`` ``[B, A]``, ``actions`` ``[B]``. With K sizes there are K
independent choices: ``logits`` ``[B, sum(sizes)]``, ``actions`` ``[B, K]``. Log-probability, entropy and KL divergence
are then sums over the choices. A ``mask``, shaped as the logits, is True where an action is allowed; the logits of
others count as -inf.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Actions = NDArray[np.int64]
Sizes = tuple[int, ...] | None
Mask = NDArray[np.bool_] | None


def groups(logits: Array, sizes: Sizes) -> list[Array]:
    """The logits of each group, K arrays ``[B, sizes[k]]``."""
    return [logits] if sizes is None else np.split(logits, np.cumsum(sizes)[:-1], axis=1)


def log_probabilities(logits: Array, sizes: Sizes = None, mask: Mask = None) -> Array:
    """log p = (l - max l) - log sum_a exp(l_a - max l) of each group, shaped as the logits."""
    shifted = [group - group.max(axis=1, keepdims=True) for group in groups(_masked(logits, mask), sizes)]
    return np.concatenate([group - np.log(np.exp(group).sum(axis=1, keepdims=True)) for group in shifted], axis=1)


def probabilities(logits: Array, sizes: Sizes = None, mask: Mask = None) -> Array:
    """p, shaped as the logits."""
    return np.exp(log_probabilities(logits, sizes, mask))


def log_prob(logits: Array, actions: Actions, sizes: Sizes = None, mask: Mask = None) -> Array:
    """log p(actions) = sum_k log p_k(actions_k), ``[B]``."""
    taken = np.take_along_axis(log_probabilities(logits, sizes, mask), _columns(actions, sizes), axis=1)
    result: Array = taken.sum(axis=1)
    return result


def entropy(logits: Array, sizes: Sizes = None, mask: Mask = None) -> Array:
    """H = -sum_k sum_a p_ka log p_ka, ``[B]``."""
    log_p = log_probabilities(logits, sizes, mask)
    result: Array = -np.sum(_times(np.exp(log_p), log_p), axis=1)
    return result


def kl(logits: Array, other: Array, sizes: Sizes = None, mask: Mask = None, other_mask: Mask = None) -> Array:
    """KL(p, q) = sum_k sum_a p_ka (log p_ka - log q_ka), ``[B]``, q = softmax(other)."""
    log_p, log_q = log_probabilities(logits, sizes, mask), log_probabilities(other, sizes, other_mask)
    with np.errstate(invalid="ignore"):
        log_ratio = log_p - log_q
    result: Array = np.sum(_times(np.exp(log_p), log_ratio), axis=1)
    return result


def mode(logits: Array, sizes: Sizes = None, mask: Mask = None) -> Actions:
    """The most probable action of each group; the first one in a tie."""
    return _actions([np.argmax(group, axis=1) for group in groups(_masked(logits, mask), sizes)], sizes)


def sample(logits: Array, numbers: Array, sizes: Sizes = None, mask: Mask = None) -> Actions:
    """Inverse-CDF sampling: the first action a with number < p_0 + ... + p_a; ``numbers`` has the actions' shape."""
    columns = numbers.reshape(len(logits), -1, 1)
    cumulative = [np.cumsum(group, axis=1) for group in groups(probabilities(logits, sizes, mask), sizes)]
    return _actions([np.argmax(columns[:, k] < sums, axis=1) for k, sums in enumerate(cumulative)], sizes)


def gradient(
    logits: Array,
    actions: Actions,
    weight_log_prob: Array,
    weight_entropy: Array,
    sizes: Sizes = None,
    mask: Mask = None,
) -> Array:
    """Gradient of sum_b weight_log_prob_b log p_b(actions_b) + weight_entropy_b H_b in the logits, of their shape.

    d log p(action) / d l_a = [a = action] - p_a,  d H / d l_a = -p_a (log p_a + H) in each group. An action that is not
    allowed has the constant log-probability -inf, whose gradient is 0.
    """
    p, log_p = probabilities(logits, sizes, mask), log_probabilities(logits, sizes, mask)
    columns = np.split(actions.reshape(len(p), -1), len(sizes or (1,)), axis=1)
    parts = []
    for group_p, group_log_p, action in zip(groups(p, sizes), groups(log_p, sizes), columns, strict=True):
        taken = np.zeros_like(group_p)
        np.put_along_axis(taken, action, 1.0, axis=1)
        allowed = np.isfinite(np.take_along_axis(group_log_p, action, axis=1))
        group_entropy = -np.sum(_times(group_p, group_log_p), axis=1, keepdims=True)
        log_prob_part = np.where(allowed, weight_log_prob[:, np.newaxis], 0.0) * (taken - group_p)
        parts.append(log_prob_part - weight_entropy[:, np.newaxis] * _times(group_p, group_log_p + group_entropy))
    return np.concatenate(parts, axis=1)


def _masked(logits: Array, mask: Mask) -> Array:
    return logits if mask is None else np.where(mask, logits, -np.inf)


def _times(p: Array, values: Array) -> Array:
    """p values, 0 where p is."""
    return np.multiply(p, values, out=np.zeros_like(p), where=p > 0.0)


def _columns(actions: Actions, sizes: Sizes) -> Actions:
    """The columns ``[B, K]`` of the logits that belong to the actions."""
    first = np.cumsum((0, *(sizes or ())[:-1]))
    columns: Actions = actions.reshape(len(actions), -1) + first
    return columns


def _actions(columns: list[Actions], sizes: Sizes) -> Actions:
    return columns[0] if sizes is None else np.stack(columns, axis=1)
