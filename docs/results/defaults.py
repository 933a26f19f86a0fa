"""Trains tasks with the general presets and with the defaults of other libraries, and writes a table.

python docs/results/defaults.py [--only TASK ...] [--libraries pgfast sb3] [--algorithms NAME ...] [--seeds N]
                                [--out docs/results]

A result is the mean return of the last 100 episodes of a run. A run that defaults.csv holds already is not repeated;
delete its line to run it again. MiniGrid's task needs `pip install minigrid`, the other libraries need
`pip install "pgfast[bench]"`.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium

from kept_runs import Entry, KeptRuns, Run
from pgfast.algorithms import ALGORITHMS


def empty_room() -> gymnasium.Env[Any, Any]:
    """MiniGrid's room of 5 x 5. The observation is the image of 7 x 7 x 3 codes, without direction and mission."""
    from minigrid.wrappers import ImgObsWrapper  # registers the ids

    return ImgObsWrapper(gymnasium.make("MiniGrid-Empty-5x5-v0"))


@dataclass(frozen=True)
class Task:
    """A row of the table: an environment, and the timesteps of a run; ``longer`` are those of some algorithms."""

    name: str
    timesteps: int
    longer: dict[str, int] = field(default_factory=dict)
    make: Callable[[], gymnasium.Env[Any, Any]] | None = None  # None if the name is an id

    def timesteps_of(self, algorithm: str) -> int:
        return self.longer.get(algorithm, self.timesteps)

    @property
    def title(self) -> str:
        longer = "".join(f"; {name.upper()} {steps:,}" for name, steps in self.longer.items())
        return f"{self.name}, {self.timesteps:,} steps{longer}"


TASKS = [
    Task("LunarLander-v3", 200_000, {"ppo": 500_000}),
    Task("Acrobot-v1", 200_000),
    Task("CartPole-v1", 200_000),
    Task("FrozenLake-v1", 100_000),
    Task("MountainCarContinuous-v0", 200_000),
    Task("Pendulum-v1", 200_000),
    Task("BipedalWalker-v3", 500_000),
    Task("MiniGrid-Empty-5x5-v0", 100_000, make=empty_room),
    Task("CarRacing-v3", 300_000),
]
ENTRIES = [
    *(Entry("pgfast", algorithm) for algorithm in ALGORITHMS),
    *(Entry("sb3", "a2c", num_envs) for num_envs in (1, 16)),
    *(Entry("sb3", "ppo", num_envs) for num_envs in (1, 8)),
    Entry("sb3-contrib", "trpo", 1),
]


def train(task: Task, algorithm: str, seed: int) -> float:
    """Trains with the general preset."""
    latest: dict[str, float] = {}
    agent = ALGORITHMS[algorithm](task.make or task.name, preset="general", seed=seed)
    agent.learn(task.timesteps_of(algorithm), callback=lambda _, row: latest.update(row))
    agent.close()
    return latest["return_mean"]


def train_peer(task: Task, entry: Entry, seed: int) -> float:
    """Trains with the defaults of stable-baselines3 or sb3-contrib."""
    import sb3_contrib
    import stable_baselines3
    import torch
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(1)
    library = sb3_contrib if entry.library == "sb3-contrib" else stable_baselines3
    algorithm: Any = getattr(library, entry.algorithm.upper())
    env = make_vec_env(task.make or task.name, n_envs=entry.num_envs or 1, seed=seed)
    policy = "CnnPolicy" if task.name == "CarRacing-v3" else "MlpPolicy"
    model = algorithm(policy, env, seed=seed, device="cpu").learn(task.timesteps_of(entry.algorithm))
    env.close()
    return statistics.fmean(episode["r"] for episode in model.ep_info_buffer)


def main() -> None:
    """Runs what is missing, then writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[task.name for task in TASKS], help="only these tasks")
    parser.add_argument("--libraries", nargs="+", choices=["pgfast", "sb3"], default=["pgfast"])
    parser.add_argument("--algorithms", nargs="+", choices=list(ALGORITHMS), default=list(ALGORITHMS))
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds of every task")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="directory of the files written")
    args = parser.parse_args()
    kept = KeptRuns(args.out / "defaults.csv")
    entries = [entry for entry in ENTRIES if entry.package in args.libraries and entry.algorithm in args.algorithms]
    for task in TASKS:
        if args.only and task.name not in args.only:
            continue
        for entry in entries:
            for seed in range(args.seeds):
                if (task.name, entry, seed) in kept:
                    continue
                is_ours = entry.library == "pgfast"
                result = train(task, entry.algorithm, seed) if is_ours else train_peer(task, entry, seed)
                print(f"{entry.title} on {task.name}, seed {seed}: {result:.4g}", flush=True)
                kept.add(Run(task.name, entry, seed, task.timesteps_of(entry.algorithm), result))
    table = kept.table([(task.name, task.title) for task in TASKS], ENTRIES, seeds=5)
    (args.out / "defaults.md").write_text(table + "\n")
    print(table)


if __name__ == "__main__":
    main()
