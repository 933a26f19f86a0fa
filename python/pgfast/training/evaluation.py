"""Playing whole games with a fixed policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pgfast._typing import Array, IntArray
from pgfast.envs.stepper import Stepper

__all__ = ["EvaluationResult", "evaluation_envs", "play"]

_MOST_ENVS = 16


@dataclass(frozen=True)
class EvaluationResult:
    """Raw returns and lengths of whole games, ``[episodes]``, ordered by environment."""

    returns: Array
    lengths: IntArray
    deterministic: bool

    @property
    def return_mean(self) -> float:
        """Mean of ``returns``."""
        return float(self.returns.mean())

    @property
    def return_std(self) -> float:
        """Standard deviation of ``returns`` (ddof 0)."""
        return float(self.returns.std())


def evaluation_envs(episodes: int) -> int:
    """Environments that play ``episodes`` games side by side."""
    return min(episodes, _MOST_ENVS)


def play(
    stepper: Stepper, first: Array, choose: Callable[[Array, int], IntArray], episodes: int, *, deterministic: bool
) -> EvaluationResult:
    """Plays games until each environment has played its quota.

    The quotas are fixed beforehand: counting whichever games end first would favour short ones. ``first`` are the
    observations after a reset, ``choose(observations, step)`` gives the actions.
    """
    num_envs = stepper.env.num_envs
    quota = np.full(num_envs, episodes // num_envs)
    quota[: episodes % num_envs] += 1
    returns: list[list[float]] = [[] for _ in range(num_envs)]
    lengths: list[list[int]] = [[] for _ in range(num_envs)]
    open_returns, open_lengths = np.zeros(num_envs), np.zeros(num_envs, np.int64)
    observations = np.array(first)
    step = 0
    while any(len(done) < wanted for done, wanted in zip(returns, quota, strict=True)):
        transition = stepper.step(choose(observations, step))
        observations[:] = transition.observations
        open_returns += transition.scores
        open_lengths += transition.played
        for index in np.flatnonzero(transition.game_over):
            if len(returns[index]) < quota[index]:
                returns[index].append(float(open_returns[index]))
                lengths[index].append(int(open_lengths[index]))
            open_returns[index], open_lengths[index] = 0.0, 0
        step += 1
    return EvaluationResult(
        np.array([value for done in returns for value in done]),
        np.array([value for done in lengths for value in done], np.int64),
        deterministic,
    )
