"""An environment with any action space, which asserts that every action lies in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

__all__ = ["ActionEnv", "arrays_of", "same"]


class ActionEnv(gymnasium.Env[Any, Any]):
    """Episodes of ``length`` steps; the reward is minus the mean of the action's squashed numbers.

    ``taken`` are the actions of the last episode.
    """

    observation_space = spaces.Box(-1.0, 1.0, (2,))

    def __init__(self, space: spaces.Space[Any], length: int = 5) -> None:
        self.action_space, self.length = space, length
        self.taken: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.taken = []
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        assert all(np.isfinite(array).all() for array in arrays_of(action))
        self.taken.append(action)
        reward = -float(np.mean([np.tanh(np.asarray(array, np.float64)).mean() for array in arrays_of(action)]))
        return self._observe(), reward, False, len(self.taken) == self.length, {}

    def _observe(self) -> Any:
        return self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32)


def arrays_of(action: Any) -> Iterator[Any]:
    """The arrays and scalars of a nest."""
    if isinstance(action, (dict, tuple)):
        for part in action.values() if isinstance(action, dict) else action:
            yield from arrays_of(part)
    else:
        yield action


def same(one: Any, other: Any) -> bool:
    """Whether the arrays of two nests are equal, and their dtypes."""
    pairs = list(zip(arrays_of(one), arrays_of(other), strict=True))
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs)
