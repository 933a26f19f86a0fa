"""Hashed seeds of environments: those of the same run or of different runs are unlikely to coincide."""

from __future__ import annotations

from pgfast._native import core
from pgfast._streams import ENVIRONMENT_SEEDS


def environment_seeds(seed: int, num_envs: int, *, generation: int = 0, stream: int = ENVIRONMENT_SEEDS) -> list[int]:
    """Returns one seed in [0, 2^31) per environment, from (seed, stream, environment, generation).

    ``generation`` distinguishes the sets of environments that one run makes. Raises ``ValueError`` for a seed out of
    range.
    """
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be in [0, 2^64), got {seed}")
    high = ((generation >> 32) & 0xFFFF) | (stream << 16)
    return [int(core.philox(seed, (index, 0, generation & 0xFFFFFFFF, high))[0]) >> 1 for index in range(num_envs)]
