"""Trains tasks with spaces of several kinds, masks and memory, five seeds each, and writes a table and its curves.

python docs/results/spaces.py [--only NAME ...] [--seeds N] [--out docs/results]

With --only, the results of the other tasks are those of spaces.csv. MiniGrid's tasks need `pip install minigrid`.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium

from memory_tasks import Positions, TMaze
from pgfast.agent import Agent
from pgfast.algorithms import ALGORITHMS

EVALUATIONS = 20  # of a run, at equal distances
Points = list[tuple[int, float]]  # timesteps and mean return of each evaluation
Curves = dict[tuple[str, str], list[Points]]  # of each task and algorithm, by seed


def empty_room() -> gymnasium.Env[Any, Any]:
    """MiniGrid's room of 8 x 8. The observation is the image of 7 x 7 x 3 codes, without direction and mission."""
    from minigrid.wrappers import ImgObsWrapper  # registers the ids

    return ImgObsWrapper(gymnasium.make("MiniGrid-Empty-8x8-v0"))


@dataclass(frozen=True)
class Task:
    """A row of the table for each algorithm: the mean return to reach within ``limit`` timesteps, and settings."""

    name: str
    environment: str | Callable[[], gymnasium.Env[Any, Any]]
    target: float
    limit: int
    common: dict[str, Any]  # settings of all algorithms
    algorithms: dict[str, dict[str, Any]]


A2C = {"optimizer": "adam", "gae_lambda": 0.95}
TRPO = {"n_steps": 64, "gae_lambda": 0.95}
LAKE = {"env_kwargs": {"is_slippery": False}}
CLIFF = {"env_kwargs": {"max_episode_steps": 100}, "normalize_rewards": True}
COOLING = {"entropy_coef": 0.05, "entropy_coef_schedule": "linear", "schedule_timesteps": 250_000}
TAXI = {"normalize_rewards": True}
TAXI_LEARNERS = {
    "a2c": {
        **{**A2C, "learning_rate": 5e-3, "entropy_coef": 0.02},
        **{"entropy_coef_schedule": "linear", "schedule_timesteps": 300_000},
    },
    "trpo": {**TRPO, "n_steps": 128},
}
MEMORIES: dict[str, dict[str, Any]] = {"": {}, ", GRU": {"memory": "gru"}, ", LSTM": {"memory": "lstm"}}
BLIND = {
    **{"n_steps": 32, "hidden_sizes": (32,), "memory_size": 32, "learning_rate": 3e-3, "entropy_coef": 0.0},
    **{"value_coef": 0.05, "normalize_observations": True, "normalize_rewards": True, "stop_at_return": 475.0},
}
MAZE = {
    **{"num_envs": 8, "n_steps": 64, "hidden_sizes": (16,), "memory_size": 24, "learning_rate": 1e-2},
    **{"normalize_advantages": True, "stop_at_return": 0.98},
}
LONG = {**A2C, "discount": 0.999, "gae_lambda": 0.98}
ROOM = {"network": "mlp", "gae_lambda": 0.95}
ROOM_LEARNERS = {
    "a2c": {"optimizer": "adam", "learning_rate": 1e-3, "n_steps": 16, "normalize_rewards": True},
    "trpo": {"n_steps": 128, "value_epochs": 3, "value_batch_size": 256},
}
READINGS: dict[str, dict[str, Any]] = {"normalized": {"normalize_observations": True}, "scaled bytes": {}}
# A new task is one entry, and so is its comparison: the same task without masks, without memory, or read otherwise.
TASKS = [
    Task(
        "FrozenLake",
        "FrozenLake-v1",
        target=1.0,
        limit=50_000,
        common=LAKE,
        algorithms={"a2c": {**A2C, "learning_rate": 5e-3, "normalize_advantages": True}, "trpo": TRPO},
    ),
    Task(
        "CliffWalking",
        "CliffWalking-v1",
        target=-13.0,
        limit=200_000,
        common=CLIFF,
        algorithms={"a2c": {**A2C, "learning_rate": 5e-3, **COOLING}, "trpo": {**TRPO, "hidden_sizes": ()}},
    ),
    Task("Taxi, masks", "Taxi-v4", 7.0, 300_000, {**TAXI, "action_mask": "info"}, TAXI_LEARNERS),
    Task("Taxi", "Taxi-v4", 7.0, 300_000, TAXI, TAXI_LEARNERS),
    *(
        Task("CartPole-v1 without velocities" + suffix, Positions, 450.0, 300_000, {**BLIND, **memory}, {"a2c": A2C})
        for suffix, memory in MEMORIES.items()
    ),
    *(
        Task("T-maze of length 20" + suffix, TMaze, 0.95, 300_000, {**MAZE, **memory}, {"a2c": LONG})
        for suffix, memory in MEMORIES.items()
    ),
    *(
        Task(f"Empty room, {reading}", empty_room, 0.9, 200_000, {**ROOM, **read}, ROOM_LEARNERS)
        for reading, read in READINGS.items()
    ),
]


def run(task: Task, algorithm: str, seed: int) -> Points:
    """Trains one seed, with evaluations that take the most probable actions: 10 episodes, the last one 100."""
    settings = {**task.common, **task.algorithms[algorithm], "report_every": task.limit // EVALUATIONS}
    points: Points = []

    def evaluate(agent: Agent, row: dict[str, Any]) -> None:
        if agent.timesteps < task.limit:
            points.append((agent.timesteps, agent.evaluate(10, deterministic=True, seed=seed).return_mean))

    agent = ALGORITHMS[algorithm](task.environment, preset=None, seed=seed, **settings)
    agent.learn(task.limit, callback=evaluate)
    points.append((agent.timesteps, agent.evaluate(100, deterministic=True, seed=seed).return_mean))
    print(f"{task.name}, {algorithm}, seed {seed}: {points[-1][1]:.4g}", flush=True)
    return points


def summarize(task: Task, algorithm: str, seeds: list[Points]) -> str:
    """The row of the Markdown table of one task and algorithm."""
    final = [points[-1][1] for points in seeds]
    first = [next((steps for steps, value in points if value >= task.target), None) for points in seeds]
    reached = [steps for steps in first if steps is not None]
    when = f"{statistics.median(reached):,.0f} ({min(reached):,} to {max(reached):,})" if reached else "-"
    settings = ", ".join(f"`{name}={value!r}`" for name, value in {**task.common, **task.algorithms[algorithm]}.items())
    return (
        f"| {task.name} | {algorithm.upper()} | {task.target:g} within {task.limit:,} "
        f"| {sum(value >= task.target for value in final)} of {len(seeds)} | {when} "
        f"| {statistics.median(final):.4g} ({min(final):.4g} to {max(final):.4g}) | {settings} |"
    )


def read(path: Path) -> Curves:
    """The curves of a file that :func:`write` wrote; none without a file."""
    curves: Curves = {}
    if path.exists():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                seeds = curves.setdefault((row["task"], row["algorithm"]), [])
                if int(row["seed"]) == len(seeds):
                    seeds.append([])
                seeds[-1].append((int(row["timesteps"]), float(row["return"])))
    return curves


def write(path: Path, curves: Curves) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("task", "algorithm", "seed", "timesteps", "return"))
        for key, seeds in curves.items():
            for seed, points in enumerate(seeds):
                writer.writerows((*key, seed, steps, f"{value:.6g}") for steps, value in points)


def main() -> None:
    """Runs the requested tasks, then writes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[task.name for task in TASKS], help="only these tasks")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds of every task")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="directory of the files written")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    curves = read(args.out / "spaces.csv")
    for task in TASKS:
        if not args.only or task.name in args.only:
            for algorithm in task.algorithms:
                curves[task.name, algorithm] = [run(task, algorithm, seed) for seed in range(args.seeds)]
                write(args.out / "spaces.csv", curves)

    heads = ("task", "algorithm", "to reach", "seeds", "reached at", "final", "settings")
    rows = [(task, name) for task in TASKS for name in task.algorithms if (task.name, name) in curves]
    table = [summarize(task, name, curves[task.name, name]) for task, name in rows]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *table]
    (args.out / "spaces.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
