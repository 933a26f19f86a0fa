"""A2C on Breakout, 16 environments, compared with hand-written PyTorch + EnvPool and with stable-baselines3.

The limit is that of T + 1 forward passes of 16 rows and one backward pass of 16 T rows per T steps
(`limits/breakout.py`).

python benchmarks/breakout_a2c.py [--only "nature_cnn 16 x 5"] [--rounds 5] [--smoke]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stable_baselines3.common.vec_env import VecEnv

import pgfast
from harness import CONTINUE, Bench, main, require_equal, training_speed
from limits.breakout import BreakoutLimit, Passes
from limits.emulators import Emulators
from peers.sb3 import sb3_breakout
from peers.sb3_a2c import sb3_a2c_breakout
from peers.torch_a2c import TorchA2C
from peers.vec_envs import AleVecEnv
from threads import all_threads

NUM_ENVS = 16
TIMESTEPS = 8000  # per round
ZOO: dict[str, Any] = {"optimizer": "rmsprop", "learning_rate": 7e-4, "value_coef": 0.25}


def our_training(network: str, n_steps: int, **settings: Any) -> pgfast.A2C:
    """Returns pgfast's A2C, with Adam unless ``settings`` name another optimizer."""
    shape: dict[str, Any] = {"network": network, "num_envs": NUM_ENVS, "n_steps": n_steps, "gae_lambda": 1.0}
    return pgfast.A2C("BreakoutNoFrameskip-v4", **shape, **CONTINUE, **settings)


def measure_training(bench: Bench, emulators: Emulators, network: str, n_steps: int, timesteps: int) -> None:
    """Compares one network and one rollout length with PyTorch + EnvPool."""
    case = f"{network} {NUM_ENVS} x {n_steps}"
    if not bench.wants(case):
        return
    ours, peer = our_training(network, n_steps), TorchA2C(network, NUM_ENVS, n_steps, all_threads())
    require_equal("number of parameters", ours.policy.parameters.size, peer.num_parameters(), 0.0)
    if not bench.smoke:
        training_speed(ours, timesteps // 4)
        peer.choose_memory_format(timesteps // 8)
    passes = [Passes(n_steps + 1, NUM_ENVS), Passes(1, NUM_ENVS * n_steps, backward=True)]
    limit = BreakoutLimit(emulators, network, NUM_ENVS * n_steps, passes, smoke=bench.smoke)
    bench.compare_trainings(case, ours, peer, timesteps, peer="PyTorch + EnvPool", limit=limit, note=limit.note)


def measure_zoo(bench: Bench, case: str, make_env: Callable[[], VecEnv], timesteps: int) -> None:
    """Compares the settings of rl-zoo3 with stable-baselines3."""
    if not bench.wants(case):
        return
    ours, peer = our_training("nature_cnn", 5, **ZOO), sb3_a2c_breakout(make_env(), 5)
    if not bench.smoke:
        training_speed(ours, timesteps // 4)
        peer.choose_threads(timesteps // 8)
    bench.compare_trainings(case, ours, peer, timesteps, peer="stable-baselines3", note=peer.note)


def measure(bench: Bench) -> None:
    """Measures both networks with both rollout lengths, then the settings of rl-zoo3."""
    timesteps = 2 * NUM_ENVS if bench.smoke else TIMESTEPS
    emulators = Emulators(NUM_ENVS, all_threads())
    for n_steps in (5, 20):
        for network in ("origin_cnn", "nature_cnn"):
            measure_training(bench, emulators, network, n_steps, timesteps)
    zoo = f"nature_cnn {NUM_ENVS} x 5, zoo settings"
    measure_zoo(bench, zoo, lambda: sb3_breakout(NUM_ENVS), timesteps)
    measure_zoo(bench, f"{zoo}, ale-py's", lambda: AleVecEnv("breakout", NUM_ENVS, all_threads()), timesteps)


if __name__ == "__main__":
    main("breakout_a2c", measure, __doc__, rounds=5)
