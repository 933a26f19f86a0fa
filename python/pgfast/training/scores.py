"""Raw scores of whole games."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from pgfast.envs.stepper import Transition

__all__ = ["Scores"]

_KEPT = 100  # games that the reported figures run over
_MOST = 10**12


class Scores:
    """Returns and lengths of the last 100 whole games, the mean return since the last row, and counts of the run.

    A game counts when it is over; one that is cut off, by making the environments anew or by replacing a worker, is
    left out and counted apart.
    """

    def __init__(self, num_envs: int) -> None:
        self._open_returns = np.zeros(num_envs)
        self._open_lengths = np.zeros(num_envs, np.int64)
        self.returns: deque[float] = deque(maxlen=_KEPT)
        self.lengths: deque[int] = deque(maxlen=_KEPT)
        self.episodes = 0
        self.episodes_cut = 0
        self.env_restarts = 0
        self._latest_sum, self._latest_count = 0.0, 0

    def add(self, transition: Transition) -> None:
        """One step of every environment."""
        returns, lengths = self._open_returns, self._open_lengths
        returns += transition.scores
        lengths += transition.played
        if transition.restarted.any():
            self.env_restarts += int(np.count_nonzero(transition.restarted))
            self.episodes_cut += int(np.count_nonzero(lengths[transition.restarted]))
            returns[transition.restarted] = 0.0
            lengths[transition.restarted] = 0
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
            "env_restarts": self.env_restarts,
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
            "env_restarts": self.env_restarts,
            "latest": [self._latest_sum, self._latest_count],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes over what :meth:`state` gave; the games that were open then are cut off.

        Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else.
        """
        counts = {name: state[name] for name in ("episodes", "episodes_cut", "open", "env_restarts")}
        latest_sum, counts["latest"] = state["latest"]
        for name, count in [*counts.items(), *(("lengths", length) for length in state["lengths"])]:
            if type(count) is not int or not 0 <= count < _MOST:
                raise ValueError(f"scores: {name} must be whole numbers in [0, 10^12), got {count!r:.40}")
        self.returns = deque((float(value) for value in state["returns"]), maxlen=_KEPT)
        self.lengths = deque(state["lengths"], maxlen=_KEPT)
        self.episodes = counts["episodes"]
        self._latest_sum, self._latest_count = float(latest_sum), counts["latest"]
        self.episodes_cut = counts["episodes_cut"] + counts["open"]
        self.env_restarts = counts["env_restarts"]
