"""Two workers with one thread each on this machine, compared with one process with two threads.

python benchmarks/workers.py [--only A2C] [--rounds 5] [--smoke]
"""

from __future__ import annotations

from typing import Any

import pgfast
from harness import CONTINUE, Bench, main, training_speed

NUM_ENVS = 16


def measure_training(bench: Bench, agent: type[pgfast.agent.Agent], n_steps: int, updates: int) -> None:
    """Compares both with the preset of Breakout."""
    case = f"{agent.name.upper()} {NUM_ENVS} x {n_steps}"
    if not bench.wants(case):
        return
    settings: dict[str, Any] = {"num_envs": NUM_ENVS, "n_steps": n_steps, **CONTINUE}
    one, two = (agent("BreakoutNoFrameskip-v4", num_workers=workers, **settings) for workers in (1, 2))
    timesteps = NUM_ENVS * n_steps * (1 if bench.smoke else updates)
    speeds = [lambda each=each: training_speed(each, timesteps) for each in (two, one)]
    for speed in speeds:
        speed()
    bench.compare(case, "steps/s", *speeds, peer="pgfast, one process")
    for each in (one, two):
        each.close()


def measure(bench: Bench) -> None:
    with bench.on_threads(2):
        measure_training(bench, pgfast.A2C, n_steps=20, updates=15)
        measure_training(bench, pgfast.PPO, n_steps=64, updates=4)


if __name__ == "__main__":
    main("workers", measure, __doc__, rounds=5)
