"""The list of whole episodes from which ``episodes.csv`` is written."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["EPISODE_COLUMNS", "EpisodeRecorder"]

EPISODE_COLUMNS = ("timesteps", "environment", "return", "length", "seconds")
"""The columns of ``episodes.csv`` before those of the infos."""


class EpisodeRecorder:
    """Keeps the episodes that ended since the last :meth:`take`, as rows of ``episodes.csv``.

    Args:
        info_keys: keys of the infos, numbers, that are kept of the last step of an episode.
        began: when the run began, on the clock of :func:`time.perf_counter`.
        first_environment: the number in the run of environment 0.
    """

    def __init__(self, info_keys: Sequence[str], began: float, first_environment: int = 0) -> None:
        self.columns = (*EPISODE_COLUMNS, *info_keys)
        self.info_keys = tuple(info_keys)
        self._began, self._first_environment = began, first_environment
        self._rows: list[dict[str, float | None]] = []

    def add(self, ended: Sequence[tuple[int, float, int]], infos: Mapping[str, Any], timesteps: int) -> None:
        """Adds (environment, return, length) of the episodes that a step ended, at ``timesteps`` of the run.

        Raises ``TypeError`` if an info is not a number.
        """
        if not ended:
            return
        seconds = round(self.seconds, 3)
        last = infos.get("final_info", infos)  # if the environments have already begun the next episodes
        for index, episode_return, length in ended:
            number = self._first_environment + index
            chosen = (_number(last, key, index, number) for key in self.info_keys)
            row = (timesteps, number, episode_return, length, seconds, *chosen)
            self._rows.append(dict(zip(self.columns, row, strict=True)))

    @property
    def seconds(self) -> float:
        """The age of the run."""
        return time.perf_counter() - self._began

    def extend(self, rows: Iterable[dict[str, float | None]]) -> None:
        """Adds the rows of other recorders."""
        self._rows.extend(rows)

    def take(self) -> list[dict[str, float | None]]:
        """Returns the rows and begins anew."""
        rows, self._rows = self._rows, []
        return rows


def _number(infos: Mapping[str, Any], key: str, index: int, number: int) -> float | None:
    """The value of one environment, which has this number in the run; None if it has not reported the key."""
    values, reported = infos.get(key), infos.get(f"_{key}")
    if values is None or (reported is not None and not reported[index]):
        return None
    try:
        value = values[index]
    except (TypeError, IndexError, KeyError):  # one for all environments
        value = values
    value = value.item() if isinstance(value, np.generic) else value
    if value is not None and not isinstance(value, bool | int | float):
        raise TypeError(
            f'info_keys: infos["{key}"] of environment {number} must be a number, got {type(value).__name__}'
        )
    return int(value) if isinstance(value, bool) else value
