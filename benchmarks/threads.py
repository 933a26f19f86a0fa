"""Equal threads for everybody."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import threadpool_limits

import pgfast

__all__ = ["all_threads", "equal_threads", "in_words", "settle"]

# Threads of PyTorch and OpenBLAS wait for more work on a busy core for up to some 25 ms: they must not do that while
# the other side is measured.
SETTLE_SECONDS = 0.05


def all_threads() -> int:
    """What pgfast takes unless told otherwise: the CPUs this process may use."""
    return int(pgfast.native_info()["num_threads"])


def in_words(threads: int) -> str:
    """As names of cases have it."""
    return f"{threads} thread{'s' if threads > 1 else ''}"


@contextmanager
def equal_threads(threads: int) -> Iterator[None]:
    """pgfast, PyTorch where it is loaded, and every loaded BLAS on so many threads."""
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
    """Lets the threads of the side that was measured last fall asleep."""
    time.sleep(SETTLE_SECONDS)
