"""How fast memory is copied."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

__all__ = ["MemoryCopy"]


class MemoryCopy:
    """Copies that read and write ``total_bytes`` together, split among ``threads``.

    Each thread copies its part over and over without waiting for the others: what a bandwidth is, without the time
    that it takes to start and join threads.
    """

    def __init__(self, total_bytes: int, threads: int) -> None:
        each = total_bytes // 2 // threads
        self._parts = [(np.ones(each, np.uint8), np.empty(each, np.uint8)) for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads)

    def seconds(self, repeats: int) -> float:
        """Of one copy of everything."""

        def copy(part: tuple[np.ndarray, np.ndarray]) -> float:
            source, target = part
            np.copyto(target, source)
            began = time.perf_counter()
            for _ in range(repeats):
                np.copyto(target, source)
            return (time.perf_counter() - began) / repeats

        return max(self._pool.map(copy, self._parts))
