"""Where the time of a training goes: ``with Profile() as profile: agent.learn(100_000)``, then ``print(profile)``."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple, Self

from pgfast._native import native_info

__all__ = ["PARTS", "Part", "Profile"]


class Part(NamedTuple):
    """A part of the work, entered wherever it is done: ``with FORWARD: ...``. Costs next to nothing if no profile runs.

    Parts may lie inside each other: time counts for the innermost, but for a ``whole`` part it counts to its end.
    """

    name: str
    what: str
    whole: bool = False

    def __enter__(self) -> None:
        if _active is not None:
            _active.enter(self)

    def __exit__(self, *exception: object) -> None:
        if _active is not None:
            _active.leave()


START = Part("start", "making the environments and beginning their episodes")
ENVIRONMENTS = Part("environments", "steps of the environments; emulation, where they are Atari games")
FORWARD = Part("forward", "the networks, and sampling of actions")
BACKWARD = Part("backward", "gradients of the networks' parameters")
OPTIMIZER = Part("optimizer", "clipping and the step of the optimizer")
NATURAL_GRADIENT = Part("natural gradient", "Fisher products and the solve", whole=True)
LINE_SEARCH = Part("line search", "trying steps: the new policy's loss and KL divergence", whole=True)
VALUE_FIT = Part("value fit", "fitting the value function", whole=True)
REPORTS = Part("reports", "progress, checkpoints, callbacks")
PARTS = (START, ENVIRONMENTS, FORWARD, BACKWARD, OPTIMIZER, NATURAL_GRADIENT, LINE_SEARCH, VALUE_FIT, REPORTS)

_REST = Part("Python", "all the rest: what lies between the parts")


class Profile:
    """Measures the trainings that run inside ``with Profile() as profile:``, one at a time in the process.

    ``seconds`` is the wall time of each part, "Python" what belongs to none. ``wall_time`` and ``cpu_time`` are those
    of the whole process: ``busy`` is the share of ``num_threads`` processors that it kept busy. What is missing from 1
    was spent waiting: for the slowest environment, for one thread while the others had nothing to do, or for a
    processor that another program had.

    Raises ``RuntimeError`` where another profile is being measured.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
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
        """CPU time over wall time and threads."""
        return self.cpu_time / (self.wall_time * self.num_threads) if self.wall_time > 0.0 else 0.0

    def enter(self, part: Part) -> None:
        """Time counts for ``part`` from now on. Other threads than the profile's own are not measured."""
        if threading.get_ident() == self._thread:
            self._count()
            self._open.append(self._open[-1] if self._open[-1].whole else part)

    def leave(self) -> None:
        """Time counts again for what :meth:`enter` interrupted."""
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
        for part in (*PARTS, _REST):
            spent = self.seconds.get(part.name)
            if spent is not None:
                share = spent / self.wall_time if self.wall_time > 0.0 else 0.0
                lines.append(f"  {part.name:16s} {spent:9.2f} s {share:6.1%}  {part.what}")
        return "\n".join(lines)


_active: Profile | None = None
