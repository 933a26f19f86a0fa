"""Environments that are closed when nobody uses them any more."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.util import Finalize

__all__ = ["close_at_end"]


def close_at_end(owner: object, close: Callable[[], object]) -> None:
    """Calls ``close`` when ``owner`` is collected or the process ends.

    ``close`` must not refer to ``owner``, and do nothing if it was closed before.

    An environment may have started processes that only its ``close`` ends. ``atexit`` would not run in a process of
    multiprocessing, which at its end waits for its own processes. A forked process leaves the environments to its
    parent.
    """
    Finalize(owner, close, exitpriority=0)
