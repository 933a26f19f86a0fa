"""Normalization of observations and rewards by running statistics.

Statistics are frozen while a rollout is collected and include its valid rows afterwards. They belong to the agent: they
are saved with it, and frozen when it is evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pgfast._typing import Array, BoolArray, FloatArray
from pgfast.kernels import discounted_returns
from pgfast.reduce import Reduce
from pgfast.state import Tree, require_same_shape

__all__ = ["Moments", "Normalizers", "RolloutArrays", "Statistics"]

_CLIP = 10.0  # standard deviations; values beyond are clipped
_EPSILON = 1e-8


class RolloutArrays(Protocol):
    """The arrays of a rollout that statistics are computed from, ``[T, N]``; observations ``[T + 1, N, ...]``."""

    raw_observations: Array
    rewards: FloatArray
    terminated: BoolArray
    truncated: BoolArray
    valid: BoolArray


@dataclass(frozen=True)
class Moments:
    """Mean and variance (ddof 0) of ``count`` rows, float64 ``[*shape]``; 0 and 1 if there are no rows."""

    count: int
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> Moments:
        """The moments of no rows."""
        return cls(0, np.zeros(shape), np.ones(shape))

    def including(self, rows: Array, reduce: Reduce) -> Moments:
        """Returns the moments that also include ``rows`` ``[B, *shape]`` of every worker; B may be 0.

        Source: Chan, Golub and LeVeque (1983), equation 1.5b.
        """
        added = reduce.sum(len(rows))
        if added == 0:
            return self
        rows = np.asarray(rows, np.float64)
        mean = reduce.sum(rows.sum(axis=0)) / added
        variance = reduce.sum(np.square(rows - mean).sum(axis=0)) / added
        total = self.count + added
        change = mean - self.mean
        squares = variance * added + change**2 * (self.count * added / total)
        if self.count:
            squares += self.variance * self.count
        return Moments(total, self.mean + change * (added / total), squares / total)

    def state(self) -> Tree:
        """``count`` ``[1]``, ``mean`` and ``variance``."""
        return {"count": np.array([self.count], np.int64), "mean": self.mean, "variance": self.variance}

    def loaded(self, tree: Tree) -> Moments:
        """Returns the moments of a :meth:`state` of this shape. Raises ``KeyError`` or ``ValueError``."""
        count, mean, variance = tree["count"], tree["mean"], tree["variance"]
        require_same_shape("running moments", mean, self.mean)
        require_same_shape("running moments", variance, self.variance)
        if count.shape != (1,) or count[0] < 0 or (variance < 0).any():
            raise ValueError("running moments must have a count of at least 0 and variances of at least 0")
        return Moments(int(count[0]), mean.copy(), variance.copy())


@dataclass(frozen=True)
class Statistics:
    """The statistics that scale observations and rewards; None for those that are not scaled.

    ``rewards`` are the moments of the discounted return up to each step. ``running`` ``[N]`` is this return for the
    open episode of each environment.
    """

    observations: Moments | None
    rewards: Moments | None
    running: FloatArray

    def scale_rewards(self, rewards: FloatArray) -> FloatArray:
        """r / sqrt(Var(G) + 1e-8), clipped to +-10, in the dtype of ``rewards``; or ``rewards`` if not normalized.

        The mean is kept: a shift of rewards would change the optimal policy.
        """
        if self.rewards is None:
            return rewards
        scaled = rewards / np.sqrt(self.rewards.variance + _EPSILON)
        return _clipped(scaled, rewards)


class Normalizers:
    """The normalizers of an agent, for observations ``[*observation_shape]`` and for the rewards of N environments.

    ``observes`` is whether observations are normalized. ``statistics`` are the current ones. An update computes the
    statistics that include its rollout with :meth:`after`, and assigns them when it has succeeded.
    """

    def __init__(
        self, observation_shape: tuple[int, ...], num_envs: int, discount: float, *, observations: bool, rewards: bool
    ) -> None:
        self._discount = discount
        self.observes = observations
        self.statistics = Statistics(
            Moments.empty(observation_shape) if observations else None,
            Moments.empty((1,)) if rewards else None,
            np.zeros(num_envs),
        )

    def normalize_observations(self, observations: FloatArray) -> FloatArray:
        """(x - mean) / sqrt(variance + 1e-8), clipped to +-10, entry by entry, for ``[B, *observation_shape]``.

        Returns the dtype of ``observations``, or ``observations`` if there are no statistics yet.
        """
        moments = self.statistics.observations
        if moments is None or moments.count == 0:
            return observations
        scaled = (observations - moments.mean) / np.sqrt(moments.variance + _EPSILON)
        return _clipped(scaled, observations)

    def after(self, rollout: RolloutArrays, reduce: Reduce) -> Statistics:
        """Returns the statistics that include the valid rows of every worker's rollout.

        The return up to a step is G_t = r_t + discount G_{t-1}, from 0 at the start of every episode.
        """
        now = self.statistics
        observations, rewards, running = now.observations, now.rewards, now.running
        if observations is not None:
            observations = observations.including(rollout.raw_observations[:-1][rollout.valid], reduce)
        if rewards is not None:
            ends = rollout.terminated | rollout.truncated
            # The kernel computes R_t = r_t + discount R_{t+1}, so time is reversed.
            backwards = np.ascontiguousarray(rollout.rewards[::-1], np.float64)
            ended_before = np.concatenate([ends[:-1][::-1], np.zeros_like(ends[:1])])
            returns = discounted_returns(backwards, ended_before, running, self._discount)[::-1]
            rewards = rewards.including(returns[rollout.valid][:, np.newaxis], reduce)
            running = np.where(ends[-1], 0.0, returns[-1])
        return Statistics(observations, rewards, running)

    def restart(self) -> None:
        """Sets the running returns to 0, because all environments start new episodes."""
        self.statistics = replace(self.statistics, running=np.zeros_like(self.statistics.running))

    def state(self) -> Tree:
        """The moments of ``observations`` and of ``rewards``, if normalized."""
        return {kind: moments.state() for kind, moments in self._moments().items() if moments is not None}

    def load_state(self, tree: Tree) -> None:
        """Loads all but the running returns. Raises ``KeyError`` or ``ValueError`` if the tree does not fit."""
        loaded: dict[str, Moments | None] = {}
        for kind, moments in self._moments().items():
            given: Mapping[str, Any] = tree.get(kind, {})
            if moments is not None and not given:
                raise ValueError(f"the file has no statistics of {kind}, but normalize_{kind} is on")
            if moments is None and given:
                raise ValueError(f"the file has statistics of {kind}, but normalize_{kind} is off")
            loaded[kind] = None if moments is None else moments.loaded(given)
        self.statistics = Statistics(**loaded, running=self.statistics.running)

    def _moments(self) -> dict[str, Moments | None]:
        return {"observations": self.statistics.observations, "rewards": self.statistics.rewards}


def _clipped(scaled: Array, like: FloatArray) -> FloatArray:
    clipped: FloatArray = np.clip(scaled, -_CLIP, _CLIP).astype(like.dtype)
    return clipped
