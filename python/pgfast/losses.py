"""Losses of the algorithms, and the gradients that the update needs."""

from __future__ import annotations

from pgfast._native import core
from pgfast._typing import BoolArray, FloatArray, IntArray

__all__ = ["a2c", "a2c_gradient"]


def a2c(
    log_prob: FloatArray,
    advantages: FloatArray,
    entropy: FloatArray,
    returns: FloatArray,
    values: FloatArray,
    entropy_coef: float,
    value_coef: float,
    valid: BoolArray | None = None,
) -> tuple[float, float, float]:
    """Losses of the advantage actor-critic.

    policy_loss = -mean(log_prob A + entropy_coef H),  value_loss = mean((R - V)^2)
    total_loss = policy_loss + value_coef value_loss

    Args:
        log_prob, advantages, entropy, returns, values: ``[B]``.
        entropy_coef, value_coef: at least 0.
        valid: ``[B]`` bool, the rows that the means run over; None for all.

    Returns: ``(policy_loss, value_loss, total_loss)``.

    Raises: ``TypeError`` (dtype), ``ValueError`` (shape, range, no valid row).

    Source: Mnih et al. (2016), section 4. The value loss is the mean square, not half of it.
    """
    return core.a2c(log_prob, advantages, entropy, returns, values, entropy_coef, value_coef, valid)


def a2c_gradient(
    logits: FloatArray,
    values: FloatArray,
    actions: IntArray,
    advantages: FloatArray,
    returns: FloatArray,
    entropy_coef: float,
    value_coef: float,
    valid: BoolArray | None = None,
) -> tuple[float, float, float, FloatArray, FloatArray]:
    """The losses of :func:`a2c` and their gradient at the outputs of the network, in one pass.

    d total / d logits_a = mean(-A ([a = action] - p_a) + entropy_coef p_a (log p_a + H))
    d total / d V = mean(2 value_coef (V - R))

    Args:
        logits: ``[B, A]``, finite.
        values: ``[B]``.
        actions: ``[B]`` int64 in [0, A).
        advantages, returns: ``[B]``, taken as constants.
        entropy_coef, value_coef: at least 0.
        valid: ``[B]`` bool or None; rows that are not valid get zero gradient.

    Returns: ``(policy_loss, value_loss, total_loss, dlogits [B, A], dvalues [B])``.

    Raises: ``TypeError`` (dtype), ``ValueError`` (shape, range, non-finite logits, no valid row).

    Source: Mnih et al. (2016), section 4.
    """
    return core.a2c_gradient(logits, values, actions, advantages, returns, entropy_coef, value_coef, valid)
