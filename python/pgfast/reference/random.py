"""Philox4x32-10 (Salmon et al., 2011) in Python integers, and the numbers derived from its blocks."""

from __future__ import annotations

import math
from typing import TypeAlias

Block: TypeAlias = tuple[int, int, int, int]  # four words of 32 bits

_MASK = 0xFFFFFFFF


def philox(key: int, counter: Block) -> Block:
    """Ten rounds on four words; the low word of the 64-bit ``key`` is the paper's k_0."""
    k0, k1 = key & _MASK, key >> 32
    c0, c1, c2, c3 = counter
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) & _MASK, (k1 + 0xBB67AE85) & _MASK
    return c0, c1, c2, c3


def block_of(seed: int, stream: int, environment: int, step: int, draw: int = 0) -> Block:
    """The block of (seed, stream, environment, step, draw); ``step`` has 48 bits, ``stream`` the 16 bits above."""
    return philox(seed, (environment, draw, step & _MASK, (step >> 32) & 0xFFFF | stream << 16))


def uniform(block: Block, half: int = 0) -> float:
    """A multiple of 2^-53 in [0, 1) from words 0 and 1 (``half`` 0) or 2 and 3 (``half`` 1)."""
    bits = block[2 * half] << 32 | block[2 * half + 1]
    return (bits >> 11) * 2.0**-53


def normal_pair(block: Block) -> tuple[float, float]:
    """Two standard normal numbers: sqrt(-2 log(1 - u)) times cos and sin of 2 pi u' (Box and Muller, 1958)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - uniform(block, 0)))
    angle = 2.0 * math.pi * uniform(block, 1)
    return radius * math.cos(angle), radius * math.sin(angle)
