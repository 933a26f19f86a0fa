"""ACKTR on Breakout: what K-FAC takes beside its own products by BLAS, and the training beside pgfast's A2C.

The network is origin_cnn with 320 rows, 16 environments x 20 steps, and every 16th position of an image. K-FAC also
unfolds, transposes, averages and checks, and factors its matrices after a copy.

python benchmarks/acktr.py [--only statistics] [--rounds 9] [--smoke]
"""

from __future__ import annotations

from typing import Any

import numpy as np

import pgfast
from architectures import OUTPUTS
from harness import CONTINUE, Bench, main, training_speed
from peers.blas_kfac import BlasKfac
from pgfast import nn, optim

NETWORK = "origin_cnn"
ROWS = 320
POSITION_STRIDE = 16
LOOP: dict[str, Any] = {"network": NETWORK, "num_envs": 16, "n_steps": 20, "preset": None, **CONTINUE}
FACTORS: dict[str, Any] = {"position_stride": POSITION_STRIDE, "factor_steps": 5, "inverse_every": 20}
UPDATES = 20  # of a sample of the loop: one has a factorization


def measure_parts(bench: Bench) -> None:
    rng = np.random.default_rng(0)
    network = nn.origin_cnn((4, 84, 84), OUTPUTS)
    kfac = optim.KFAC(network, 0.0, position_stride=POSITION_STRIDE, inverse_every=1)
    tape = nn.Tape(network, ROWS)
    tape.record(rng.integers(0, 256, (ROWS, 4, 84, 84), np.uint8))
    row_gradients = rng.standard_normal((ROWS, OUTPUTS), np.float32)
    gradient = rng.standard_normal(network.parameters.size, np.float32)
    kfac.observe(tape, row_gradients)
    peer = BlasKfac(NETWORK, ROWS, POSITION_STRIDE)

    def update() -> None:
        kfac.step(network.parameters, gradient, statistics=kfac.measure(tape, row_gradients))

    def products() -> None:
        peer.statistics()
        peer.inverses()
        peer.step()

    bench.compare_times("statistics", "ms", lambda: kfac.observe(tape, row_gradients), peer.statistics, peer="BLAS")
    bench.compare_times("statistics, inverses and step", "ms", update, products, peer="BLAS")
    bench.compare_times("step", "ms", lambda: kfac.natural_gradient(gradient), peer.step, peer="BLAS")


class A2CTraining:
    """The peer of the loop."""

    def __init__(self) -> None:
        self._agent = pgfast.A2C("BreakoutNoFrameskip-v4", optimizer="adam", **LOOP)

    def run(self, timesteps: int) -> float:
        return training_speed(self._agent, timesteps)


def measure_loop(bench: Bench) -> None:
    if not bench.wants("loop"):
        return
    timesteps = ROWS * (1 if bench.smoke else UPDATES)
    ours, peer = pgfast.ACKTR("BreakoutNoFrameskip-v4", **LOOP, **FACTORS), A2CTraining()
    for warm_up in (lambda: training_speed(ours, timesteps), lambda: peer.run(timesteps)):
        warm_up()
    bench.compare_trainings("loop", ours, peer, timesteps, peer="pgfast's A2C")


def measure(bench: Bench) -> None:
    """Measures the parts of an update, then the whole training."""
    measure_parts(bench)
    measure_loop(bench)


if __name__ == "__main__":
    main("acktr", measure, __doc__, rounds=9)
