"""Equal numbers of threads for pgfast and its peers."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import threadpool_limits

import pgfast

__all__ = ["all_threads", "equal_threads", "in_words", "settle"]

# Idle threads of PyTorch and OpenBLAS keep a core busy for up to some 25 ms and would slow down the next side.
SETTLE_SECONDS = 0.05


def all_threads() -> int:
    """Returns the number of threads that pgfast uses by default: the CPUs that this process may use."""
    return int(pgfast.native_info()["num_threads"])


def in_words(threads: int) -> str:
    """Returns "1 thread" or "2 threads", as in the names of cases."""
    return f"{threads} thread{'s' if threads > 1 else ''}"


@contextmanager
def equal_threads(threads: int) -> Iterator[None]:
    """Sets the number of threads of pgfast, of PyTorch if it is loaded, and of every loaded BLAS."""
    torch: Any = sys.modules.get("torch")
    before = all_threads()
    torch_before = torch.get_num_threads() if torch else 0
    with threadpool_limits(threads):
        pgfast.set_num_threads(threads)
        if torch:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            pgfast.set_num_threads(before)
            if torch:
                torch.set_num_threads(torch_before)


def settle() -> None:
    """Waits until the threads of the side measured last are asleep."""
    time.sleep(SETTLE_SECONDS)
