"""Losses of the algorithms, and the gradient of each loss in the log-probability, entropy and value of every row.

``NAME(...)`` returns the loss; ``NAME_gradient(...)`` takes the same arguments and returns ``(loss, RowGradients)``.
One piece of C++ computes both.

A mean is the sum over the valid rows divided by ``count``. ``valid`` is a ``[B]`` bool mask, or None if all rows are
valid; invalid rows are not read and have gradient 0. ``count`` is an int of at least 1. None stands for the number of
valid rows, which must then be at least 1. With a ``count`` there may be no valid row, and every result is then 0. If
every worker passes the number of valid rows of all workers, the losses of the workers add up to the loss of all rows,
and so do their gradients.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from pgfast._native import core
from pgfast._typing import Array, BoolArray, FloatArray
from pgfast.distributions import Distribution

__all__ = [
    "RowGradients",
    "a2c",
    "a2c_gradient",
    "policy_gradient",
    "policy_gradient_gradient",
    "ppo",
    "ppo_gradient",
    "trpo_surrogate",
    "trpo_surrogate_gradient",
]


def __dir__() -> list[str]:
    return __all__


Actions = TypeVar("Actions", bound=Array)


class RowGradients(NamedTuple):
    """The gradient of a loss in the log-probability, entropy and value of each row: ``[B]`` each; None means zero."""

    log_prob: FloatArray
    entropy: FloatArray | None = None
    values: FloatArray | None = None


def policy_gradient(
    log_prob: FloatArray,
    advantages: FloatArray,
    valid: BoolArray | None = None,
    *,
    entropy: FloatArray | None = None,
    entropy_coef: float = 0.0,
    count: int | None = None,
) -> float:
    """Computes the loss whose gradient is the policy gradient, with or without an entropy bonus.

    loss = -mean(log_prob A + entropy_coef H)

    Args:
        log_prob: log pi(a | s), ``[B]``.
        advantages: A, ``[B]``, of the dtype of ``log_prob``.
        valid: the mask of the mean, ``[B]`` bool; None for all rows.
        entropy: H, ``[B]``, of the dtype of ``log_prob``; None for no bonus.
        entropy_coef: at least 0.
        count: the divisor of the mean; None for the number of valid rows.

    Returns:
        The loss, summed in float64.

    Raises:
        TypeError: if a dtype is wrong.
        ValueError: if a shape is wrong, a number is out of range, no row is valid and ``count`` is None, or
            ``entropy_coef`` is not 0 without ``entropy``.

    Source: Williams (1992), theorem 1; Schulman et al. (2016), equation 1, with A for their Psi. Entropy bonus:
    Williams and Peng (1991).
    """
    loss, mean_entropy, *_ = core.policy_gradient(log_prob, advantages, valid, entropy, entropy_coef, count)
    return loss - entropy_coef * mean_entropy


def policy_gradient_gradient(
    log_prob: FloatArray,
    advantages: FloatArray,
    valid: BoolArray | None = None,
    *,
    entropy: FloatArray | None = None,
    entropy_coef: float = 0.0,
    count: int | None = None,
) -> tuple[float, RowGradients]:
    """Computes the loss of :func:`policy_gradient` and its gradient.

    d loss / d log_prob = -A / count,  d loss / d H = -entropy_coef / count

    Arguments and exceptions are those of :func:`policy_gradient`.

    Returns:
        ``(loss, rows)``. The gradients in ``rows`` are newly allocated, in the dtype of ``log_prob``; ``rows.entropy``
        is None if ``entropy_coef`` is 0.
    """
    loss, mean_entropy, *rows = core.policy_gradient_gradient(log_prob, advantages, valid, entropy, entropy_coef, count)
    return loss - entropy_coef * mean_entropy, RowGradients(*rows)


def trpo_surrogate(
    new: Distribution[Actions],
    old: Distribution[Actions],
    actions: Actions,
    advantages: FloatArray,
    valid: BoolArray | None = None,
    *,
    count: int | None = None,
) -> float:
    """Computes the surrogate loss of trust-region methods.

    loss = -mean(ratio A),  ratio = new.likelihood_ratio(old, actions)

    Args:
        new: the distribution of B rows whose loss is computed.
        old: the distribution from which ``actions`` were drawn, of the family of ``new``.
        actions: as the distributions take them. They must be valid actions in invalid rows, too.
        advantages: A, ``[B]``, of the dtype of the distributions.
        valid: the mask of the mean, ``[B]`` bool; None for all rows.
        count: the divisor of the mean; None for the number of valid rows.

    Returns:
        The loss, summed in float64. The ratio, allocated as ``[B]``, is clamped to [e^-80, e^80].

    Raises:
        TypeError: if a dtype is wrong or the families differ.
        ValueError: if a shape is wrong, a number is out of range, or no row is valid and ``count`` is None.

    Source: Schulman et al. (2015), equation 14, with A for their Q and the sign of a loss.
    """
    loss, _ = core.trpo_surrogate(new.likelihood_ratio(old, actions), advantages, valid, count)
    return loss


def trpo_surrogate_gradient(
    new: Distribution[Actions],
    old: Distribution[Actions],
    actions: Actions,
    advantages: FloatArray,
    valid: BoolArray | None = None,
    *,
    count: int | None = None,
) -> tuple[float, RowGradients]:
    """Computes the loss of :func:`trpo_surrogate` and its gradient in the log-probabilities of ``new``.

    d loss / d log_prob = -A ratio / count, or 0 where the ratio is clamped

    At ``new = old`` the gradient is that of :func:`policy_gradient`, bit for bit. Arguments and exceptions are those of
    :func:`trpo_surrogate`.

    Returns:
        ``(loss, rows)``. The gradient in ``rows`` is newly allocated, in the dtype of ``advantages``.
    """
    loss, log_prob = core.trpo_surrogate_gradient(new.likelihood_ratio(old, actions), advantages, valid, count)
    return loss, RowGradients(log_prob)


def a2c(
    log_prob: FloatArray,
    advantages: FloatArray,
    entropy: FloatArray,
    returns: FloatArray,
    values: FloatArray,
    entropy_coef: float,
    value_coef: float,
    valid: BoolArray | None = None,
    *,
    count: int | None = None,
) -> tuple[float, float, float]:
    """Computes the losses of the advantage actor-critic.

    policy_loss = -mean(log_prob A + entropy_coef H),  value_loss = mean((R - V)^2)
    total_loss = policy_loss + value_coef value_loss

    Args:
        log_prob: log pi(a | s), ``[B]``. All arrays have its dtype.
        advantages: A, ``[B]``.
        entropy: H, ``[B]``.
        returns: R, ``[B]``.
        values: V, ``[B]``.
        entropy_coef: at least 0.
        value_coef: at least 0.
        valid: the mask of the means, ``[B]`` bool; None for all rows.
        count: the divisor of the means; None for the number of valid rows.

    Returns:
        ``(policy_loss, value_loss, total_loss)``, summed in float64.

    Raises:
        TypeError: if a dtype is wrong.
        ValueError: if a shape is wrong, a number is out of range, or no row is valid and ``count`` is None.

    Source: Mnih et al. (2016), section 4. The value loss is the mean square, not half of it.
    """
    losses, *_ = core.a2c(log_prob, advantages, entropy, returns, values, entropy_coef, value_coef, valid, count)
    return losses


def a2c_gradient(
    log_prob: FloatArray,
    advantages: FloatArray,
    entropy: FloatArray,
    returns: FloatArray,
    values: FloatArray,
    entropy_coef: float,
    value_coef: float,
    valid: BoolArray | None = None,
    *,
    count: int | None = None,
) -> tuple[tuple[float, float, float], RowGradients]:
    """Computes the losses of :func:`a2c` and the gradient of the total loss.

    d total / d log_prob = -A / count,  d total / d H = -entropy_coef / count
    d total / d V = 2 value_coef (V - R) / count

    Advantages and returns are constants. Arguments and exceptions are those of :func:`a2c`.

    Returns:
        ``((policy_loss, value_loss, total_loss), rows)``. The gradients in ``rows`` are newly allocated, in the dtype
        of ``log_prob``.
    """
    losses, *rows = core.a2c_gradient(
        log_prob, advantages, entropy, returns, values, entropy_coef, value_coef, valid, count
    )
    return losses, RowGradients(*rows)


def ppo(
    log_prob: FloatArray,
    old_log_prob: FloatArray,
    advantages: FloatArray,
    entropy: FloatArray,
    returns: FloatArray,
    values: FloatArray,
    clip_range: float,
    entropy_coef: float,
    value_coef: float,
    valid: BoolArray | None = None,
    *,
    old_values: FloatArray | None = None,
    value_clip_range: float | None = None,
    count: int | None = None,
) -> tuple[float, float, float, float, float]:
    """Computes the losses of proximal policy optimization, with the clipped surrogate.

    policy_loss = -mean(min(r A, clip(r, 1 - e, 1 + e) A) + entropy_coef H),  r = exp(log_prob - old_log_prob)
    value_loss = mean((R - V)^2),  total_loss = policy_loss + value_coef value_loss
    clip_fraction = mean(|r - 1| > e),  approx_kl = mean(r - 1 - log r)

    With ``old_values``, value_loss is mean(max((R - V)^2, (R - V_c)^2)), where V_c is V clipped to the old values
    +- ``value_clip_range``.

    Args:
        log_prob: log pi(a | s), ``[B]``. All arrays have its dtype.
        old_log_prob: the same of the policy that acted, ``[B]``.
        advantages: A, ``[B]``.
        entropy: H, ``[B]``.
        returns: R, ``[B]``.
        values: V, ``[B]``.
        clip_range: e, at least 0.
        entropy_coef: at least 0.
        value_coef: at least 0.
        valid: the mask of the means, ``[B]`` bool; None for all rows.
        old_values: V of the policy that acted, ``[B]``; None for no clipping of values.
        value_clip_range: at least 0; given with ``old_values``, and only then.
        count: the divisor of the means; None for the number of valid rows.

    Returns:
        ``(policy_loss, value_loss, total_loss, clip_fraction, approx_kl)``, summed in float64. The logarithm of r is
        clamped to [-80, 80].

    Raises:
        TypeError: if a dtype is wrong.
        ValueError: if a shape is wrong, a number is out of range, no row is valid and ``count`` is None, or only one of
            ``old_values`` and ``value_clip_range`` is given.

    Source: Schulman et al. (2017), equations 7 and 9, with c_1 = ``value_coef``, c_2 = ``entropy_coef`` and the sign of
    a loss. approx_kl estimates KL(old, new) without bias (Schulman, 2020).
    """
    losses, *_ = core.ppo(
        *(log_prob, old_log_prob, advantages, entropy, returns, values, clip_range, entropy_coef, value_coef),
        *(valid, old_values, value_clip_range, count),
    )
    return losses


def ppo_gradient(
    log_prob: FloatArray,
    old_log_prob: FloatArray,
    advantages: FloatArray,
    entropy: FloatArray,
    returns: FloatArray,
    values: FloatArray,
    clip_range: float,
    entropy_coef: float,
    value_coef: float,
    valid: BoolArray | None = None,
    *,
    old_values: FloatArray | None = None,
    value_clip_range: float | None = None,
    count: int | None = None,
) -> tuple[tuple[float, float, float, float, float], RowGradients]:
    """Computes the losses of :func:`ppo` and the gradient of the total loss.

    d total / d log_prob = -A r / count, or 0 where the clipped term is the smaller one
    d total / d H = -entropy_coef / count
    d total / d V = 2 value_coef (V - R) / count, or 0 where the square of the clipped value is the larger one

    At r = 1 the gradient is that of :func:`a2c`, bit for bit. Advantages, returns and old values are constants.
    Arguments and exceptions are those of :func:`ppo`.

    Returns:
        ``((policy_loss, value_loss, total_loss, clip_fraction, approx_kl), rows)``. The gradients in ``rows`` are newly
        allocated, in the dtype of ``log_prob``.
    """
    losses, *rows = core.ppo_gradient(
        *(log_prob, old_log_prob, advantages, entropy, returns, values, clip_range, entropy_coef, value_coef),
        *(valid, old_values, value_clip_range, count),
    )
    return losses, RowGradients(*rows)
