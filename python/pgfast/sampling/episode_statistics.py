"""Raw returns and lengths of whole episodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np

from pgfast._native import core
from pgfast._typing import BoolArray
from pgfast.envs.stepper import Transition
from pgfast.metrics import Row
from pgfast.state import Tree, require_count

__all__ = ["EpisodeStatistics", "OpenEpisodes"]

_KEPT = 100  # episodes that the reported statistics include


class OpenEpisodes:
    """Returns and lengths so far of the open episodes."""

    def __init__(self, num_envs: int) -> None:
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, np.int64)

    def add(self, transition: Transition) -> list[tuple[int, float, int]]:
        """Adds a step of every environment; returns (environment, return, length) of each episode that ended."""
        step = transition.raw_rewards, transition.stepped, transition.episode_over
        ended: list[tuple[int, float, int]] = core.add_step(self._returns, self._lengths, *step)
        return ended

    def longer_than(self, steps: int, environments: BoolArray) -> list[tuple[int, float, int]]:
        """(environment, return, length) so far of the open episodes of ``environments`` with ``steps`` or more."""
        (found,) = (environments & (self._lengths >= steps)).nonzero()
        return [(int(n), float(self._returns[n]), int(self._lengths[n])) for n in found]

    def drop(self, environments: BoolArray) -> int:
        """Drops the episodes of these environments, and returns how many were open."""
        count = int(np.count_nonzero(self._lengths[environments]))
        self._returns[environments] = self._lengths[environments] = 0
        return count

    def __len__(self) -> int:
        return int(np.count_nonzero(self._lengths))


class EpisodeStatistics:
    """Returns and lengths of the last 100 whole episodes, the mean return since the last row, and counts of the run.

    An episode counts when it is over. Episodes that are cut off, because environments are remade or a worker is
    replaced, are left out and counted separately. An Atari episode is a whole game with all its lives.
    """

    def __init__(self, num_envs: int) -> None:
        self._open = OpenEpisodes(num_envs)
        self._all = np.ones(num_envs, np.bool_)
        self.returns: deque[float] = deque(maxlen=_KEPT)
        self.lengths: deque[int] = deque(maxlen=_KEPT)
        self.episodes = 0
        self.episodes_cut = 0
        self.env_restarts = 0
        self.worker_restarts = 0
        self._latest_sum, self._latest_count = 0.0, 0
        self._open_on_workers = 0

    def add(self, transition: Transition) -> list[tuple[int, float, int]]:
        """Adds a step of every environment; returns (environment, return, length) of each episode that ended."""
        restarts = int(np.count_nonzero(transition.restarted))
        if restarts:
            self.env_restarts += restarts
            self.episodes_cut += self._open.drop(transition.restarted)
        ended = self._open.add(transition)
        for _, episode_return, length in ended:
            self._include(episode_return, length)
        return ended

    def merge(self, ended: Iterable[tuple[float, int]], *, cut: int, restarts: int, now_open: int) -> None:
        """Adds what workers report: (return, length) of their whole episodes, and counts."""
        for episode_return, length in ended:
            self._include(episode_return, length)
        self.episodes_cut += cut
        self.env_restarts += restarts
        self._open_on_workers = now_open

    def _include(self, episode_return: float, length: int) -> None:
        self.returns.append(episode_return)
        self.lengths.append(length)
        self.episodes += 1
        self._latest_sum += episode_return
        self._latest_count += 1

    @property
    def open_episodes(self) -> int:
        """Number of episodes that have begun and not ended."""
        return len(self._open) + self._open_on_workers

    def cut(self) -> None:
        """Drops all open episodes, because the environments are remade."""
        self.episodes_cut += self._open.drop(self._all)

    def row(self) -> Row:
        """Returns the columns of progress.csv, those that are known, and restarts ``return_latest``."""
        row: Row = {
            "episodes": self.episodes,
            "episodes_cut": self.episodes_cut,
            "env_restarts": self.env_restarts,
            "worker_restarts": self.worker_restarts,
        }
        if self.returns:
            returns = np.array(self.returns)
            row |= {
                "return_mean": float(returns.mean()),
                "return_std": float(returns.std()),
                "return_min": float(returns.min()),
                "return_max": float(returns.max()),
                "length_mean": float(np.mean(self.lengths)),
            }
        if self._latest_count:
            row["return_latest"] = self._latest_sum / self._latest_count
        self._latest_sum, self._latest_count = 0.0, 0
        return row

    def state(self) -> Tree:
        """The statistics, and the number of open episodes, which cannot be saved themselves."""
        return {
            "open": self.open_episodes,
            "returns": list(self.returns),
            "lengths": list(self.lengths),
            "episodes": self.episodes,
            "episodes_cut": self.episodes_cut,
            "env_restarts": self.env_restarts,
            "worker_restarts": self.worker_restarts,
            "latest": [self._latest_sum, self._latest_count],
        }

    def load_state(self, tree: Tree) -> None:
        """Loads a :meth:`state`, and counts its open episodes as cut off.

        Raises ``KeyError``, ``TypeError`` or ``ValueError`` for any other tree.
        """
        self.episodes, self.env_restarts = (require_count(name, tree[name]) for name in ("episodes", "env_restarts"))
        self.episodes_cut = require_count("episodes_cut", tree["episodes_cut"]) + require_count("open", tree["open"])
        self.worker_restarts = require_count("worker_restarts", tree.get("worker_restarts", 0))
        self.returns = deque((float(value) for value in tree["returns"]), maxlen=_KEPT)
        self.lengths = deque((require_count("lengths", value) for value in tree["lengths"]), maxlen=_KEPT)
        latest_sum, latest_count = tree["latest"]
        self._latest_sum, self._latest_count = float(latest_sum), require_count("latest", latest_count)
