"""Normalization of observations and rewards by running statistics.

Statistics are frozen while a rollout is collected and include its valid rows afterwards. They belong to the agent: they
are saved with it, and frozen when it is evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pgfast._native import core
from pgfast._typing import Array, BoolArray, FloatArray
from pgfast.envs.observations import ObservationRows
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

    def including(self, rows: Array, valid: BoolArray, reduce: Reduce) -> Moments:
        """Returns the moments that also include the ``valid`` ``[B]`` of every worker's ``rows`` ``[B, *shape]``.

        Source: Chan, Golub and LeVeque (1983), equation 1.5b.
        """
        added = reduce.sum(int(np.count_nonzero(valid)))
        if added == 0:
            return self
        numbers = _matrix(rows, self.mean)
        sums = reduce.sum(core.column_sums(numbers, valid))
        squares = reduce.sum(core.column_sums(numbers, valid, sums / added))
        mean, variance = (part.reshape(self.mean.shape) / added for part in (sums, squares))
        total = self.count + added
        change = mean - self.mean
        squares = variance * added + change**2 * (self.count * added / total)
        if self.count:
            squares += self.variance * self.count
        return Moments(total, self.mean + change * (added / total), squares / total)

    def scale(self, numbers: Array) -> Array:
        """(x - mean) / sqrt(variance + 1e-8), clipped to +-10, for ``numbers`` ``[B, *shape]``, in their dtype."""
        scaled = core.standardize(
            _matrix(numbers, self.mean), self.mean.reshape(-1), self.variance.reshape(-1), _EPSILON, _CLIP
        )
        return scaled.reshape(numbers.shape)

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
    """The statistics that scale observations, by leaf, and rewards; None if rewards are not scaled.

    ``rewards`` are the moments of the discounted return up to each step. ``running`` ``[N]`` is this return for the
    open episode of each environment.
    """

    observations: Mapping[str, Moments]
    rewards: Moments | None
    running: FloatArray

    def scale_rewards(self, rewards: FloatArray) -> FloatArray:
        """r / sqrt(Var(G) + 1e-8), clipped to +-10, in the dtype of ``rewards``; or ``rewards`` if not normalized.

        The mean is kept: a shift of rewards would change the optimal policy.
        """
        if self.rewards is None:
            return rewards
        return replace(self.rewards, mean=np.zeros(1)).scale(rewards.reshape(-1, 1)).reshape(rewards.shape)


class Normalizers:
    """The normalizers of an agent, for its observations and for the rewards of N environments.

    ``observes`` is whether any leaf is normalized. ``statistics`` are the current ones. An update computes the
    statistics that include its rollout with :meth:`after`, and assigns them when it has succeeded.

    Args:
        rows: the rows of observations.
        normalized: the names of the leaves that are normalized.
        num_envs: N.
        discount: of the returns whose variance scales the rewards.
        rewards: whether rewards are normalized.
    """

    def __init__(
        self, rows: ObservationRows, normalized: Sequence[str], num_envs: int, discount: float, *, rewards: bool
    ) -> None:
        self._rows, self._discount = rows, discount
        self.observes = bool(normalized)
        self.statistics = Statistics(
            {leaf.name: Moments.empty(leaf.shape) for leaf in rows.leaves if leaf.name in normalized},
            Moments.empty((1,)) if rewards else None,
            np.zeros(num_envs),
        )

    def normalize_observations(self, observations: Array) -> Array:
        """(x - mean) / sqrt(variance + 1e-8), clipped to +-10, entry by entry, for rows of observations ``[B, ...]``.

        Returns the dtype of ``observations``, or ``observations`` if there are no statistics yet.
        """
        known = {name: moments for name, moments in self.statistics.observations.items() if moments.count > 0}
        if not known:
            return observations
        if len(self._rows.leaves) == 1:
            (moments,) = known.values()
            return moments.scale(observations)
        scaled = observations.copy()
        for name, moments in known.items():
            scaled[name] = moments.scale(observations[name])
        return scaled

    def after(self, rollout: RolloutArrays, reduce: Reduce) -> Statistics:
        """Returns the statistics that include the valid rows of every worker's rollout.

        The return up to a step is G_t = r_t + discount G_{t-1}, from 0 at the start of every episode.
        """
        now = self.statistics
        observations, rewards, running = now.observations, now.rewards, now.running
        valid = rollout.valid.reshape(-1)
        if observations:
            fields = self._rows.fields(rollout.raw_observations[:-1])
            observations = {
                name: moments.including(fields[name], valid, reduce) for name, moments in observations.items()
            }
        if rewards is not None:
            ends = rollout.terminated | rollout.truncated
            # The kernel computes R_t = r_t + discount R_{t+1}, so time is reversed.
            backwards = np.ascontiguousarray(rollout.rewards[::-1], np.float64)
            ended_before = np.concatenate([ends[:-1][::-1], np.zeros_like(ends[:1])])
            returns = discounted_returns(backwards, ended_before, running, self._discount)[::-1]
            rewards = rewards.including(returns, valid, reduce)
            running = np.where(ends[-1], 0.0, returns[-1])
        return Statistics(observations, rewards, running)

    def restart(self, num_envs: int) -> None:
        """Sets the running returns of ``num_envs`` environments to 0, because all of them start new episodes."""
        self.statistics = replace(self.statistics, running=np.zeros(num_envs))

    def state(self) -> Tree:
        """The moments of ``observations``, by leaf if there are several, and of ``rewards``, if normalized."""
        observations, rewards = self.statistics.observations, self.statistics.rewards
        tree: dict[str, Any] = {}
        if observations:
            tree["observations"] = {name: moments.state() for name, moments in observations.items()}
            tree["observations"] = tree["observations"].get("", tree["observations"])  # of the only leaf
        if rewards is not None:
            tree["rewards"] = rewards.state()
        return tree

    def load_state(self, tree: Tree) -> None:
        """Loads all but the running returns. Raises ``KeyError`` or ``ValueError`` if the tree does not fit."""
        now = self.statistics
        for kind, is_on in (("observations", self.observes), ("rewards", now.rewards is not None)):
            if is_on and not tree.get(kind, {}):
                raise ValueError(f"the file has no statistics of {kind}, but normalize_{kind} is on")
            if not is_on and tree.get(kind, {}):
                raise ValueError(f"the file has statistics of {kind}, but normalize_{kind} is off")
        given = tree.get("observations", {})
        self.statistics = Statistics(
            {name: moments.loaded(given[name] if name else given) for name, moments in now.observations.items()},
            None if now.rewards is None else now.rewards.loaded(tree["rewards"]),
            now.running,
        )


def _matrix(rows: Array, of_row: Array) -> FloatArray:
    """Rows ``[..., *of_row.shape]`` as a matrix with a column for each of their numbers."""
    return np.ascontiguousarray(rows).reshape(-1, of_row.size)
