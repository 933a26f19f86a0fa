"""Trains tasks with the general presets and with the defaults of other libraries, and writes a table.

python docs/results/defaults.py [--only TASK ...] [--libraries pgfast sb3] [--algorithms NAME ...] [--seeds N]
                                [--out docs/results]

A run that defaults.csv holds already is not repeated; delete its line to run it again. MiniGrid's task needs
`pip install minigrid`, the other libraries need `pip install "pgfast[bench]"`.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium

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
    longer: dict[str, int]
    make: Callable[[], gymnasium.Env[Any, Any]] | None = None  # None if the name is an id

    def timesteps_of(self, algorithm: str) -> int:
        return self.longer.get(algorithm, self.timesteps)


@dataclass(frozen=True)
class Entry:
    """A column of the table. Other libraries run with ``num_envs`` environments, pgfast with those of its preset."""

    library: str
    algorithm: str
    num_envs: int | None = None

    @property
    def title(self) -> str:
        library = {"pgfast": "", "sb3": "stable-baselines3's ", "sb3-contrib": "sb3-contrib's "}[self.library]
        envs = "" if self.num_envs is None else f", {self.num_envs} env" + "s" * (self.num_envs > 1)
        return f"{library}{self.algorithm.upper()}{envs}"


@dataclass(frozen=True)
class Run:
    """One seed of an entry on a task, and the mean return of its last 100 episodes."""

    task: str
    library: str
    algorithm: str
    num_envs: str
    seed: int
    timesteps: int
    result: float


TASKS = [
    Task("LunarLander-v3", 200_000, {"ppo": 500_000}),
    Task("Acrobot-v1", 200_000, {}),
    Task("CartPole-v1", 200_000, {}),
    Task("FrozenLake-v1", 100_000, {}),
    Task("MountainCarContinuous-v0", 200_000, {}),
    Task("Pendulum-v1", 200_000, {}),
    Task("BipedalWalker-v3", 500_000, {}),
    Task("MiniGrid-Empty-5x5-v0", 100_000, {}, empty_room),
    Task("CarRacing-v3", 300_000, {}),
]
ENTRIES = [
    *(Entry("pgfast", algorithm) for algorithm in ALGORITHMS),
    *(
        Entry("sb3", algorithm, num_envs)
        for algorithm, envs in (("a2c", (1, 16)), ("ppo", (1, 8)))
        for num_envs in envs
    ),
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
    algorithm: Any = getattr(
        sb3_contrib if entry.library == "sb3-contrib" else stable_baselines3, entry.algorithm.upper()
    )
    env = make_vec_env(task.make or task.name, n_envs=entry.num_envs or 1, seed=seed)
    policy = "CnnPolicy" if task.name == "CarRacing-v3" else "MlpPolicy"
    model = algorithm(policy, env, seed=seed, device="cpu").learn(task.timesteps_of(entry.algorithm))
    env.close()
    return statistics.fmean(episode["r"] for episode in model.ep_info_buffer)


def missing(known: list[Run], args: argparse.Namespace) -> Iterator[tuple[Task, Entry, int]]:
    """The requested runs that are not known."""
    done = {(run.task, run.library, run.algorithm, run.num_envs, run.seed) for run in known}
    for task in TASKS:
        for entry in ENTRIES:
            if (args.only and task.name not in args.only) or entry.library.split("-")[0] not in args.libraries:
                continue
            if args.algorithms and entry.algorithm not in args.algorithms:
                continue
            for seed in range(args.seeds):
                if (task.name, entry.library, entry.algorithm, str(entry.num_envs or ""), seed) not in done:
                    yield task, entry, seed


def read(path: Path) -> list[Run]:
    """The runs of a file that :func:`write` wrote; none without a file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            Run(*list(row.values())[:4], int(row["seed"]), int(row["timesteps"]), float(row["result"]))
            for row in csv.DictReader(file)
        ]


def write(path: Path, runs: list[Run]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Run.__annotations__)
        writer.writerows((*list(vars(run).values())[:-1], f"{run.result:.6g}") for run in runs)


def table(runs: list[Run]) -> str:
    """The medians over the seeds, a row for each task, with the lowest and the highest seed."""
    lines = [
        f"| task | {' | '.join(entry.title for entry in ENTRIES)} |",
        f"|---{'|---' * len(ENTRIES)}|",
    ]
    for task in TASKS:
        cells = []
        for entry in ENTRIES:
            column = (task.name, entry.library, entry.algorithm, str(entry.num_envs or ""))
            found = [run.result for run in runs if (run.task, run.library, run.algorithm, run.num_envs) == column]
            text = f"{statistics.median(found):.4g} ({min(found):.4g} to {max(found):.4g})" if found else "-"
            longer = task.longer.get(entry.algorithm)
            cells.append(text + (f" at {longer:,}" if longer and found else ""))
        lines.append(f"| {task.name}, {task.timesteps:,} steps | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Runs what is missing, then writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[task.name for task in TASKS], help="only these tasks")
    parser.add_argument("--libraries", nargs="+", choices=["pgfast", "sb3"], default=["pgfast"])
    parser.add_argument("--algorithms", nargs="+", choices=list(ALGORITHMS), help="only these algorithms")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds of every task")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="directory of the files written")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "defaults.csv"
    for task, entry, seed in missing(read(path), args):
        result = train(task, entry.algorithm, seed) if entry.library == "pgfast" else train_peer(task, entry, seed)
        print(f"{entry.title} on {task.name}, seed {seed}: {result:.4g}", flush=True)
        identity = (task.name, entry.library, entry.algorithm, str(entry.num_envs or ""), seed)
        write(path, [*read(path), Run(*identity, task.timesteps_of(entry.algorithm), result)])
    (args.out / "defaults.md").write_text(table(read(path)) + "\n")
    print(table(read(path)))


if __name__ == "__main__":
    main()
