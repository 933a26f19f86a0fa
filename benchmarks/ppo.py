"""PPO compared with stable-baselines3 and with a PyTorch program in CleanRL's manner, with the same settings.

HalfCheetah is measured with Gymnasium's environments, and with sixteen of EnvPool's on both sides: one or two of these
are slower than Gymnasium's, as each step waits for another thread.

All have two MLPs, one for the policy and one for the value. Each peer gets one thread or all, whichever is faster for
it: with networks this small, PyTorch is often slower with more than one thread.

python benchmarks/ppo.py [--only CartPole] [--rounds 5] [--smoke]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pgfast
from harness import CONTINUE, Bench, main, require_equal, training_speed
from peers.sb3 import Sb3Training
from peers.sb3_ppo import sb3_ppo
from peers.torch_ppo import TorchPPO, torch_ppo
from pgfast.envs.options import Vectorization


@dataclass(frozen=True)
class Task:
    """Settings of all sides; a round takes ``updates``."""

    env_id: str
    num_envs: int
    n_steps: int
    num_epochs: int
    minibatch_size: int
    updates: int
    normalize: bool = False
    learning_rate: float = 3e-4
    clip_range: float = 0.2
    entropy_coef: float = 0.0
    gae_lambda: float = 0.95
    vectorization: Vectorization = "auto"

    @property
    def case(self) -> str:
        """The name of the case with stable-baselines3 as the peer."""
        return f"{self.env_id} {self.num_envs} x {self.n_steps}" + ", EnvPool" * (self.vectorization == "envpool")

    def settings(self) -> dict[str, Any]:
        """Returns those that pgfast and the PyTorch program call by the same name."""
        names = ("n_steps", "num_epochs", "minibatch_size", "learning_rate", "clip_range", "entropy_coef", "gae_lambda")
        return {name: getattr(self, name) for name in names}


CARTPOLE = Task("CartPole-v1", 8, 128, num_epochs=4, minibatch_size=256, updates=8, entropy_coef=0.01)
HALF_CHEETAH = Task("HalfCheetah-v5", 1, 2048, num_epochs=10, minibatch_size=64, updates=2, normalize=True)


def our_training(task: Task) -> pgfast.PPO:
    return pgfast.PPO(
        task.env_id,
        preset=None,
        vectorization=task.vectorization,
        num_envs=task.num_envs,
        separate_value_network=True,
        normalize_observations=task.normalize,
        normalize_rewards=task.normalize,
        **task.settings(),
        **CONTINUE,
    )


def sb3_training(task: Task) -> Sb3Training:
    return sb3_ppo(
        task.env_id,
        task.num_envs,
        normalize=task.normalize,
        envpool=task.vectorization == "envpool",
        n_steps=task.n_steps,
        n_epochs=task.num_epochs,
        batch_size=task.minibatch_size,
        learning_rate=task.learning_rate,
        clip_range=task.clip_range,
        ent_coef=task.entropy_coef,
        gae_lambda=task.gae_lambda,
    )


def torch_training(task: Task) -> TorchPPO:
    return torch_ppo(task.env_id, task.num_envs, normalize=task.normalize, **task.settings())


def measure_task(
    bench: Bench, case: str, task: Task, make_peer: Callable[[Task], Sb3Training | TorchPPO], name: str
) -> None:
    """Compares pgfast with one peer."""
    if not bench.wants(case):
        return
    if bench.smoke:
        task = replace(task, n_steps=task.n_steps // 4, num_epochs=1, updates=1)
    ours, peer = our_training(task), make_peer(task)
    require_equal("number of parameters", ours.policy.parameters.size, peer.num_parameters(), 0.0)
    timesteps = task.updates * task.num_envs * task.n_steps
    if not bench.smoke:
        training_speed(ours, timesteps)
        peer.choose_threads(timesteps)
    bench.compare_trainings(case, ours, peer, timesteps, peer=name, note=peer.note)


def measure(bench: Bench) -> None:
    """Measures both tasks with both peers, and one with EnvPool's environments on both sides."""
    many = replace(HALF_CHEETAH, num_envs=16, n_steps=128, vectorization="envpool")
    for task in (CARTPOLE, HALF_CHEETAH, many):
        measure_task(bench, task.case, task, sb3_training, "stable-baselines3")
    for task in (CARTPOLE, HALF_CHEETAH):
        measure_task(bench, f"{task.case}, PyTorch", task, torch_training, "PyTorch")


if __name__ == "__main__":
    main("ppo", measure, __doc__, rounds=5)
