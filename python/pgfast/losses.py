"""Losses of the algorithms, and the gradient of each at the log-probability, entropy and value of its rows.

``NAME(...)`` returns the loss, ``NAME_gradient(...)`` of the same arguments ``(loss, RowGradients)``, from one piece of
C++. Means are sums over the rows that ``valid`` marks, divided by ``count``. ``valid`` is ``[B]`` bool, None for all
rows; other rows are not read and have gradient 0. ``count`` is an int of at least 1. None stands for the number of
valid rows, of which there must be one; with a ``count`` there may be none, and every result is 0. Losses that several
workers compute with the count of all their rows add up to the loss of all rows, and so do their gradients.
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
    "trpo_surrogate",
    "trpo_surrogate_gradient",
]

Actions = TypeVar("Actions", bound=Array)


class RowGradients(NamedTuple):
    """The gradient of a loss at the log-probability, entropy and value of each row: ``[B]`` each; None is zero."""

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
    """The loss whose gradient is the policy gradient, with or without an entropy bonus.

    loss = -mean(log_prob A + entropy_coef H)

    Args:
        log_prob, advantages: ``[B]``, of one float dtype.
        valid, count: of the mean, see above.
        entropy: H, ``[B]``; None for no bonus.
        entropy_coef: at least 0.

    Returns: the loss, summed in float64.

    Raises: ``TypeError`` (dtype), ``ValueError`` (shape, range, no valid row, a coefficient without entropy).

    Source: Williams (1992), theorem 1; Schulman et al. (2016), equation 1, with A for their Psi. The bonus: Williams
    and Peng (1991).
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
    """The loss of :func:`policy_gradient`, and its gradient.

    d loss / d log_prob = -A / count,  d loss / d H = -entropy_coef / count

    Args: as :func:`policy_gradient`.

    Returns: ``(loss, rows)``, the gradient newly allocated, in the dtype of ``log_prob``; ``rows.entropy`` is None if
    ``entropy_coef`` is 0.

    Raises: as :func:`policy_gradient`.
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
    """The surrogate loss of trust-region methods.

    loss = -mean(ratio A),  ratio = new.likelihood_ratio(old, actions)

    Args:
        new, old: two distributions of one family over B rows, ``old`` the one that ``actions`` were drawn from.
        actions: as the distributions take them; in rows that are not valid too, they must be actions.
        advantages: ``[B]``, of the dtype of the distributions.
        valid, count: of the mean, see above.

    Returns: the loss, summed in float64. The ratio, which is allocated ``[B]``, is clamped to e^-80 and e^80.

    Raises: ``TypeError`` (dtype, two families), ``ValueError`` (shape, range, no valid row).

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
    """The loss of :func:`trpo_surrogate`, and its gradient at the log-probabilities of ``new``.

    d loss / d log_prob = -A ratio / count, or 0 where the ratio is clamped

    Args: as :func:`trpo_surrogate`. At ``new = old`` the gradient is that of :func:`policy_gradient`, bit for bit.

    Returns: ``(loss, rows)``, the gradient newly allocated, in the dtype of ``advantages``.

    Raises: as :func:`trpo_surrogate`.
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
    """Losses of the advantage actor-critic.

    policy_loss = -mean(log_prob A + entropy_coef H),  value_loss = mean((R - V)^2)
    total_loss = policy_loss + value_coef value_loss

    Args:
        log_prob, advantages, entropy, returns, values: ``[B]``, of one float dtype.
        entropy_coef, value_coef: at least 0.
        valid, count: of the means, see above.

    Returns: ``(policy_loss, value_loss, total_loss)``, summed in float64.

    Raises: ``TypeError`` (dtype), ``ValueError`` (shape, range, no valid row).

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
    """The losses of :func:`a2c`, and the gradient of the total loss; advantages and returns are constants.

    d total / d log_prob = -A / count,  d total / d H = -entropy_coef / count
    d total / d V = 2 value_coef (V - R) / count

    Args: as :func:`a2c`.

    Returns: ``((policy_loss, value_loss, total_loss), rows)``, the gradient newly allocated, in the dtype of
    ``log_prob``.

    Raises: as :func:`a2c`.
    """
    losses, *rows = core.a2c_gradient(
        log_prob, advantages, entropy, returns, values, entropy_coef, value_coef, valid, count
    )
    return losses, RowGradients(*rows)
