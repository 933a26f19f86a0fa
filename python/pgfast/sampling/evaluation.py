"""Evaluation: whole episodes with a fixed policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pgfast._typing import Array, IntArray
from pgfast.envs.stepper import Stepper
from pgfast.sampling.episode_statistics import OpenEpisodes

__all__ = ["EvaluationResult", "evaluation_envs", "run_episodes"]

_MOST_ENVS = 16


@dataclass(frozen=True)
class EvaluationResult:
    """Raw returns and lengths of whole episodes, ``[episodes]``, ordered by environment."""

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
    """Returns the number of environments that run ``episodes`` episodes side by side."""
    return min(episodes, _MOST_ENVS)


def run_episodes(
    stepper: Stepper, first: Array, choose: Callable[[Array], Array], episodes: int, *, deterministic: bool
) -> EvaluationResult:
    """Runs episodes until each environment has completed its quota.

    Quotas are fixed beforehand: counting the episodes that end first would favor short ones. ``first`` are the
    observations after a reset; ``choose(observations)`` returns the actions.
    """
    num_envs = stepper.env.num_envs
    quota = np.full(num_envs, episodes // num_envs)
    quota[: episodes % num_envs] += 1
    episodes_of: list[list[tuple[float, int]]] = [[] for _ in range(num_envs)]
    open_episodes = OpenEpisodes(num_envs)
    observations = np.array(first)
    while any(len(done) < wanted for done, wanted in zip(episodes_of, quota, strict=True)):
        transition = stepper.step(choose(observations))
        observations[:] = transition.observations
        for index, episode_return, length in open_episodes.add(transition):
            if len(episodes_of[index]) < quota[index]:
                episodes_of[index].append((episode_return, length))
    returns, lengths = zip(*(episode for done in episodes_of for episode in done), strict=True)
    return EvaluationResult(np.array(returns), np.array(lengths, np.int64), deterministic)
