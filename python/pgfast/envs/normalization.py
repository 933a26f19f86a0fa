"""Observations and rewards brought to a scale that networks learn from, by running statistics.

Statistics stand still while a rollout is collected and take in its valid rows afterwards. They are part of an agent:
saved with it, and frozen when it is evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pgfast._typing import Array, BoolArray, FloatArray

__all__ = ["ObservationNormalizer", "RewardNormalizer", "RunningMoments"]

_CLIP = 10.0  # standard deviations; what is further out is as good as there
_EPSILON = 1e-8


class RunningMoments:
    """Mean and variance (ddof 0) of all rows so far, float64 ``[*shape]``; 0 and 1 before the first.

    Source: Chan, Golub and LeVeque (1983), equation 1.5b, the update of pairs of sets.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = 0
        self.mean: NDArray[np.float64] = np.zeros(shape)
        self.variance: NDArray[np.float64] = np.ones(shape)

    def update(self, rows: Array) -> None:
        """Takes in rows ``[B, *shape]``; B may be 0."""
        added = len(rows)
        if added == 0:
            return
        rows = np.asarray(rows, np.float64)
        mean, variance = rows.mean(axis=0), rows.var(axis=0)
        total = self.count + added
        change = mean - self.mean
        squares = variance * added + change**2 * (self.count * added / total)
        if self.count:
            squares += self.variance * self.count
        self.mean = self.mean + change * (added / total)
        self.variance = squares / total
        self.count = total

    def state(self) -> dict[str, Array]:
        """``count``, ``mean`` and ``variance`` as arrays."""
        return {"count": np.array([self.count], np.int64), "mean": self.mean, "variance": self.variance}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Takes over what :meth:`state` gave. Raises ``KeyError``, or ``ValueError`` for another shape or dtype."""
        count, mean, variance = state["count"], state["mean"], state["variance"]
        for array, like in ((mean, self.mean), (variance, self.variance)):
            if array.shape != like.shape or array.dtype != like.dtype:
                raise ValueError(f"running moments must be float64 {like.shape}, got {array.dtype} {array.shape}")
        if count.shape != (1,) or count[0] < 0 or (variance < 0).any():
            raise ValueError("running moments must have a count of at least 0 and variances of at least 0")
        self.count, self.mean, self.variance = int(count[0]), mean.copy(), variance.copy()


class ObservationNormalizer:
    """(x - mean) / sqrt(variance + 1e-8), clipped to +-10, entry by entry; x itself before the first update."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.moments = RunningMoments(shape)

    def apply(self, observations: FloatArray) -> FloatArray:
        """Normalized observations ``[B, *shape]`` in the dtype of those given, newly allocated."""
        m = self.moments
        if m.count == 0:
            return observations.copy()
        scaled = (observations - m.mean) / np.sqrt(m.variance + _EPSILON)
        normalized: FloatArray = np.clip(scaled, -_CLIP, _CLIP).astype(observations.dtype)
        return normalized


class RewardNormalizer:
    """Rewards divided by the standard deviation of the discounted return that has run up to each step.

    G_t = r_t + discount G_{t-1}, from 0 at the start of every episode; r / sqrt(Var(G) + 1e-8), clipped to +-10. The
    mean is kept: a shift of rewards would change what is worth doing.
    """

    def __init__(self, num_envs: int, discount: float) -> None:
        self.moments = RunningMoments((1,))
        self._discount = discount
        self._running = np.zeros(num_envs)

    def update(self, rewards: FloatArray, dones: BoolArray, valid: BoolArray) -> None:
        """Takes in a rollout ``[T, N]``."""
        running = np.empty(rewards.shape)
        for t in range(len(rewards)):
            self._running = self._running * self._discount + rewards[t]
            running[t] = self._running
            self._running[dones[t]] = 0.0
        self.moments.update(running[valid][:, np.newaxis])

    def restart(self) -> None:
        """The environments start anew."""
        self._running[:] = 0.0

    def apply(self, rewards: FloatArray) -> FloatArray:
        """Scaled rewards in the dtype of those given, newly allocated."""
        scaled = rewards / np.sqrt(self.moments.variance + _EPSILON)
        normalized: FloatArray = np.clip(scaled, -_CLIP, _CLIP).astype(rewards.dtype)
        return normalized
