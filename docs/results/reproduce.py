"""Trains every task of the course (lab 4 of the Deep RL Bootcamp, 2017) and CartPole-v1; writes table and curves.

python docs/results/reproduce.py [--only NAME ...] [--seeds N] [--out docs/results] [--runs DIR]

A run that is already in --runs is not trained again. Needs the extras `all`; takes about half an hour on two cores.
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
    """One row of the table. ``target`` is the mean return to reach within ``limit`` updates or timesteps."""

    name: str
    arguments: str  # of pgfast train
    target: float
    limit: int
    unit: str  # of limit; "updates": mean over the episodes of one update, "timesteps": over the last 100 episodes
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
    Task("A2C CartPole-v1", "a2c CartPole-v1", 475, 150_000, "timesteps", source="solved"),
]


@dataclass(frozen=True)
class Result:
    """The result of one seed."""

    task: Task
    seed: int
    reached: float | None  # where the target was first reached, in the task's unit
    best: float  # within the limit
    final: float  # mean return of 100 whole episodes, sampled actions
    curve: dict[str, np.ndarray]


def run(task: Task, seed: int, runs: Path) -> Result:
    """Trains the task, unless its run exists, and reads the result."""
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
    """The task's row of the Markdown table."""
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
    """Draws the curve of every seed in one panel per task, with the target as a line."""
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
    """Runs the requested tasks, then writes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[task.name for task in TASKS], help="only these tasks")
    parser.add_argument("--seeds", type=int, help="number of seeds of every task, instead of the reported one")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="directory of the files written")
    parser.add_argument("--runs", type=Path, help="directory of the runs (default: a temporary one)")
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
