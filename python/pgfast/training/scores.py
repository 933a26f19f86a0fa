"""Raw scores of whole games."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from pgfast.envs.stepper import Transition

__all__ = ["Scores"]

_KEPT = 100  # games that the reported figures run over


class Scores:
    """Returns and lengths of the last 100 whole games, the mean return since the last row, and counts of the run.

    A game counts when it is over; one that is cut off by making the environments anew is left out and counted apart.
    """

    def __init__(self, num_envs: int) -> None:
        self._open_returns = np.zeros(num_envs)
        self._open_lengths = np.zeros(num_envs, np.int64)
        self.returns: deque[float] = deque(maxlen=_KEPT)
        self.lengths: deque[int] = deque(maxlen=_KEPT)
        self.episodes = 0
        self.episodes_cut = 0
        self._latest_sum, self._latest_count = 0.0, 0

    def add(self, transition: Transition) -> None:
        """One step of every environment."""
        returns, lengths = self._open_returns, self._open_lengths
        returns += transition.scores
        lengths += transition.played
        if transition.game_over.any():
            for index in np.flatnonzero(transition.game_over):
                self.returns.append(float(returns[index]))
                self.lengths.append(int(lengths[index]))
                self.episodes += 1
                self._latest_sum += float(returns[index])
                self._latest_count += 1
            returns[transition.game_over] = 0.0
            lengths[transition.game_over] = 0

    def cut(self) -> None:
        """The environments start anew: open games are dropped."""
        self.episodes_cut += self._open()
        self._open_returns[:] = 0.0
        self._open_lengths[:] = 0

    def _open(self) -> int:
        return int(np.count_nonzero(self._open_lengths))

    def row(self) -> dict[str, float | None]:
        """The figures for progress.csv; None where no game has ended yet. ``return_latest`` starts anew."""
        returns = np.array(self.returns) if self.returns else None
        latest = self._latest_sum / self._latest_count if self._latest_count else None
        self._latest_sum, self._latest_count = 0.0, 0
        return {
            "episodes": self.episodes,
            "episodes_cut": self.episodes_cut,
            "return_mean": None if returns is None else float(returns.mean()),
            "return_std": None if returns is None else float(returns.std()),
            "return_min": None if returns is None else float(returns.min()),
            "return_max": None if returns is None else float(returns.max()),
            "return_latest": latest,
            "length_mean": None if returns is None else float(np.mean(self.lengths)),
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps. Open games cannot be part of it: their number is."""
        return {
            "open": self._open(),
            "returns": list(self.returns),
            "lengths": list(self.lengths),
            "episodes": self.episodes,
            "episodes_cut": self.episodes_cut,
            "latest": [self._latest_sum, self._latest_count],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes over what :meth:`state` gave; the games that were open then are cut off."""
        self.returns = deque((float(value) for value in state["returns"]), maxlen=_KEPT)
        self.lengths = deque((int(value) for value in state["lengths"]), maxlen=_KEPT)
        self.episodes = int(state["episodes"])
        self._latest_sum, self._latest_count = float(state["latest"][0]), int(state["latest"][1])
        self.episodes_cut = int(state["episodes_cut"]) + int(state["open"])
