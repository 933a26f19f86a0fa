"""Trains every task of the course, and CartPole-v1, from the command line; writes the tables and the curves.

python docs/results/reproduce.py [--only NAME ...] [--seeds N] [--out docs/results] [--runs DIR]

A run that is in --runs already is not trained again. Needs the extras `all`. About half an hour on two cores.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import pgfast
from pgfast.runs.progress_log import read_progress


@dataclass(frozen=True)
class Task:
    """One row of the table. ``target`` is the mean return that is asked for within ``limit`` of ``unit``."""

    name: str
    arguments: str  # of pgfast train
    target: float
    limit: int
    unit: str  # "updates": the mean of the games of one update counts; "timesteps": of the last 100 games
    seeds: int = 5
    source: str = "the course"  # of the target


TASKS = [
    Task("VPG linear", "vpg CartPole-v0 --preset linear", 198, 100, "updates"),
    Task("NPG linear", "npg CartPole-v0 --preset linear", 200, 72, "updates"),
    Task("VPG MLP", "vpg CartPole-v0 --preset mlp", 200, 14, "updates"),
    Task("TRPO", "trpo CartPole-v0", 200, 20, "updates"),
    Task("Point, no baseline", "vpg pgfast/Point-v0 --preset linear", -25, 100, "updates"),
    Task("Point, time baseline", "vpg pgfast/Point-v0 --preset time", -20, 100, "updates"),
    Task("TRPO Pendulum", "trpo Pendulum-v1", -200, 34, "updates"),
    Task("TRPO HalfCheetah", "trpo HalfCheetah-v5", 1803, 1_000_000, "timesteps", seeds=3, source="sb3-contrib"),
    Task("VPG CartPole-v1", "vpg CartPole-v1", 475, 150_000, "timesteps", source="solved"),
    Task("NPG CartPole-v1", "npg CartPole-v1", 475, 150_000, "timesteps", source="solved"),
    Task("TRPO CartPole-v1", "trpo CartPole-v1", 475, 150_000, "timesteps", source="solved"),
    Task("A2C CartPole-v1", "a2c CartPole-v1", 475, 300_000, "timesteps", source="solved"),
]


@dataclass(frozen=True)
class Result:
    """What one seed came to."""

    task: Task
    seed: int
    reached: float | None  # where the target was first reached, in the task's unit
    best: float  # within the limit
    final: float  # pgfast eval, 100 whole games, stochastic
    curve: dict[str, np.ndarray]


def run(task: Task, seed: int, runs: Path) -> Result:
    """Trains, unless that is done, and reads what came of it."""
    directory = runs / f"{task.name.replace(' ', '-').replace(',', '').lower()}-{seed}"
    if not (directory / "model.safetensors").exists():
        command = ["pgfast", "train", *task.arguments.split(), "--seed", str(seed), "--run-dir", str(directory)]
        print("+", " ".join(command), flush=True)
        subprocess.run([sys.executable, "-m", *command], check=True, stdout=subprocess.DEVNULL)
    progress = read_progress(directory / "progress.csv")
    returns = progress["return_latest" if task.unit == "updates" else "return_mean"]
    within = progress[task.unit] <= task.limit
    hit = np.flatnonzero(within & (returns >= task.target))
    return Result(
        task,
        seed,
        float(progress[task.unit][hit[0]]) if hit.size else None,
        float(np.nanmax(returns[within])),
        pgfast.load(directory).evaluate(100).return_mean,
        {"timesteps": progress["timesteps"], "updates": progress["updates"], "return": returns},
    )


def summarize(results: list[Result]) -> str:
    """One line of the table in Markdown."""
    task = results[0].task
    reached = [result.reached for result in results if result.reached is not None]
    when = f"{statistics.median(reached):,.0f} ({min(reached):,.0f} to {max(reached):,.0f})" if reached else "-"
    best, final = ([getattr(result, name) for result in results] for name in ("best", "final"))
    wanted = f"{task.target:g} within {task.limit:,} {task.unit} ({task.source})"
    return (
        f"| {task.name} | `{task.arguments}` | {wanted} | {len(reached)} of {len(results)} | {when} "
        f"| {statistics.median(best):.0f} ({min(best):.0f} to {max(best):.0f}) "
        f"| {statistics.median(final):.0f} ({min(final):.0f} to {max(final):.0f}) |"
    )


def draw(all_results: list[list[Result]], path: Path) -> None:
    """Every seed's curve, a panel for each task, with the target as a line."""
    columns = 3
    rows = -(-len(all_results) // columns)
    figure = Figure(figsize=(12, 2.8 * rows), dpi=110, layout="constrained")
    for panel, results in enumerate(all_results):
        task = results[0].task
        axes = figure.add_subplot(rows, columns, panel + 1)
        scale = 1000.0 if task.unit == "timesteps" else 1.0
        for result in results:
            axes.plot(result.curve[task.unit] / scale, result.curve["return"], linewidth=1.0, alpha=0.8)
        axes.axhline(task.target, color="#777777", linewidth=0.8, linestyle="--")
        axes.set_title(task.name, fontsize=10, loc="left")
        axes.set_xlabel("thousands of timesteps" if scale > 1.0 else "updates", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def main() -> None:
    """Runs the tasks asked for; the files are written when all are done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[task.name for task in TASKS], help="these tasks alone")
    parser.add_argument("--seeds", type=int, help="seeds of every task, instead of its own number")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where the files go")
    parser.add_argument("--runs", type=Path, help="where the runs are kept; thrown away if not given")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        runs = args.runs or Path(scratch)
        chosen = [task for task in TASKS if not args.only or task.name in args.only]
        all_results = [[run(task, seed, runs) for seed in range(args.seeds or task.seeds)] for task in chosen]

    heads = ("task", "pgfast train", "to reach (source)", "seeds", "reached at", "best", "final")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *map(summarize, all_results)]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "origin.md").write_text("\n".join(lines) + "\n")
    with (args.out / "origin.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("task", "seed", "updates", "timesteps", "return"))
        for result in (result for results in all_results for result in results):
            for row in zip(*(result.curve[name] for name in ("updates", "timesteps", "return")), strict=True):
                writer.writerow((result.task.name, result.seed, int(row[0]), int(row[1]), f"{row[2]:.6g}"))
    draw(all_results, args.out / "origin.png")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
