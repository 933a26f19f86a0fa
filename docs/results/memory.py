"""Trains A2C with and without memory on two tasks that need it, and writes docs/results/memory.md and memory.csv.

Run it in the repository, with all extras installed; a training takes about a minute on one core:

    python docs/results/memory.py [--only TASK ...] [--seeds N] [--runs DIR]
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

import pgfast
from pgfast.nn import Memory
from pgfast.runs.progress_log import read_progress

Observation = NDArray[np.float32]


class Positions(gymnasium.ObservationWrapper[Observation, np.int64, Observation]):
    """CartPole without its velocities: the position of the cart and the angle of the pole."""

    def __init__(self) -> None:
        super().__init__(gymnasium.make("CartPole-v1"))
        space = self.env.observation_space
        assert isinstance(space, spaces.Box)
        self.observation_space = spaces.Box(space.low[[0, 2]], space.high[[0, 2]])

    def observation(self, observation: Observation) -> Observation:
        return observation[[0, 2]]


class TMaze(gymnasium.Env[Observation, np.int64]):
    """A corridor of ``length`` steps to a junction; the first observation shows which of the two turns is rewarded.

    Observes (the sign at the first step, whether the agent is at the junction). Actions are forward and the two turns.
    The right turn is worth 1, the wrong one 0; a move that leads nowhere costs 0.1.

    Source: Bakker (2002), section 4.
    """

    action_space = spaces.Discrete(3)
    observation_space = spaces.Box(-1, 1, (2,))
    length = 20

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = self.time = 0
        self.sign = 1 if self.np_random.integers(2) else -1
        return np.array([self.sign, 0.0], np.float32), {}

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        self.time += 1
        is_turn, at_junction = int(action) > 0, self.place == self.length
        if is_turn == at_junction:
            self.place += not is_turn
            reward = float(is_turn and (int(action) == 1) == (self.sign == 1))
        else:
            reward = -0.1
        observation = np.array([0.0, self.place == self.length], np.float32)
        return observation, reward, is_turn and at_junction, self.time == 4 * self.length, {}


@dataclass(frozen=True)
class Task:
    """A task and its settings. ``target`` is the mean return to reach within ``limit`` timesteps."""

    name: str
    make: Callable[[], gymnasium.Env[Any, Any]]
    settings: dict[str, Any]
    target: float
    limit: int


SETTINGS: dict[str, Any] = {"preset": None, "num_envs": 16, "optimizer": "adam", "gae_lambda": 0.95}
TASKS = [
    Task(
        "CartPole-v1 without velocities",
        Positions,
        {
            **SETTINGS,
            "n_steps": 32,
            "hidden_sizes": (32,),
            "memory_size": 32,
            "learning_rate": 3e-3,
            "entropy_coef": 0.0,
            "value_coef": 0.05,
            "normalize_observations": True,
            "normalize_rewards": True,
            "report_every": 5000,
            "stop_at_return": 475.0,
        },
        450.0,
        300_000,
    ),
    Task(
        "T-maze of length 20",
        TMaze,
        {
            **SETTINGS,
            "num_envs": 8,
            "n_steps": 64,
            "hidden_sizes": (16,),
            "memory_size": 24,
            "learning_rate": 1e-2,
            "entropy_coef": 0.01,
            "normalize_advantages": True,
            "report_every": 5000,
            "stop_at_return": 0.98,
        },
        0.95,
        200_000,
    ),
]


@dataclass(frozen=True)
class Result:
    """The result of one seed."""

    task: Task
    memory: Memory
    seed: int
    reached: float | None  # timesteps
    best: float  # mean of the last 100 episodes
    final: float  # mean return of 100 whole episodes, most probable actions
    curve: dict[str, Any]


def run(task: Task, memory: Memory, seed: int, runs: Path) -> Result:
    """Trains the task, unless its run exists, and reads the result. The training ends well above the target."""
    directory = runs / f"{task.name.replace(' ', '-').lower()}-{memory}-{seed}"
    if not (directory / "model.safetensors").exists():
        print(f"{task.name}, memory {memory}, seed {seed}", flush=True)
        agent = pgfast.A2C(task.make, memory=memory, seed=seed, **task.settings)
        agent.learn(task.limit, run_dir=directory)
    progress = read_progress(directory / "progress.csv")
    returns = progress["return_mean"]
    hit = np.flatnonzero(returns >= task.target)
    return Result(
        task,
        memory,
        seed,
        float(progress["timesteps"][hit[0]]) if hit.size else None,
        float(np.nanmax(returns)),
        pgfast.load(directory, env=task.make).evaluate(100, deterministic=True).return_mean,
        {"timesteps": progress["timesteps"], "return": returns},
    )


def summarize(results: list[Result]) -> str:
    """The row of the Markdown table of one task and memory."""
    task = results[0].task
    reached = [result.reached for result in results if result.reached is not None]
    when = f"{statistics.median(reached):,.0f} ({min(reached):,.0f} to {max(reached):,.0f})" if reached else "-"
    best, final = ([getattr(result, name) for result in results] for name in ("best", "final"))
    digits = 0 if task.target > 1.0 else 2
    cells = [
        f"{statistics.median(all):.{digits}f} ({min(all):.{digits}f} to {max(all):.{digits}f})" for all in (best, final)
    ]
    wanted = f"{task.target:g} within {task.limit:,}"
    counts = f"{len(reached)} of {len(results)}"
    return f"| {task.name} | {results[0].memory} | {wanted} | {counts} | {when} | {' | '.join(cells)} |"


def main() -> None:
    """Runs the requested tasks, then writes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[task.name for task in TASKS], help="only these tasks")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds of every task")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="directory of the files written")
    parser.add_argument("--runs", type=Path, help="directory of the runs (default: a temporary one)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        runs = args.runs or Path(scratch)
        chosen = [task for task in TASKS if not args.only or task.name in args.only]
        pairs = [(task, memory) for task in chosen for memory in get_args(Memory)]
        all_results = [[run(task, memory, seed, runs) for seed in range(args.seeds)] for task, memory in pairs]

    heads = ("task", "memory", "return to reach, timesteps", "seeds", "reached at", "best", "final")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *map(summarize, all_results)]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "memory.md").write_text("\n".join(lines) + "\n")
    with (args.out / "memory.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("task", "memory", "seed", "timesteps", "return"))
        for result in (result for results in all_results for result in results):
            for row in zip(result.curve["timesteps"], result.curve["return"], strict=True):
                writer.writerow((result.task.name, result.memory, result.seed, int(row[0]), f"{row[1]:.6g}"))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
