"""Results of runs by task, library, algorithm and seed, kept in a CSV file, and a table of them."""

from __future__ import annotations

import argparse
import csv
import itertools
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Entry", "KeptRuns", "Run", "command_line", "selected"]

_TITLES = {
    "pgfast": "{}",
    "pgfast-bare": "{} without a preset",
    "sb3": "stable-baselines3's {}",
    "sb3-contrib": "sb3-contrib's {}",
}


@dataclass(frozen=True)
class Entry:
    """A column of a table. ``num_envs`` is None if the settings of each task say how many environments there are."""

    library: str
    algorithm: str
    num_envs: int | None = None

    @property
    def title(self) -> str:
        envs = "" if self.num_envs is None else f", {self.num_envs} environment" + "s" * (self.num_envs > 1)
        return _TITLES[self.library].format(self.algorithm.upper()) + envs

    @property
    def package(self) -> str:
        """The library that --libraries names."""
        return self.library.split("-")[0]


@dataclass(frozen=True)
class Run:
    """One seed of an entry on a task."""

    task: str
    entry: Entry
    seed: int
    timesteps: int
    result: float


class KeptRuns:
    """The runs in a CSV file, which each further one is added to at once."""

    _COLUMNS = ("task", "library", "algorithm", "num_envs", "seed", "timesteps", "result")

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(",".join(self._COLUMNS) + "\n")

    def all(self) -> list[Run]:
        """The runs so far."""
        with self._path.open(newline="") as file:
            return [
                Run(
                    row["task"],
                    Entry(row["library"], row["algorithm"], int(row["num_envs"]) if row["num_envs"] else None),
                    int(row["seed"]),
                    int(row["timesteps"]),
                    float(row["result"]),
                )
                for row in csv.DictReader(file)
            ]

    def __contains__(self, identity: tuple[str, Entry, int]) -> bool:
        return any((run.task, run.entry, run.seed) == identity for run in self.all())

    def add(self, run: Run) -> None:
        """Appends a run."""
        entry = run.entry
        with self._path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(
                (
                    *(run.task, entry.library, entry.algorithm, entry.num_envs, run.seed),
                    *(run.timesteps, f"{run.result:.6g}"),
                )
            )

    def complete(
        self, tasks: Iterable[str], entries: Sequence[Entry], seeds: int, run: Callable[[str, Entry, int], Run]
    ) -> None:
        """Makes the runs that are missing, one after the other, and prints each result."""
        for task, entry, seed in itertools.product(tasks, entries, range(seeds)):
            if (task, entry, seed) not in self:
                made = run(task, entry, seed)
                self.add(made)
                print(f"{entry.title} on {task}, seed {seed}: {made.result:.4g}", flush=True)

    def table(self, rows: Iterable[tuple[str, str]], entries: Sequence[Entry], seeds: int) -> str:
        """Markdown with the medians over the seeds and their range.

        Args:
            rows: the task of each row, and its title.
            entries: of the columns; those without any run are left out.
            seeds: a cell with fewer says how many it has.
        """
        runs = self.all()
        shown = [entry for entry in entries if any(run.entry == entry for run in runs)]
        lines = [f"| task | {' | '.join(entry.title for entry in shown)} |", f"|---{'|---' * len(shown)}|"]
        for task, title in rows:
            found = [[run.result for run in runs if (run.task, run.entry) == (task, entry)] for entry in shown]
            cells = [_cell(results, seeds) for results in found]
            lines.append(f"| {title} | {' | '.join(cells)} |")
        return "\n".join(lines)


def _cell(results: list[float], seeds: int) -> str:
    if not results:
        return "-"
    number = "" if len(results) >= seeds else f", {len(results)} seed{'s' * (len(results) > 1)}"
    return f"{statistics.median(results):.4g} ({min(results):.4g} to {max(results):.4g}{number})"


def command_line(
    description: str | None, tasks: Sequence[str], algorithms: Sequence[str], seeds: int
) -> argparse.ArgumentParser:
    """The options that say which runs to make, and where the files are."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tasks, default=tasks, help="only these tasks")
    parser.add_argument("--libraries", nargs="+", choices=["pgfast", "sb3"], default=["pgfast"])
    parser.add_argument("--algorithms", nargs="+", choices=algorithms, default=algorithms)
    parser.add_argument("--seeds", type=int, default=seeds, help="number of seeds of every task")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="directory of the files written")
    return parser


def selected(entries: Iterable[Entry], arguments: argparse.Namespace) -> list[Entry]:
    """The entries of the libraries and algorithms on the command line."""
    libraries, algorithms = arguments.libraries, arguments.algorithms
    return [entry for entry in entries if entry.package in libraries and entry.algorithm in algorithms]
