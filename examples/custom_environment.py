"""A custom environment with Gymnasium's interface, and an agent that learns in 16 copies of it.

    python examples/custom_environment.py

A room loses heat to the cold outside. A thermostat switches a heater on and off to keep the room at 20 degrees with as
little energy as possible. The program takes a few seconds.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray

import pgfast

COMFORT = 20.0  # degrees


def observe(room: float, outside: float) -> NDArray[np.float32]:
    """Scales both temperatures to a range of about -3 to 3, which suits neural networks."""
    return np.array([(room - COMFORT) / 2.0, (outside - COMFORT) / 10.0], np.float32)


class Thermostat(gymnasium.Env[NDArray[np.float32], np.int64]):
    """A room with a heater; the observation is the scaled temperatures inside and outside. One step is 15 minutes."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-50.0, 50.0, (2,), np.float32)
        self.action_space = spaces.Discrete(2)  # heater off, on
        self.room, self.outside = COMFORT, 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)  # seeds self.np_random, the only source of random numbers
        self.room = self.np_random.uniform(10.0, 25.0)
        self.outside = self.np_random.uniform(-10.0, 10.0)
        return observe(self.room, self.outside), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.room += 0.05 * (self.outside - self.room) + 2.0 * int(action)
        self.outside = float(np.clip(self.outside + self.np_random.normal(0.0, 0.3), -10.0, 10.0))
        reward = -abs(self.room - COMFORT) / 10.0 - 0.02 * int(action)
        return observe(self.room, self.outside), reward, False, False, {}  # never terminates: TimeLimit truncates


def make() -> gymnasium.Env[Any, Any]:
    """Makes one environment of 96 steps, a day. The limit truncates, so the rest has an estimated value, not zero."""
    return TimeLimit(Thermostat(), 96)


agent = pgfast.A2C(
    make,
    num_envs=16,
    n_steps=20,
    discount=0.95,  # the effect of a step fades within hours
    gae_lambda=0.95,
    optimizer="adam",
    learning_rate=3e-3,
    normalize_advantages=True,
    seed=0,
)
before = agent.evaluate(32)
agent.learn(60_000)
after = agent.evaluate(32, deterministic=True)
print(f"return of a day: {before.return_mean:.1f} before, {after.return_mean:.1f} after {agent.timesteps:,} steps")

for room in (15.0, 19.0, 21.0, 25.0):
    heater = "on" if agent.predict(observe(room, 0.0), deterministic=True) else "off"
    print(f"at {room:.0f} degrees, with 0 outside, the heater is {heater}")
