"""Update kernels on NumPy arrays.

Arrays are C-contiguous, one float dtype per call (float32 or float64), flags are bool. A wrong dtype raises
``TypeError``, a wrong shape, an empty or a strided array ``ValueError``; nothing is cast or copied behind your back.
Inputs are not modified unless the docstring says so.
"""

from __future__ import annotations

from pgfast._native import core
from pgfast._typing import BoolArray, FloatArray

__all__ = ["clip_by_global_norm", "discounted_returns", "gae"]


def discounted_returns(rewards: FloatArray, dones: BoolArray, next_values: FloatArray, discount: float) -> FloatArray:
    """Discounted returns of a rollout.

    R_t = r_t + discount (1 - d_t) R_{t+1},  R_T = next_values

    Args:
        rewards: ``[T, N]``, reward of each step.
        dones: ``[T, N]`` bool, True where the episode ends with the step.
        next_values: ``[N]``, value of the state after the last row.
        discount: in [0, 1].

    Returns: ``[T, N]``, newly allocated.

    Raises: ``TypeError`` (dtype), ``ValueError`` (shape, range).

    Source: Sutton and Barto (2018), equation 3.9, bootstrapped after the last row.
    """
    return core.discounted_returns(rewards, dones, next_values, discount)


def gae(
    rewards: FloatArray,
    values: FloatArray,
    next_values: FloatArray,
    terminated: BoolArray,
    truncated: BoolArray | None,
    discount: float,
    gae_lambda: float,
) -> tuple[FloatArray, FloatArray]:
    """Generalized advantage estimation.

    delta_t = r_t + discount (1 - terminated_t) V(s_{t+1}) - V(s_t)
    A_t = delta_t + discount gae_lambda (1 - terminated_t) (1 - truncated_t) A_{t+1}

    A terminated step is not bootstrapped; the recursion is cut at either flag. It runs over rows that are not valid:
    the row before them has cut it off.

    Args:
        rewards: ``[T, N]``.
        values: ``[T, N]``, V of each row's state.
        next_values: ``[N]``, V of the state after the last row, each other row's successor being the next row; or
            ``[T, N]``, V of each row's true successor, needed where a truncated row is followed by a new game.
        terminated: ``[T, N]`` bool, the episode ended in a terminal state.
        truncated: ``[T, N]`` bool, the episode was cut off; or None.
        discount: in [0, 1].
        gae_lambda: in [0, 1]; 0 gives one-step, 1 Monte Carlo advantages.

    Returns: ``(advantages, returns)``, both ``[T, N]`` and newly allocated; returns = advantages + values.

    Raises: ``TypeError`` (dtype), ``ValueError`` (shape, range).

    Source: Schulman et al. (2016), equations 11 to 16, with truncation told from termination.
    """
    return core.gae(rewards, values, next_values, terminated, truncated, discount, gae_lambda)


def clip_by_global_norm(gradient: FloatArray, max_norm: float) -> float:
    """Scales a gradient down, in place, so that its Euclidean norm is at most ``max_norm``.

    g <- g min(1, max_norm / ||g||)

    Args:
        gradient: ``[P]``, written in place.
        max_norm: positive.

    Returns: the norm before clipping (accumulated in float64).

    Raises: ``TypeError`` (dtype), ``ValueError`` (shape; a gradient that is not finite is left as it is).

    Source: Pascanu et al. (2013), algorithm 1.
    """
    return core.clip_by_global_norm(gradient, max_norm)
