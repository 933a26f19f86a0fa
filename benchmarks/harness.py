"""The harness of all benchmarks: interleaved rounds, ratios, limits and goals."""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from machine import machine
from results import Result, case_goals, header, load_goals, missed_goals, row, write
from threads import all_threads, equal_threads, settle

__all__ = ["CONTINUE", "Bench", "Sampler", "main", "require_equal", "training_speed"]

Sampler = Callable[[], float]  # one sample: seconds, or a rate

SAMPLE_SECONDS = 0.01  # a timed sample repeats short calls until it takes at least this long
UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6}  # units of time; all others are rates and sizes, which are not converted

CONTINUE: dict[str, Any] = {"report_every": 10**9, "sync_every": 10**9}  # settings that keep reports out of the timing


def training_speed(agent: Any, timesteps: int) -> float:
    """Continues the training of a pgfast agent and returns its timesteps per second."""
    before, began = agent.timesteps, time.perf_counter()
    agent.learn(timesteps)
    return float((agent.timesteps - before) / (time.perf_counter() - began))


def require_equal(name: str, ours: Any, theirs: Any, tolerance: float) -> None:
    """Raises ``ValueError`` unless both sides have computed the same numbers."""
    if np.shape(ours) != np.shape(theirs):
        raise ValueError(f"{name}: pgfast returns shape {np.shape(ours)}, the peer {np.shape(theirs)}")
    error = float(np.linalg.norm(np.subtract(ours, theirs)) / np.linalg.norm(theirs))
    if not error <= tolerance:
        raise ValueError(f"{name}: pgfast and the peer differ by {error:.1e} of the norm, more than {tolerance:.0e}")


class Bench:
    """The run of one subject: measures cases, prints a line for each, and keeps the ``results``."""

    def __init__(self, subject: str, *, rounds: int, smoke: bool = False, only: str = "") -> None:
        self.subject, self.smoke, self.only = subject, smoke, only
        self.rounds = 1 if smoke else rounds
        self.results: list[Result] = []
        self._threads = all_threads()

    @contextmanager
    def on_threads(self, threads: int) -> Iterator[None]:
        """Measures with this number of threads in all libraries."""
        before, self._threads = self._threads, threads
        try:
            with equal_threads(threads):
                yield
        finally:
            self._threads = before

    def wants(self, case: str) -> bool:
        """Returns whether the command line selects ``case``."""
        return self.only in case

    def timed(self, function: Callable[[], Any]) -> Sampler:
        """Returns a sampler of the seconds that one call takes; it warms up now and before every sample."""

        def seconds(calls: int) -> float:
            began = time.perf_counter()
            for _ in range(calls):
                function()
            return time.perf_counter() - began

        function()
        calls = 1 if self.smoke else max(1, math.ceil(SAMPLE_SECONDS / max(seconds(1), 1e-7)))
        while not self.smoke and seconds(calls) < SAMPLE_SECONDS:
            calls *= 2

        def sample() -> float:
            function()
            return seconds(calls) / calls

        return sample

    def compare_times(
        self,
        case: str,
        unit: str,
        ours: Callable[[], Any],
        theirs: Callable[[], Any],
        *,
        peer: str,
        limit: Sampler | None = None,
    ) -> None:
        """Times two functions that compute the same; ``limit`` samples a lower bound in seconds."""
        if self.wants(case):
            self.compare(case, unit, self.timed(ours), self.timed(theirs), peer=peer, limit=limit)

    def compare_threads(self, case: str, unit: str, function: Callable[[], Any]) -> None:
        """Compares pgfast on two threads with pgfast on one."""

        def on(threads: int) -> Sampler:
            def sample() -> float:
                with equal_threads(threads):
                    return timed()

            timed = self.timed(function)
            return sample

        if self.wants(case):
            with self.on_threads(2):
                self.compare(case, unit, on(2), on(1), peer="pgfast, 1 thread")

    def compare(
        self,
        case: str,
        unit: str,
        ours: Sampler,
        theirs: Sampler,
        *,
        peer: str,
        limit: Sampler | None = None,
        note: Callable[[], str] = str,
    ) -> None:
        """Interleaves rounds of both sides and of the limit in alternating order; samples are seconds or rates."""
        if not self.wants(case):
            return
        sides = [ours, theirs, *([limit] if limit else [])]
        samples: list[list[float]] = [[] for _ in sides]
        for number in range(self.rounds):
            order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
            for side in order:
                settle()
                samples[side].append(sides[side]())
        higher_is_better = unit not in UNITS
        power = 1 if higher_is_better else -1
        ours_samples, *others = samples
        ratios, *fractions = [
            sorted((a / b) ** power for a, b in zip(ours_samples, other, strict=True)) for other in others
        ]
        medians = [UNITS.get(unit, 1.0) * statistics.median(values) for values in samples]
        reference = case_goals(self.subject, case).get("reference")
        self._add(
            case,
            unit,
            medians[0],
            higher_is_better=higher_is_better,
            peer=peer,
            peer_value=medians[1],
            ratio=statistics.median(ratios),
            ratio_low=ratios[0],
            ratio_high=ratios[-1],
            limit=medians[2] if limit else None,
            of_limit=statistics.median(fractions[0]) if limit else None,
            reference=reference,
            of_reference=(medians[1] / reference) ** power if reference else None,
            note=note(),
        )

    def compare_trainings(
        self,
        case: str,
        ours: Any,
        theirs: Any,
        timesteps: int,
        *,
        peer: str,
        limit: Sampler | None = None,
        note: Callable[[], str] = str,
    ) -> None:
        """Continues the training of a pgfast agent and of a peer in turns, ``timesteps`` at a time."""
        self.compare(
            case,
            "steps/s",
            lambda: training_speed(ours, timesteps),
            lambda: theirs.run(timesteps),
            peer=peer,
            limit=limit,
            note=note,
        )

    def add_value(self, case: str, unit: str, value: float) -> None:
        """Adds a value that is compared only with a goal; less is better."""
        if self.wants(case):
            self._add(case, unit, value, higher_is_better=False)

    def _add(self, case: str, unit: str, ours: float, **values: Any) -> None:
        goals = {name: goal for name, goal in case_goals(self.subject, case).items() if name != "reference"}
        missed = missed_goals(goals, ours, values.get("ratio"), values.get("of_limit"))
        result = Result(
            subject=self.subject,
            case=case,
            unit=unit,
            threads=self._threads,
            rounds=self.rounds,
            ours=ours,
            goals=goals,
            missed=missed,
            **values,
        )
        self.results.append(result)
        print(row(result), flush=True)

    def require_complete(self) -> None:
        """Raises ``KeyError`` if goals.toml has a case that was not measured."""
        missing = set(load_goals()[self.subject]) - {"*"} - {result.case for result in self.results}
        missing = {case for case in missing if self.wants(case)}
        if missing:
            raise KeyError(f"goals.toml: {self.subject} does not measure {', '.join(sorted(missing))}")


def main(subject: str, measure: Callable[[Bench], None], description: str | None, *, rounds: int = 15) -> None:
    """Runs the command line of one subject."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help="interleaved rounds of each case (%(default)s)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the cases whose name contains TEXT")
    parser.add_argument("--smoke", action="store_true", help="run every case briefly, to check that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {args.rounds}")
    bench = Bench(subject, rounds=args.rounds, smoke=args.smoke, only=args.only)
    print(f"{subject}: {all_threads()} threads, medians of {bench.rounds} interleaved rounds")
    print(header(), flush=True)
    with bench.on_threads(all_threads()):
        measure(bench)
    bench.require_complete()
    if args.json:
        write(args.json, machine(), bench.results)
