"""TRPO training: pgfast beside sb3-contrib with the same settings, in one run with equal threads.

python benchmarks/trpo.py [--envs CartPole-v1 Pendulum-v1 HalfCheetah-v5] [--rounds 5] [--updates 4] [--smoke]
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass

from peers.sb3_trpo import Sb3TRPO

import pgfast


@dataclass(frozen=True)
class Task:
    """A training both do; ``cg_iterations`` and ``max_kl`` are the published settings of rl-zoo3 or the defaults."""

    num_envs: int
    n_steps: int
    goal: float  # times the peer's speed
    normalize: bool = False
    cg_iterations: int = 15
    max_kl: float = 0.01
    value_epochs: int = 10


TASKS = {
    "CartPole-v1": Task(16, 128, goal=4.0),
    "Pendulum-v1": Task(16, 640, goal=3.0),
    "HalfCheetah-v5": Task(2, 1024, goal=2.5, normalize=True, cg_iterations=25, max_kl=0.04, value_epochs=20),
}


class Ours:
    """pgfast's TRPO."""

    def __init__(self, env_id: str, task: Task) -> None:
        self.agent = pgfast.TRPO(
            env_id,
            preset=None,
            num_envs=task.num_envs,
            n_steps=task.n_steps,
            gae_lambda=0.95,
            max_kl=task.max_kl,
            damping=0.1,
            cg_iterations=task.cg_iterations,
            line_search_steps=10,
            normalize_observations=task.normalize,
            normalize_rewards=task.normalize,
            value_epochs=task.value_epochs,
            value_batch_size=128,
            report_every=10**9,
            sync_every=10**9,
        )

    def run(self, timesteps: int) -> float:
        """Timesteps per second."""
        before, began = self.agent.timesteps, time.perf_counter()
        self.agent.learn(timesteps)
        return (self.agent.timesteps - before) / (time.perf_counter() - began)


def measure(env_id: str, updates: int, rounds: int, threads: int) -> None:
    """Prints medians of interleaved rounds and the ratio."""
    task = TASKS[env_id]
    ours = Ours(env_id, task)
    peer = Sb3TRPO(
        env_id,
        task.num_envs,
        task.n_steps,
        threads,
        normalize=task.normalize,
        cg_max_steps=task.cg_iterations,
        target_kl=task.max_kl,
        n_critic_updates=task.value_epochs,
    )
    timesteps = updates * task.num_envs * task.n_steps
    ours.run(timesteps)
    peer.run(timesteps)
    speeds = [(ours.run(timesteps), peer.run(timesteps)) for _ in range(rounds)]
    ratios = sorted(a / b for a, b in speeds)
    mine, theirs = (statistics.median(column) for column in zip(*speeds, strict=True))
    ratio = statistics.median(ratios)
    print(
        f"{env_id:15s} {task.num_envs} x {task.n_steps}: pgfast {mine:7.0f} steps/s, sb3-contrib {theirs:6.0f},"
        f" ratio {ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), goal {task.goal}: "
        + ("met" if ratio >= task.goal else "missed"),
        flush=True,
    )


def main() -> None:
    """Runs the tasks asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=4, help="updates of one round")
    parser.add_argument("--smoke", action="store_true", help="as short as possible: does it run?")
    args = parser.parse_args()
    if args.smoke:
        args.rounds, args.updates = 1, 1
    threads = pgfast.native_info()["num_threads"]
    print(f"{threads} threads each, median of {args.rounds} interleaved rounds of {args.updates} updates")
    for env_id in args.envs:
        measure(env_id, args.updates, args.rounds, threads)


if __name__ == "__main__":
    main()
