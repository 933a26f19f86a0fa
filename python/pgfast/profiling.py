"""A profiler of training time: ``with Profile() as profile: agent.learn(100_000)``, then ``print(profile)``."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from statistics import fmean
from typing import NamedTuple, Self

from pgfast._native import native_info

__all__ = ["PARTS", "Part", "Profile", "active_profile"]


class Part(NamedTuple):
    """A part of the work, entered as a context: ``with FORWARD: ...``. It costs almost nothing if no profile is active.

    Parts may be nested. Time counts for the innermost part, unless a ``whole`` part encloses it: that one counts
    everything inside it, except for a part that is to be counted ``apart``.
    """

    name: str
    description: str
    whole: bool = False
    apart: bool = False

    def __enter__(self) -> None:
        if _active is not None:
            _active.enter(self)

    def __exit__(self, *exception: object) -> None:
        if _active is not None:
            _active.leave()


START = Part("start", "opening the files of the run, starting workers, environments and their episodes")
ENVIRONMENTS = Part("environments", "steps of the environments, for Atari games the emulation")
FORWARD = Part("forward", "forward passes of the networks and sampling of actions")
BACKWARD = Part("backward", "gradients of the networks' parameters")
OPTIMIZER = Part("optimizer", "clipping and the optimizer's step")
NATURAL_GRADIENT = Part("natural gradient", "Fisher products and the solve", whole=True)
LINE_SEARCH = Part("line search", "loss and KL divergence of candidate policies", whole=True)
WORKERS = Part("workers", "waiting for workers, and adding up what they compute")
WAITING = Part("waiting", "sending to the driver, and waiting for it and the other workers", apart=True)
VALUE_FIT = Part("value fit", "fitting the value function", whole=True)
REPORTS = Part("reports", "progress, checkpoints, callbacks")
PARTS = (
    START,
    ENVIRONMENTS,
    FORWARD,
    BACKWARD,
    OPTIMIZER,
    NATURAL_GRADIENT,
    LINE_SEARCH,
    VALUE_FIT,
    WORKERS,
    WAITING,
    REPORTS,
)

_REST = Part("Python", "everything else")


class Profile:
    """Measures the time of a training inside ``with Profile() as profile:``; one profile at a time in the process.

    ``seconds`` holds the wall time of each part by name; "Python" is the time outside all parts. ``wall_time`` and
    ``cpu_time`` are those of the whole process, and ``busy`` is the fraction of ``num_threads`` processors that it kept
    busy. The rest was spent waiting: for the slowest environment, for one thread while the others were idle, or for a
    processor that another program used. ``workers`` holds the ``seconds`` of each worker of a training on Ray.

    Raises:
        RuntimeError: on entering the block, if another profile is active.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.workers: list[dict[str, float]] = []
        self.wall_time = 0.0
        self.cpu_time = 0.0
        self.num_threads = int(native_info()["num_threads"])

    def __enter__(self) -> Self:
        global _active
        if _active is not None:
            raise RuntimeError("Profile: another profile is being measured")
        self._thread = threading.get_ident()
        self._open = [_REST]
        self._since = time.perf_counter()
        self.wall_time -= self._since
        self.cpu_time -= time.process_time()
        _active = self
        return self

    def __exit__(self, *exception: object) -> None:
        global _active
        _active = None
        self._count()
        self.wall_time += self._since
        self.cpu_time += time.process_time()

    @property
    def busy(self) -> float:
        """CPU time divided by wall time and by the number of threads."""
        return self.cpu_time / (self.wall_time * self.num_threads) if self.wall_time > 0.0 else 0.0

    def enter(self, part: Part) -> None:
        """Counts time for ``part`` from now on. Only the thread that started the profile is measured."""
        if threading.get_ident() == self._thread:
            self._count()
            self._open.append(self._open[-1] if self._open[-1].whole and not part.apart else part)

    def leave(self) -> None:
        """Counts time again for the part that :meth:`enter` interrupted."""
        if threading.get_ident() == self._thread:
            self._count()
            self._open.pop()

    def _count(self) -> None:
        now = time.perf_counter()
        name = self._open[-1].name
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now

    def __str__(self) -> str:
        threads = f"{self.num_threads} thread{'s' if self.num_threads > 1 else ''}"
        lines = [
            f"where {self.wall_time:.1f} s went ({threads}, {self.busy:.0%} busy and {max(0.0, 1.0 - self.busy):.0%} "
            "waiting):"
        ]
        lines += self._lines(self.seconds)
        if self.workers:
            names = {name for seconds in self.workers for name in seconds}
            means = {name: fmean(seconds.get(name, 0.0) for seconds in self.workers) for name in names}
            lines += [f"of which an update took, mean of {len(self.workers)} workers:", *self._lines(means)]
        return "\n".join(lines)

    def _lines(self, seconds: Mapping[str, float]) -> list[str]:
        """A line for each part, with its share of the wall time."""
        lines = []
        for part in (*PARTS, _REST):
            spent = seconds.get(part.name)
            if spent is not None:
                fraction = spent / self.wall_time if self.wall_time > 0.0 else 0.0
                lines.append(f"  {part.name:16s} {spent:9.2f} s {fraction:6.1%}  {part.description}")
        return lines


def active_profile() -> Profile | None:
    """The profile that is being measured in this process."""
    return _active


_active: Profile | None = None
