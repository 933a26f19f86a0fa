"""Raw returns and lengths of whole episodes."""

from __future__ import annotations

from collections import deque

import numpy as np

from pgfast._typing import BoolArray
from pgfast.envs.stepper import Transition
from pgfast.state import Tree, require_count

__all__ = ["EpisodeStatistics", "OpenEpisodes"]

_KEPT = 100  # episodes that the reported figures run over


class OpenEpisodes:
    """Returns and lengths so far of the episodes that are being played."""

    def __init__(self, num_envs: int) -> None:
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, np.int64)

    def add(self, transition: Transition) -> list[tuple[int, float, int]]:
        """One step of every environment; returns (environment, return, length) of each episode that it ended."""
        self._returns += transition.scores
        self._lengths += transition.played
        (over,) = transition.game_over.nonzero()
        ended = [(int(n), float(self._returns[n]), int(self._lengths[n])) for n in over]
        if ended:
            self._returns[over] = self._lengths[over] = 0
        return ended

    def drop(self, environments: BoolArray) -> int:
        """Forgets the episodes of these environments, and returns how many were open."""
        count = int(np.count_nonzero(self._lengths[environments]))
        self._returns[environments] = self._lengths[environments] = 0
        return count

    def __len__(self) -> int:
        return int(np.count_nonzero(self._lengths))


class EpisodeStatistics:
    """Returns and lengths of the last 100 whole episodes, the mean return since the last row, and counts of the run.

    An episode counts when it is over. One that is cut off, by making the environments anew or by replacing a worker, is
    left out and counted apart. For Atari an episode is a whole game, whatever lives end.
    """

    def __init__(self, num_envs: int) -> None:
        self._open = OpenEpisodes(num_envs)
        self._all = np.ones(num_envs, np.bool_)
        self.returns: deque[float] = deque(maxlen=_KEPT)
        self.lengths: deque[int] = deque(maxlen=_KEPT)
        self.episodes = 0
        self.episodes_cut = 0
        self.env_restarts = 0
        self._latest_sum, self._latest_count = 0.0, 0

    def add(self, transition: Transition) -> None:
        """One step of every environment."""
        restarts = int(np.count_nonzero(transition.restarted))
        if restarts:
            self.env_restarts += restarts
            self.episodes_cut += self._open.drop(transition.restarted)
        for _, episode_return, length in self._open.add(transition):
            self.returns.append(episode_return)
            self.lengths.append(length)
            self.episodes += 1
            self._latest_sum += episode_return
            self._latest_count += 1

    def cut(self) -> None:
        """The environments start anew: open episodes are dropped."""
        self.episodes_cut += self._open.drop(self._all)

    def row(self) -> dict[str, float | None]:
        """The figures for progress.csv; None where no game has ended yet. ``return_latest`` starts anew."""
        returns = np.array(self.returns) if self.returns else None
        latest = self._latest_sum / self._latest_count if self._latest_count else None
        self._latest_sum, self._latest_count = 0.0, 0
        return {
            "episodes": self.episodes,
            "episodes_cut": self.episodes_cut,
            "env_restarts": self.env_restarts,
            "return_mean": None if returns is None else float(returns.mean()),
            "return_std": None if returns is None else float(returns.std()),
            "return_min": None if returns is None else float(returns.min()),
            "return_max": None if returns is None else float(returns.max()),
            "return_latest": latest,
            "length_mean": None if returns is None else float(np.mean(self.lengths)),
        }

    def state(self) -> Tree:
        """The figures, and the number of open episodes, which themselves cannot be part of it."""
        return {
            "open": len(self._open),
            "returns": list(self.returns),
            "lengths": list(self.lengths),
            "episodes": self.episodes,
            "episodes_cut": self.episodes_cut,
            "env_restarts": self.env_restarts,
            "latest": [self._latest_sum, self._latest_count],
        }

    def load_state(self, tree: Tree) -> None:
        """Counts the episodes that were open then as cut off.

        Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else.
        """
        self.episodes, self.env_restarts = (require_count(name, tree[name]) for name in ("episodes", "env_restarts"))
        self.episodes_cut = require_count("episodes_cut", tree["episodes_cut"]) + require_count("open", tree["open"])
        self.returns = deque((float(value) for value in tree["returns"]), maxlen=_KEPT)
        self.lengths = deque((require_count("lengths", value) for value in tree["lengths"]), maxlen=_KEPT)
        latest_sum, latest_count = tree["latest"]
        self._latest_sum, self._latest_count = float(latest_sum), require_count("latest", latest_count)
