"""The losses of the algorithms; means run over the rows that ``valid`` marks, all where it is None."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pgfast.reference import categorical

__all__ = ["a2c", "a2c_gradient", "policy_gradient", "trpo_surrogate"]


def policy_gradient(
    log_prob: NDArray[np.float64], advantages: NDArray[np.float64], valid: NDArray[np.bool_] | None = None
) -> float:
    """-mean(log_prob A)."""
    rows = np.ones(len(log_prob), bool) if valid is None else valid
    return -float(np.mean((log_prob * advantages)[rows]))


def trpo_surrogate(
    log_prob: NDArray[np.float64],
    old_log_prob: NDArray[np.float64],
    advantages: NDArray[np.float64],
    valid: NDArray[np.bool_] | None = None,
) -> float:
    """-mean(exp(log_prob - old_log_prob) A)."""
    rows = np.ones(len(log_prob), bool) if valid is None else valid
    return -float(np.mean((np.exp(log_prob - old_log_prob) * advantages)[rows]))


def a2c(
    log_prob: NDArray[np.float64],
    advantages: NDArray[np.float64],
    entropy: NDArray[np.float64],
    returns: NDArray[np.float64],
    values: NDArray[np.float64],
    entropy_coef: float,
    value_coef: float,
    valid: NDArray[np.bool_] | None = None,
) -> tuple[float, float, float]:
    """policy = -mean(log_prob A + entropy_coef H), value = mean((R - V)^2), total = policy + value_coef value."""
    rows = np.ones(len(log_prob), bool) if valid is None else valid
    policy = -float(np.mean((log_prob * advantages + entropy_coef * entropy)[rows]))
    value = float(np.mean(((returns - values) ** 2)[rows]))
    return policy, value, policy + value_coef * value


def a2c_gradient(
    logits: NDArray[np.float64],
    values: NDArray[np.float64],
    actions: NDArray[np.int64],
    advantages: NDArray[np.float64],
    returns: NDArray[np.float64],
    entropy_coef: float,
    value_coef: float,
    valid: NDArray[np.bool_] | None = None,
) -> tuple[float, float, float, NDArray[np.float64], NDArray[np.float64]]:
    """The losses of :func:`a2c` and d total / d logits ``[B, A]``, d total / d values ``[B]``."""
    log_prob = categorical.log_prob(logits, actions)
    entropy = categorical.entropy(logits)
    losses = a2c(log_prob, advantages, entropy, returns, values, entropy_coef, value_coef, valid)
    rows = np.ones(len(values), bool) if valid is None else valid
    weight = rows / np.count_nonzero(rows)  # of each row in a mean
    dlogits = categorical.gradient(logits, actions, -weight * advantages, -weight * entropy_coef)
    dvalues = 2.0 * value_coef * weight * (values - returns)
    return *losses, dlogits, dvalues
