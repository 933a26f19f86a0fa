"""Generalized advantage estimation compared with NumPy, in float32, into preallocated arrays.

NumPy is measured twice: as Python libraries write it, and as fast as NumPy can be. The limit of the largest case is a
copy that reads and writes as many bytes as the estimation must, on as many threads.

python benchmarks/gae.py [--only "2048 x 16"] [--rounds 15] [--smoke]
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from harness import Bench, main, require_equal
from limits.memory_copy import MemoryCopy
from peers.numpy_gae import DifferencesFirst, loop
from pgfast import kernels
from threads import in_words

DISCOUNT, GAE_LAMBDA = 0.99, 0.95
# Per entry: rewards, values (4 each) and two flags (1 each) are read, advantages and returns (4 each) are written.
# Left out are next_values [N] and the successors' values, which have already been read with the following row.
BYTES = 4 + 4 + 1 + 1 + 4 + 4


def measure_shape(bench: Bench, steps: int, num_envs: int, copy_threads: int = 0) -> None:
    """Compares one shape with both NumPy versions and, if ``copy_threads`` is not 0, with a copy."""
    rng = np.random.default_rng(0)
    rewards, values = rng.standard_normal((2, steps, num_envs), np.float32)
    next_values = rng.standard_normal(num_envs, np.float32)
    terminated, truncated = rng.random((2, steps, num_envs)) < 0.01
    arguments: Any = (rewards, values, next_values, terminated, truncated, DISCOUNT, GAE_LAMBDA)
    out = (np.empty_like(rewards), np.empty_like(rewards))
    copy = MemoryCopy(steps * num_envs * BYTES, copy_threads) if copy_threads else None
    repeats = 1 if bench.smoke else 40
    ending = f", {in_words(copy_threads)}" if copy_threads else ""

    kernels.gae(*arguments, out=out)
    for version, theirs in (("loop", loop), ("differences first", DifferencesFirst(steps, num_envs))):
        for name, ours, peers in zip(("advantages", "returns"), out, theirs(*arguments), strict=True):
            require_equal(name, ours, peers, 1e-5)
        bench.compare_times(
            f"{steps} x {num_envs}, {version}{ending}",
            "ms",
            lambda: kernels.gae(*arguments, out=out),
            partial(theirs, *arguments),
            peer="NumPy",
            limit=partial(copy.seconds, repeats) if copy else None,
        )


def measure(bench: Bench) -> None:
    """Measures three shapes; the smaller two fit into the caches, where a copy is no limit."""
    for steps, num_envs in ((128, 64), (2048, 16)):
        measure_shape(bench, steps, num_envs)
    for threads in (1, 2):
        with bench.on_threads(threads):
            measure_shape(bench, 1024, 1024, threads)


if __name__ == "__main__":
    main("gae", measure, __doc__)
