"""Two versions of generalized advantage estimation in NumPy, both vectorized over the environments.

``loop`` computes everything step by step, as Python libraries do. ``DifferencesFirst`` is as fast as NumPy can be: it
computes all that does not depend on the next row for all rows at once, into reused arrays, which leaves two operations
in the loop.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["DifferencesFirst", "loop"]

Array = NDArray[np.float32]
Flags = NDArray[np.bool_]


def loop(
    rewards: Array,
    values: Array,
    next_values: Array,
    terminated: Flags,
    truncated: Flags,
    discount: float,
    gae_lambda: float,
) -> tuple[Array, Array]:
    """Returns advantages and returns."""
    advantages = np.empty_like(rewards)
    bootstraps = (~terminated).astype(np.float32)
    continues = (~(terminated | truncated)).astype(np.float32)
    last = np.zeros_like(next_values)
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + discount * next_values * bootstraps[t] - values[t]
        last = delta + discount * gae_lambda * continues[t] * last
        advantages[t] = last
        next_values = values[t]
    return advantages, advantages + values


class DifferencesFirst:
    """The same computation on preallocated arrays ``[T, N]``."""

    def __init__(self, steps: int, num_envs: int) -> None:
        self._advantages, self._returns, self._decays = np.empty((3, steps, num_envs), np.float32)
        self._ends = np.empty((steps, num_envs), np.bool_)
        self._row = np.empty(num_envs, np.float32)

    def __call__(
        self,
        rewards: Array,
        values: Array,
        next_values: Array,
        terminated: Flags,
        truncated: Flags,
        discount: float,
        gae_lambda: float,
    ) -> tuple[Array, Array]:
        """Returns advantages and returns, which the next call overwrites."""
        advantages, row = self._advantages, self._row
        np.multiply(values[1:], discount, out=advantages[:-1])
        np.multiply(next_values, discount, out=advantages[-1])
        np.copyto(advantages, 0.0, where=terminated)
        np.add(advantages, rewards, out=advantages)
        np.subtract(advantages, values, out=advantages)
        np.logical_or(terminated, truncated, out=self._ends)
        self._decays.fill(discount * gae_lambda)
        np.copyto(self._decays, 0.0, where=self._ends)
        for t in range(len(rewards) - 2, -1, -1):
            np.multiply(self._decays[t], advantages[t + 1], out=row)
            np.add(advantages[t], row, out=advantages[t])
        np.add(advantages, values, out=self._returns)
        return advantages, self._returns
