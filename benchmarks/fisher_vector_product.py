"""Fisher-vector products compared with PyTorch's double backward.

The policy is Gaussian, an MLP 17-64-64-6 with tanh, in float32. "product" is one product with a prepared operator or
graph; "solve" includes the preparation and runs 10 iterations of conjugate gradient. The limit is the time of as many
multiply-adds at the speed of PyTorch's product of two 512 x 512 matrices.

python benchmarks/fisher_vector_product.py [--only product] [--rounds 15] [--smoke]
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from harness import Bench, main, require_equal
from peers.torch_fisher import TorchFisher
from pgfast import kernels, nn
from pgfast.policies import GaussianPolicy
from threads import in_words

SIZES = (17, 64, 64, 6)
DAMPING = 0.1
ITERATIONS = 10
# Per row: the tangent and the cotangent each pass every weight twice, except those of the first layer.
MULTIPLY_ADDS = 2 * (17 * 64 + 2 * (64 * 64 + 64 * 6))
SQUARE = 512


def measure_size(bench: Bench, rows: int, threads: int) -> None:
    """Measures product and solve for one batch size."""
    rng = np.random.default_rng(0)
    policy = GaussianPolicy(nn.mlp(SIZES[0], SIZES[-1], SIZES[1:-1]), -0.5)
    policy.parameters[:] += (0.1 * rng.standard_normal(policy.parameters.size)).astype(np.float32)
    obs = rng.standard_normal((rows, SIZES[0]), np.float32)
    v = rng.standard_normal(policy.parameters.size, np.float32)

    peer = TorchFisher(SIZES, policy.parameters, obs, DAMPING)
    peer_v = peer.from_pgfast(v)
    peer.prepare()
    operator = policy.fisher_operator(obs, DAMPING)

    def solve() -> Any:
        fisher = policy.fisher_operator(obs, DAMPING)
        return kernels.conjugate_gradient(fisher, v, max_iterations=ITERATIONS, tolerance=0.0).solution

    require_equal("product", operator(v), peer.to_pgfast(peer.product(peer_v)), 1e-5)
    require_equal("solve", solve(), peer.to_pgfast(peer.solve(peer_v, ITERATIONS)), 1e-3)

    square, out = torch.from_numpy(rng.standard_normal((SQUARE, SQUARE), np.float32)), torch.empty(SQUARE, SQUARE)
    square_seconds = bench.timed(lambda: torch.mm(square, square, out=out))
    ending = f"N = {rows}, {in_words(threads)}"
    bench.compare_times(
        f"product, {ending}",
        "ms",
        lambda: operator(v),
        lambda: peer.product(peer_v),
        peer="PyTorch",
        limit=lambda: square_seconds() * rows * MULTIPLY_ADDS / SQUARE**3,
    )
    bench.compare_times(f"solve, {ending}", "ms", solve, lambda: peer.solve(peer_v, ITERATIONS), peer="PyTorch")


def measure(bench: Bench) -> None:
    """Measures both batch sizes on one thread and on two."""
    for threads in (1, 2):
        with bench.on_threads(threads):
            for rows in (2048, 10240):
                measure_size(bench, rows, threads)


if __name__ == "__main__":
    main("fisher_vector_product", measure, __doc__)
