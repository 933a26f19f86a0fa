"""Tasks that need memory."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

__all__ = ["Positions", "TMaze"]

Observation = NDArray[np.float32]


class Positions(gymnasium.ObservationWrapper[Observation, np.int64, Observation]):
    """CartPole without its velocities: the position of the cart and the angle of the pole."""

    def __init__(self) -> None:
        super().__init__(gymnasium.make("CartPole-v1"))
        space = self.env.observation_space
        assert isinstance(space, spaces.Box)
        self.observation_space = spaces.Box(space.low[[0, 2]], space.high[[0, 2]])

    def observation(self, observation: Observation) -> Observation:
        return observation[[0, 2]]


class TMaze(gymnasium.Env[Observation, np.int64]):
    """A corridor of ``length`` steps to a junction; the first observation shows which of the two turns is rewarded.

    Observes (the sign at the first step, whether the agent is at the junction). Actions are forward and the two turns.
    The right turn is worth 1, the wrong one 0; a move that leads nowhere costs 0.1.

    Source: Bakker (2002), section 4.
    """

    action_space = spaces.Discrete(3)
    observation_space = spaces.Box(-1, 1, (2,))
    length = 20

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = self.time = 0
        self.sign = 1 if self.np_random.integers(2) else -1
        return np.array([self.sign, 0.0], np.float32), {}

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        self.time += 1
        is_turn, at_junction = int(action) > 0, self.place == self.length
        if is_turn == at_junction:
            self.place += not is_turn
            reward = float(is_turn and (int(action) == 1) == (self.sign == 1))
        else:
            reward = -0.1
        observation = np.array([0.0, self.place == self.length], np.float32)
        return observation, reward, is_turn and at_junction, self.time == 4 * self.length, {}
