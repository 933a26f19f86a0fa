"""PPO on Breakout compared with hand-written PyTorch + EnvPool and with stable-baselines3.

The limit is that of the same work: T + 1 forward passes of a row of each environment, and for every minibatch of every
epoch a forward and a backward pass (`limits/breakout.py`).

python benchmarks/breakout_ppo.py [--only "nature_cnn 8 x 128"] [--rounds 5] [--smoke]
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import pgfast
from harness import CONTINUE, Bench, main, require_equal, training_speed
from limits.breakout import BreakoutLimit, Passes
from limits.emulators import Emulators
from peers.sb3_ppo import sb3_ppo_breakout
from peers.torch_ppo import torch_ppo_breakout
from threads import all_threads


@dataclass(frozen=True)
class Settings:
    """Settings of all sides."""

    num_envs: int
    n_steps: int
    num_epochs: int
    minibatch_size: int
    learning_rate: float = 2.5e-4
    gae_lambda: float = 0.95
    clip_range: float = 0.1
    entropy_coef: float = 0.01

    @property
    def timesteps(self) -> int:
        """Those of one update."""
        return self.num_envs * self.n_steps

    def passes(self) -> list[Passes]:
        """Returns the passes of one update."""
        minibatches = self.num_epochs * -(-self.timesteps // self.minibatch_size)
        rows = self.num_epochs * self.timesteps // minibatches
        learning = [Passes(minibatches, rows, backward) for backward in (False, True)]
        return [Passes(self.n_steps + 1, self.num_envs), *learning]


ZOO = Settings(8, 128, num_epochs=4, minibatch_size=256)  # those of rl-zoo3 and CleanRL
SHORT = Settings(16, 64, num_epochs=2, minibatch_size=320, learning_rate=1e-3, gae_lambda=0.9)


def our_training(network: str, settings: Settings) -> pgfast.PPO:
    chosen: dict[str, Any] = {"network": network, **asdict(settings)}
    return pgfast.PPO("BreakoutNoFrameskip-v4", preset=None, **chosen, **CONTINUE)


def shortened(settings: Settings) -> Settings:
    """Returns settings for a smoke run."""
    return replace(settings, n_steps=4, num_epochs=1, minibatch_size=16)


def measure_with_pytorch(bench: Bench, emulators: Emulators, case: str, network: str, settings: Settings) -> None:
    if not bench.wants(case):
        return
    s = shortened(settings) if bench.smoke else settings
    arguments: dict[str, Any] = {"num_threads": all_threads(), **asdict(s)}
    ours, peer = our_training(network, s), torch_ppo_breakout(network, **arguments)
    require_equal("number of parameters", ours.policy.parameters.size, peer.num_parameters(), 0.0)
    if not bench.smoke:
        training_speed(ours, s.timesteps)
        peer.choose_memory_format(s.timesteps)
    limit = BreakoutLimit(emulators, network, s.timesteps, s.passes(), smoke=bench.smoke)
    bench.compare_trainings(case, ours, peer, s.timesteps, peer="PyTorch + EnvPool", limit=limit, note=limit.note)


def measure_with_sb3(bench: Bench, case: str, settings: Settings) -> None:
    if not bench.wants(case):
        return
    s = shortened(settings) if bench.smoke else settings
    ours = our_training("nature_cnn", s)
    peer = sb3_ppo_breakout(
        s.num_envs,
        n_steps=s.n_steps,
        n_epochs=s.num_epochs,
        batch_size=s.minibatch_size,
        learning_rate=s.learning_rate,
        gae_lambda=s.gae_lambda,
        clip_range=s.clip_range,
        ent_coef=s.entropy_coef,
    )
    if not bench.smoke:
        training_speed(ours, s.timesteps)
        peer.run(s.timesteps)
    bench.compare_trainings(case, ours, peer, s.timesteps, peer="stable-baselines3", note=peer.note)


def measure(bench: Bench) -> None:
    """Measures both networks with 4 epochs, the smaller with 2, then stable-baselines3, which has the larger."""
    emulators = {settings.num_envs: Emulators(settings.num_envs, all_threads()) for settings in (ZOO, SHORT)}
    for network, s in (("origin_cnn", ZOO), ("nature_cnn", ZOO), ("origin_cnn", SHORT)):
        case = f"{network} {s.num_envs} x {s.n_steps}, {s.num_epochs} epochs"
        measure_with_pytorch(bench, emulators[s.num_envs], case, network, s)
    measure_with_sb3(bench, f"nature_cnn {ZOO.num_envs} x {ZOO.n_steps}, stable-baselines3", ZOO)


if __name__ == "__main__":
    main("breakout_ppo", measure, __doc__, rounds=5)
