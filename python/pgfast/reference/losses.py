"""The losses of the algorithms and their gradients in the rows' log-probabilities, entropies and values.

Functions return ``(loss, (log_prob, entropy, values))``. The gradients are ``[B]`` each and 0 in invalid rows; None if
the loss does not depend on the quantity. A mean is the sum over the valid rows (``valid`` None: all rows) divided by
``count`` (None: their number).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_] | None
Rows = tuple[Array, Array | None, Array | None]


def policy_gradient_gradient(
    log_prob: Array,
    advantages: Array,
    valid: Mask = None,
    entropy: Array | None = None,
    entropy_coef: float = 0.0,
    count: int | None = None,
) -> tuple[float, Rows]:
    """-mean(log_prob A + entropy_coef H); -A / count and -entropy_coef / count."""
    weight = _weights(log_prob, valid, count)
    bonus = 0.0 if entropy is None else entropy_coef * entropy
    loss = -np.sum(_times(weight, log_prob * advantages + bonus))
    return float(loss), (_times(weight, -advantages), -weight * entropy_coef if entropy_coef else None, None)


def trpo_surrogate_gradient(
    log_prob: Array, old_log_prob: Array, advantages: Array, valid: Mask = None, count: int | None = None
) -> tuple[float, Rows]:
    """-mean(ratio A), ratio = exp(log_prob - old_log_prob); -A ratio / count.

    The exponent is clamped to [-80, 80]; clamped rows have gradient 0.
    """
    weight, log_ratio = _weights(log_prob, valid, count), log_prob - old_log_prob
    ratio = np.exp(np.clip(log_ratio, -80.0, 80.0))
    gradient = np.where(np.abs(log_ratio) < 80.0, -advantages * ratio, 0.0)
    return -float(np.sum(_times(weight, ratio * advantages))), (_times(weight, gradient), None, None)


def a2c_gradient(
    log_prob: Array,
    advantages: Array,
    entropy: Array,
    returns: Array,
    values: Array,
    entropy_coef: float,
    value_coef: float,
    valid: Mask = None,
    count: int | None = None,
) -> tuple[tuple[float, float, float], Rows]:
    """policy = -mean(log_prob A + entropy_coef H), value = mean((R - V)^2), total = policy + value_coef value.

    The gradients are those of the total: -A / count, -entropy_coef / count and 2 value_coef (V - R) / count.
    """
    weight = _weights(log_prob, valid, count)
    policy, rows = policy_gradient_gradient(log_prob, advantages, valid, entropy, entropy_coef, count)
    value = float(np.sum(_times(weight, (returns - values) ** 2)))
    dvalues = _times(weight, 2.0 * value_coef * (values - returns))
    return (policy, value, policy + value_coef * value), (rows[0], -weight * entropy_coef, dvalues)


def ppo_gradient(
    log_prob: Array,
    old_log_prob: Array,
    advantages: Array,
    entropy: Array,
    returns: Array,
    values: Array,
    clip_range: float,
    entropy_coef: float,
    value_coef: float,
    valid: Mask = None,
    *,
    old_values: Array | None = None,
    value_clip_range: float | None = None,
    count: int | None = None,
) -> tuple[tuple[float, float, float, float, float], Rows]:
    """policy = -mean(min(r A, clip(r, 1 - e, 1 + e) A) + entropy_coef H), r = exp(log_prob - old_log_prob).

    value = mean((R - V)^2), or mean(max((R - V)^2, (R - V_clipped)^2)), V clipped to old_values +- value_clip_range.
    total = policy + value_coef value; the fraction of rows with |r - 1| > e; mean(r - 1 - log r).

    The exponent is clamped to [-80, 80]; clamped rows have gradient 0. A row whose smaller term, or larger square, is
    the clipped one has gradient 0, too.
    """
    weight = _weights(log_prob, valid, count)
    log_ratio = np.clip(log_prob - old_log_prob, -80.0, 80.0)
    ratio = np.exp(log_ratio)
    clipped = np.clip(ratio, 1.0 - clip_range, 1.0 + clip_range)
    surrogate = np.minimum(ratio * advantages, clipped * advantages)
    policy = -float(np.sum(_times(weight, surrogate + entropy_coef * entropy)))
    has_slope = (surrogate == ratio * advantages) & (np.abs(log_ratio) < 80.0)
    errors = (returns - values) ** 2
    moves = np.ones(len(values), bool)
    if old_values is not None and value_clip_range is not None:
        bounded = np.clip(values, old_values - value_clip_range, old_values + value_clip_range)
        moves = errors >= (returns - bounded) ** 2
        errors = np.maximum(errors, (returns - bounded) ** 2)
    value = float(np.sum(_times(weight, errors)))
    clip_fraction = float(np.sum(_times(weight, (ratio != clipped).astype(float))))
    approx_kl = float(np.sum(_times(weight, np.expm1(log_ratio) - log_ratio)))
    rows = (
        _times(weight, np.where(has_slope, -advantages * ratio, 0.0)),
        -weight * entropy_coef,
        _times(weight, np.where(moves, 2.0 * value_coef * (values - returns), 0.0)),
    )
    return (policy, value, policy + value_coef * value, clip_fraction, approx_kl), rows


def _weights(rows: Array, valid: Mask, count: int | None) -> Array:
    """The weight of each row in a mean."""
    used = np.ones(len(rows), bool) if valid is None else valid
    return used / (np.count_nonzero(used) if count is None else count)


def _times(weights: Array, numbers: Array) -> Array:
    """The product; 0 if the weight is 0, even for a number that is not finite."""
    return np.multiply(weights, numbers, where=weights != 0.0, out=np.zeros_like(weights))
