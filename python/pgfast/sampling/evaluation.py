"""Evaluation: whole episodes with a fixed policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pgfast._typing import Array, BoolArray, IntArray
from pgfast.envs.stepper import Stepper
from pgfast.sampling.episode_statistics import OpenEpisodes

__all__ = ["EvaluationResult", "evaluation_envs", "run_episodes"]

_MOST_ENVS = 16


@dataclass(frozen=True)
class EvaluationResult:
    """Raw returns and lengths of whole episodes, ``[episodes]``, ordered by environment.

    ``cut`` of them reached the limit of steps and count as they were then.
    """

    returns: Array
    lengths: IntArray
    deterministic: bool
    cut: int = 0

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
    stepper: Stepper,
    reset: Callable[[int], Array],
    choose: Callable[[Array, BoolArray], Array],
    episodes: int,
    *,
    deterministic: bool,
    max_episode_steps: int,
) -> EvaluationResult:
    """Runs episodes until each environment has completed its quota.

    Quotas are fixed beforehand: counting the episodes that end first would favor short ones. An episode that reaches
    ``max_episode_steps`` is cut: it counts as it is, and its environment waits until the others have finished, since
    one of a vector environment cannot be reset alone.

    Args:
        stepper: steps the environments.
        reset: resets all environments, with seeds from the number of the reset, and returns the observations.
        choose: returns the actions for observations, some of which are the first of an episode.
        episodes: to run.
        deterministic: recorded in the result.
        max_episode_steps: of one episode.
    """
    num_envs = stepper.env.num_envs
    wanted = np.full(num_envs, episodes // num_envs)
    wanted[: episodes % num_envs] += 1
    episodes_of: list[list[tuple[float, int]]] = [[] for _ in range(num_envs)]
    cut = resets = 0
    while wanted.any():
        observations = np.array(reset(resets))
        open_episodes, waiting = OpenEpisodes(num_envs), np.zeros(num_envs, np.bool_)
        starts = np.ones(num_envs, np.bool_)
        resets += 1
        while (wanted.astype(np.bool_) & ~waiting).any():
            transition = stepper.step(choose(observations, starts))
            observations[:], starts = transition.observations, transition.starts
            ended = open_episodes.add(transition)
            too_long = open_episodes.longer_than(max_episode_steps, ~waiting & (wanted > 0))
            for index, episode_return, length in (*ended, *too_long):
                if wanted[index] and not waiting[index]:
                    wanted[index] -= 1
                    episodes_of[index].append((episode_return, length))
            cut += len(too_long)
            waiting[[index for index, _, _ in too_long]] = True
            waiting[[index for index, _, _ in ended]] = False  # its next episode is a new one
    returns, lengths = zip(*(episode for done in episodes_of for episode in done), strict=True)
    return EvaluationResult(np.array(returns), np.array(lengths, np.int64), deterministic, cut)
