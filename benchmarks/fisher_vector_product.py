"""Fisher-vector products: pgfast beside PyTorch's double backward, in one run with equal threads.

python benchmarks/fisher_vector_product.py [--rounds 15] [--smoke]

A Gaussian policy, MLP 17-64-64-6 with tanh, in float32. "product" is one product on a prepared operator or graph,
"solve" prepares and runs 10 iterations of conjugate gradient. The limit is a 512 x 512 matrix product of PyTorch's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from peers.torch_fisher import TorchFisher

import pgfast
from pgfast import kernels, nn
from pgfast.policies import GaussianPolicy

GOAL = 2.0  # times the peer's speed
SIZES = (17, 64, 64, 6)
DAMPING = 0.1
ITERATIONS = 10
# Of one row: the tangent and the cotangent each pass every weight twice, but for the first layer's.
MULTIPLY_ADDS = 2 * (17 * 64 + 2 * (64 * 64 + 64 * 6))


def seconds(run: Callable[[], Any], repeats: int) -> float:
    """Of one run, the mean of a few."""
    began = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - began) / repeats


def require_equal(what: str, ours: Any, theirs: Any, tolerance: float) -> None:
    """Both compute the same numbers, or there is nothing to compare."""
    error = float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
    if not error < tolerance:
        raise SystemExit(f"{what}: pgfast and PyTorch differ by {error:.1e}")


def report(what: str, times: list[tuple[float, float]], note: str = "") -> None:
    """Medians of interleaved rounds and the ratio."""
    ratios = sorted(theirs / ours for ours, theirs in times)
    ours, theirs = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(ratios)
    print(
        f"{what}: pgfast {ours:6.2f} ms, PyTorch {theirs:6.2f} ms, ratio {ratio:.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f}), goal {GOAL}: {'met' if ratio >= GOAL else 'missed'}{note}",
        flush=True,
    )


def measure(rows: int, threads: int, rounds: int, repeats: int) -> None:
    """Products and solves of one size."""
    pgfast.set_num_threads(threads)
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    policy = GaussianPolicy(nn.mlp(SIZES[0], SIZES[-1], SIZES[1:-1]), -0.5)
    policy.parameters[:] += (0.1 * rng.standard_normal(policy.parameters.size)).astype(np.float32)
    obs = rng.standard_normal((rows, SIZES[0]), np.float32)
    v = rng.standard_normal(policy.parameters.size, np.float32)

    peer = TorchFisher(SIZES, policy.parameters, obs, DAMPING)
    peer_v = peer.from_pgfast(v)
    peer.prepare()
    operator = policy.fisher_operator(obs, DAMPING)
    matrix = torch.from_numpy(rng.standard_normal((512, 512), np.float32))

    def solve() -> Any:
        fisher = policy.fisher_operator(obs, DAMPING)
        return kernels.conjugate_gradient(fisher, v, max_iterations=ITERATIONS, tolerance=0.0).solution

    require_equal("product", operator(v), peer.to_pgfast(peer.product(peer_v)), 1e-5)
    require_equal("solve", solve(), peer.to_pgfast(peer.solve(peer_v, ITERATIONS)), 1e-3)

    products, solves, limits = [], [], []
    for _ in range(rounds):
        products.append(
            (seconds(lambda: operator(v), repeats), seconds(lambda: peer.product(peer_v), repeats)),
        )
        solves.append((seconds(solve, 1), seconds(lambda: peer.solve(peer_v, ITERATIONS), 1)))
        limits.append(512**3 / seconds(lambda: matrix @ matrix, 3))
    speed = rows * MULTIPLY_ADDS / statistics.median(ours for ours, _ in products)
    what = f"N = {rows:5d}, {threads} thread{'s' if threads > 1 else ''}"
    of_limit = speed / statistics.median(limits)
    report(f"{what}, product", products, f"; {2e-9 * speed:.0f} GFLOP/s, {of_limit:.0%} of the limit")
    report(f"{what}, solve  ", solves)


def main() -> None:
    """Runs both sizes on one thread and on two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--smoke", action="store_true", help="as short as possible: does it run?")
    args = parser.parse_args()
    rounds, repeats = (1, 1) if args.smoke else (args.rounds, 5)
    print(f"median of {rounds} interleaved rounds")
    for threads in (1, 2):
        for rows in (2048, 10240):
            measure(rows, threads, rounds, repeats)


if __name__ == "__main__":
    main()
