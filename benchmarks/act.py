"""Sampling actions and their log-probabilities from a categorical policy, MLP 4-64-64-2, on one thread.

PyTorch is measured twice: written by hand with as few operations as possible, and through ``torch.distributions``, as
libraries built on PyTorch do it.

python benchmarks/act.py [--rounds 15] [--smoke]
"""

from __future__ import annotations

from functools import partial

import numpy as np

import pgfast
from harness import Bench, main, require_equal
from peers.torch_act import TorchActor
from pgfast import nn
from pgfast.policies import CategoricalPolicy

SIZES = (4, 64, 64, 2)


def measure_batch(bench: Bench, policy: CategoricalPolicy, peer: TorchActor, rows: int) -> None:
    """Compares pgfast with both PyTorch versions."""
    obs = np.random.default_rng(rows).standard_normal((rows, SIZES[0]), np.float32)
    rng = pgfast.Rng(0)
    actions, log_prob = policy.act(obs, rng)
    require_equal("log-probabilities", log_prob, peer.log_prob(obs, actions), 1e-5)
    for version, act in (("by hand", peer.act), ("torch.distributions", peer.act_by_distribution)):
        bench.compare_times(
            f"batch {rows}, {version}", "us", lambda: policy.act(obs, rng), partial(act, obs), peer="PyTorch"
        )


def measure(bench: Bench) -> None:
    """Measures batches of 1 and 16 rows."""
    policy = CategoricalPolicy(nn.mlp(SIZES[0], SIZES[-1], SIZES[1:-1]))
    noise = np.random.default_rng(0).standard_normal(policy.parameters.size, np.float32)
    policy.parameters[:] += 0.1 * noise
    peer = TorchActor(policy.parameters, SIZES)
    with bench.on_threads(1):
        for rows in (1, 16):
            measure_batch(bench, policy, peer, rows)


if __name__ == "__main__":
    main("act", measure, __doc__)
