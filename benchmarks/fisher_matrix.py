"""The empirical Fisher matrix from scores ``[B, P]``, compared with NumPy on one thread; pgfast on two threads and one.

python benchmarks/fisher_matrix.py [--only float32] [--rounds 15] [--smoke]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import Bench, main, require_equal
from peers.numpy_fisher import numpy_fisher
from pgfast import kernels


def measure_scores(bench: Bench, scores: NDArray[Any], tolerance: float) -> None:
    def ours() -> NDArray[Any]:
        return kernels.fisher_matrix(scores)

    def theirs() -> NDArray[Any]:
        return numpy_fisher(scores)

    require_equal("Fisher matrix", ours(), theirs(), tolerance)
    rows, parameters = scores.shape
    case = f"{rows} x {parameters} {scores.dtype}"
    with bench.on_threads(1):
        bench.compare_times(f"{case}, 1 thread", "ms", ours, theirs, peer="NumPy")
    bench.compare_threads(f"{case}, 2 threads", "ms", ours)


def measure(bench: Bench) -> None:
    """Measures two shapes in both dtypes."""
    rng = np.random.default_rng(0)
    for shape in ((2000, 1000), (10000, 500)):
        measure_scores(bench, rng.standard_normal(shape, np.float32), 1e-5)
        measure_scores(bench, rng.standard_normal(shape), 1e-12)


if __name__ == "__main__":
    main("fisher_matrix", measure, __doc__)
