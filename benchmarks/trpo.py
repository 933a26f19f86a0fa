"""TRPO compared with sb3-contrib with the same settings and environments: Gymnasium's, or EnvPool's on both sides.

EnvPool has sixteen environments, as one or two are slower than Gymnasium's: each step waits for another thread.

sb3-contrib gets one thread or all, whichever is faster for it: with networks this small, PyTorch is often slower with
more than one thread.

python benchmarks/trpo.py [--only CartPole] [--rounds 5] [--smoke]
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pgfast
from harness import CONTINUE, Bench, main, training_speed
from peers.sb3_trpo import sb3_trpo
from pgfast.envs.options import Vectorization

UPDATES = 4  # per round


@dataclass(frozen=True)
class Task:
    """Settings of both sides; ``cg_iterations`` and ``max_kl`` are those of rl-zoo3 or the defaults of sb3-contrib."""

    env_id: str
    num_envs: int
    n_steps: int
    normalize: bool = False
    cg_iterations: int = 15
    max_kl: float = 0.01
    value_epochs: int = 10
    vectorization: Vectorization = "auto"

    @property
    def case(self) -> str:
        """The name of the case."""
        return f"{self.env_id} {self.num_envs} x {self.n_steps}" + ", EnvPool" * (self.vectorization == "envpool")


PENDULUM = Task("Pendulum-v1", 16, 640)
HALF_CHEETAH = Task("HalfCheetah-v5", 2, 1024, normalize=True, cg_iterations=25, max_kl=0.04, value_epochs=20)
TASKS = (
    Task("CartPole-v1", 16, 128),
    PENDULUM,
    replace(PENDULUM, vectorization="envpool"),
    HALF_CHEETAH,
    replace(HALF_CHEETAH, num_envs=16, n_steps=128, vectorization="envpool"),
)


def our_training(task: Task) -> pgfast.TRPO:
    return pgfast.TRPO(
        task.env_id,
        preset=None,
        vectorization=task.vectorization,
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
        **CONTINUE,
    )


def measure_task(bench: Bench, task: Task) -> None:
    if not bench.wants(task.case):
        return
    ours = our_training(task)
    peer = sb3_trpo(
        task.env_id,
        task.num_envs,
        normalize=task.normalize,
        envpool=task.vectorization == "envpool",
        n_steps=task.n_steps,
        cg_max_steps=task.cg_iterations,
        target_kl=task.max_kl,
        n_critic_updates=task.value_epochs,
    )
    timesteps = (1 if bench.smoke else UPDATES) * task.num_envs * task.n_steps
    if not bench.smoke:
        training_speed(ours, timesteps)
        peer.choose_threads(timesteps)
    bench.compare_trainings(task.case, ours, peer, timesteps, peer="sb3-contrib", note=peer.note)


def measure(bench: Bench) -> None:
    for task in TASKS:
        measure_task(bench, task)


if __name__ == "__main__":
    main("trpo", measure, __doc__, rounds=5)
