"""Trains tasks with the general presets, without any, and with the defaults of other libraries; writes two tables.

python docs/results/defaults.py [--only TASK ...] [--libraries pgfast sb3] [--algorithms NAME ...] [--seeds N]
                                [--out docs/results]

A result is the mean return of the last 100 episodes of a run. A run that defaults.csv holds already is not repeated;
delete its line to run it again. MiniGrid's task needs `pip install minigrid`, the other libraries need
`pip install "pgfast[bench]"`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium

from kept_runs import Entry, KeptRuns, Run, command_line, selected
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
PRESETS = [Entry("pgfast", algorithm) for algorithm in ALGORITHMS]
OTHERS = [
    *(Entry("pgfast-bare", algorithm) for algorithm in ("vpg", "npg", "trpo")),  # as pgfast 0.1 had them
    *(Entry("sb3", "a2c", num_envs) for num_envs in (1, 16)),
    *(Entry("sb3", "ppo", num_envs) for num_envs in (1, 8)),
    Entry("sb3-contrib", "trpo", 1),
]


def train(task: Task, entry: Entry, seed: int) -> float:
    """Trains with the general preset, or with none."""
    latest: dict[str, float] = {}
    preset = "general" if entry.library == "pgfast" else None
    agent = ALGORITHMS[entry.algorithm](task.make or task.name, preset=preset, seed=seed)
    agent.learn(task.timesteps_of(entry.algorithm), callback=lambda _, row: latest.update(row))
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
    """Runs what is missing, then writes the tables."""
    tasks = {task.name: task for task in TASKS}
    args = command_line(__doc__, list(tasks), list(ALGORITHMS), seeds=5).parse_args()

    def run(name: str, entry: Entry, seed: int) -> Run:
        make = train if entry.package == "pgfast" else train_peer
        return Run(name, entry, seed, tasks[name].timesteps_of(entry.algorithm), make(tasks[name], entry, seed))

    kept = KeptRuns(args.out / "defaults.csv")
    kept.complete(args.only, selected([*PRESETS, *OTHERS], args), args.seeds, run)
    for name, entries in (("defaults.md", PRESETS), ("defaults_others.md", OTHERS)):
        table = kept.table([(task.name, task.title) for task in TASKS], entries, seeds=5)
        (args.out / name).write_text(table + "\n")
        print(table)


if __name__ == "__main__":
    main()
