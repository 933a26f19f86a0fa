"""Returns and advantages of time-major rollouts ``[T, N]``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def discounted_returns(rewards: Array, dones: NDArray[np.bool_], next_values: Array, discount: float) -> Array:
    """R_t = r_t + discount (1 - d_t) R_{t+1},  R_T = next_values; ``[T, N]``."""
    returns = np.empty_like(rewards)
    following = next_values
    for t in reversed(range(len(rewards))):
        returns[t] = rewards[t] + discount * np.where(dones[t], 0.0, following)
        following = returns[t]
    return returns


def gae(
    rewards: Array,
    values: Array,
    next_values: Array,
    terminated: NDArray[np.bool_],
    truncated: NDArray[np.bool_] | None,
    discount: float,
    gae_lambda: float,
) -> tuple[Array, Array]:
    """(advantages, returns), ``[T, N]`` each; ``next_values`` is ``[N]`` or ``[T, N]``.

    delta_t = r_t + discount (1 - terminated_t) V(s_{t+1}) - V(s_t)
    A_t = delta_t + discount gae_lambda (1 - terminated_t) (1 - truncated_t) A_{t+1},  A_T = 0
    """
    if next_values.ndim == 1:
        next_values = np.concatenate([values[1:], next_values[np.newaxis]])
    ended = terminated if truncated is None else terminated | truncated
    deltas = rewards + discount * np.where(terminated, 0.0, next_values) - values
    advantages = np.empty_like(rewards)
    following = np.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        advantages[t] = deltas[t] + discount * gae_lambda * np.where(ended[t], 0.0, following)
        following = advantages[t]
    return advantages, advantages + values
