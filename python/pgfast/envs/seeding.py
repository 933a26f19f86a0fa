"""Seeds of environments, hashed so that no two environments of any two runs are likely to share one."""

from __future__ import annotations

from pgfast._native import core
from pgfast._streams import ENVIRONMENT_SEEDS


def environment_seeds(seed: int, num_envs: int, *, generation: int = 0, stream: int = ENVIRONMENT_SEEDS) -> list[int]:
    """One seed in [0, 2^31) per environment, from (seed, stream, environment, generation).

    ``generation`` tells apart the times that one run makes its environments anew.
    """
    high = ((generation >> 32) & 0xFFFF) | (stream << 16)
    return [int(core.philox(seed, (index, 0, generation & 0xFFFFFFFF, high))[0]) >> 1 for index in range(num_envs)]
