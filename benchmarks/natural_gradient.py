"""The damped natural gradient compared with SciPy's Cholesky on one thread; pgfast on two threads and one.

Both leave the Fisher matrix intact at the cost of one copy. pgfast also checks that it is symmetric and finite, and
refines float32 solutions; SciPy does neither.

python benchmarks/natural_gradient.py [--only float32] [--rounds 15] [--smoke]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import Bench, main, require_equal
from peers.numpy_fisher import numpy_fisher
from peers.scipy_cholesky import scipy_natural_gradient
from pgfast import kernels

DAMPING = 1e-2


def measure_system(bench: Bench, fisher: NDArray[Any], tolerance: float) -> None:
    gradient = np.random.default_rng(1).standard_normal(len(fisher)).astype(fisher.dtype)

    def ours() -> NDArray[Any]:
        return kernels.natural_gradient(fisher, gradient, DAMPING)

    def theirs() -> NDArray[Any]:
        return scipy_natural_gradient(fisher, gradient, DAMPING)

    require_equal("solution", ours(), theirs(), tolerance)
    case = f"P = {len(fisher)} {fisher.dtype}"
    with bench.on_threads(1):
        bench.compare_times(f"{case}, 1 thread", "ms", ours, theirs, peer="SciPy")
    bench.compare_threads(f"{case}, 2 threads", "ms", ours)


def measure(bench: Bench) -> None:
    """Measures two sizes in both dtypes."""
    for size in (500, 2000):
        fisher = numpy_fisher(np.random.default_rng(0).standard_normal((2 * size, size)))
        measure_system(bench, fisher.astype(np.float32), 1e-4)
        measure_system(bench, fisher, 1e-11)


if __name__ == "__main__":
    main("natural_gradient", measure, __doc__)
