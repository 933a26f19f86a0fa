"""The speed of copying memory."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

__all__ = ["MemoryCopy"]


class MemoryCopy:
    """A copy that reads and writes ``total_bytes`` in total, split among ``threads``.

    Each thread copies its part repeatedly without waiting for the others, which measures the bandwidth without the time
    of starting and joining threads.
    """

    def __init__(self, total_bytes: int, threads: int) -> None:
        each = total_bytes // 2 // threads
        self._parts = [(np.ones(each, np.uint8), np.empty(each, np.uint8)) for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads)

    def seconds(self, repeats: int) -> float:
        """Returns the time of one copy of all bytes."""

        def copy(part: tuple[np.ndarray, np.ndarray]) -> float:
            source, target = part
            np.copyto(target, source)
            began = time.perf_counter()
            for _ in range(repeats):
                np.copyto(target, source)
            return (time.perf_counter() - began) / repeats

        return max(self._pool.map(copy, self._parts))
