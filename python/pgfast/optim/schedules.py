"""Learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["cosine_schedule", "linear_schedule", "tabulated_schedule"]


def linear_schedule(initial: float, timesteps: int, schedule_timesteps: int) -> float:
    """Returns the value at ``timesteps`` of a schedule that falls linearly from ``initial`` to 0.

    initial max(0, 1 - timesteps / schedule_timesteps)

    Args:
        initial: the value at timestep 0.
        timesteps: at least 0.
        schedule_timesteps: where the schedule reaches 0, at least 1.

    Raises:
        ValueError: if ``schedule_timesteps`` is below 1.
    """
    if schedule_timesteps < 1:
        raise ValueError(f"linear_schedule: schedule_timesteps must be at least 1, got {schedule_timesteps}")
    return initial * max(0.0, 1.0 - timesteps / schedule_timesteps)


def cosine_schedule(initial: float, timesteps: int, schedule_timesteps: int) -> float:
    """Returns the value at ``timesteps`` of a schedule that falls from ``initial`` to 0 along half a cosine wave.

    initial (1 + cos(pi min(1, timesteps / schedule_timesteps))) / 2

    Args:
        initial: the value at timestep 0.
        timesteps: at least 0.
        schedule_timesteps: where the schedule reaches 0, at least 1.

    Raises:
        ValueError: if ``schedule_timesteps`` is below 1.

    Source: Loshchilov and Hutter (2017), equation 5, with one period and the minimum 0.
    """
    if schedule_timesteps < 1:
        raise ValueError(f"cosine_schedule: schedule_timesteps must be at least 1, got {schedule_timesteps}")
    return initial * (1.0 + math.cos(math.pi * min(1.0, timesteps / schedule_timesteps))) / 2.0


def tabulated_schedule(initial: float, factors: Sequence[float], timesteps: int, schedule_timesteps: int) -> float:
    """Returns the value at ``timesteps`` of a schedule given by factors of ``initial``.

    The factors lie at equal distances from 0 to ``schedule_timesteps``, with straight lines between them; the last one
    holds from there on.

    Args:
        initial: the value of a factor of 1.
        factors: at least one.
        timesteps: at least 0.
        schedule_timesteps: where the last factor is reached, at least 1.

    Raises:
        ValueError: if ``schedule_timesteps`` is below 1, or there is no factor.
    """
    if schedule_timesteps < 1:
        raise ValueError(f"tabulated_schedule: schedule_timesteps must be at least 1, got {schedule_timesteps}")
    if not factors:
        raise ValueError("tabulated_schedule: factors must have at least one value, got none")
    position = min(1.0, timesteps / schedule_timesteps) * (len(factors) - 1)
    before = min(int(position), len(factors) - 1)
    after = min(before + 1, len(factors) - 1)
    return initial * (factors[before] + (position - before) * (factors[after] - factors[before]))
