"""The processes of Ray on this machine."""

from __future__ import annotations

import time
from pathlib import Path

__all__ = ["gone", "ray_pids", "worker_pids"]

_RAYS = (b"ray::", b"/raylet/raylet", b"/gcs/gcs_server", b"/ray/_private/")


def worker_pids() -> list[int]:
    """The processes of all workers."""
    return [pid for pid, command in _commands().items() if command.startswith(b"ray::_Worker")]


def ray_pids() -> list[int]:
    """All processes of Ray, those of workers among them."""
    return [pid for pid, command in _commands().items() if any(word in command for word in _RAYS)]


def gone(pids: list[int], seconds: float) -> bool:
    """Waits until none of the processes is left."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not set(pids) & set(ray_pids()):
            return True
        time.sleep(0.1)
    return False


def _commands() -> dict[int, bytes]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[int(path.parent.name)] = path.read_bytes()
        except OSError:
            continue
    return found
