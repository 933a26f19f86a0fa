"""Losses of the algorithms, and the gradients that the update needs."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from pgfast._native import core
from pgfast._typing import Array, BoolArray, FloatArray, IntArray
from pgfast.distributions import Distribution

__all__ = ["RowGradients", "a2c", "a2c_gradient", "policy_gradient", "trpo_surrogate"]

Actions = TypeVar("Actions", bound=Array)


class RowGradients(NamedTuple):
    """The gradient of a loss at the log-probability, entropy and value of each row: ``[B]`` each; None is zero."""

    log_prob: FloatArray
    entropy: FloatArray | None = None
    values: FloatArray | None = None


def policy_gradient(log_prob: FloatArray, advantages: FloatArray, valid: BoolArray | None = None) -> float:
    """The loss whose gradient is the policy gradient.

    loss = -mean(log_prob A)

    Args:
        log_prob, advantages: ``[B]``, of one float dtype.
        valid: ``[B]`` bool, the rows that the mean runs over; None for all. What other rows hold is not read.

    Returns: the loss, summed in float64.

    Raises: ``TypeError`` (dtype), ``ValueError`` (shape, no valid row).

    Source: Williams (1992), theorem 1; Schulman et al. (2016), equation 1, with A for their Psi.
    """
    return core.policy_gradient(log_prob, advantages, valid)


def trpo_surrogate(
    new: Distribution[Actions],
    old: Distribution[Actions],
    actions: Actions,
    advantages: FloatArray,
    valid: BoolArray | None = None,
) -> float:
    """The surrogate loss of trust-region methods.

    loss = -mean(ratio A),  ratio = new.likelihood_ratio(old, actions)

    Args:
        new, old: two distributions of one family over B rows, ``old`` the one that ``actions`` were drawn from.
        actions: as the distributions take them; in rows that are not valid too, they must be actions.
        advantages: ``[B]``, of the dtype of the distributions.
        valid: ``[B]`` bool, the rows that the mean runs over; None for all.

    Returns: the loss, summed in float64. The ratio, which is allocated ``[B]``, lies within e^-80 and e^80.

    Raises: ``TypeError`` (dtype, two families), ``ValueError`` (shape, range, no valid row).

    Source: Schulman et al. (2015), equation 14, with A for their Q and the sign of a loss.
    """
    return core.trpo_surrogate(new.likelihood_ratio(old, actions), advantages, valid)


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
