"""The time of a convolutional network's matrix products alone.

A convolution is the product of its unfolded input with its weight; the unfolding is not counted. It is computed in
blocks of 16 images, whose unfolded input stays in the cache; that of 80 images would come from memory, a cost that can
be avoided. Dense layers take all rows at once. A backward pass is the weight gradient of every layer and the input
gradient of all but the first. The products run with PyTorch and with NumPy's OpenBLAS; the faster of the two is the
limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from architectures import layer_shapes
from threads import settle

__all__ = ["LayerProducts"]

Array = NDArray[np.float32]

BLOCK_IMAGES = 16


class LayerProducts:
    """The products of one forward or backward pass of ``rows`` images, on prepared inputs."""

    def __init__(self, network: str, rows: int, *, backward: bool) -> None:
        rng = np.random.default_rng(0)
        self._products: list[tuple[int, Array, Array, Array]] = []  # repetitions, a, b, a @ b
        for index, (positions, inputs, outputs) in enumerate(layer_shapes(network)):
            block = rows if positions == 1 else min(rows, BLOCK_IMAGES)
            if rows % block:
                raise ValueError(f"rows must be a multiple of {BLOCK_IMAGES}, got {rows}")
            x = rng.standard_normal((block * positions, inputs), np.float32)
            weight = rng.standard_normal((inputs, outputs), np.float32)
            delta = rng.standard_normal((block * positions, outputs), np.float32)
            pairs = [(x.T, delta), (delta, weight.T)][: 1 if index == 0 else 2] if backward else [(x, weight)]
            for a, b in pairs:
                self._products.append((rows // block, a, b, np.empty((len(a), b.shape[1]), np.float32)))

    def _with_numpy(self) -> None:
        for times, a, b, out in self._products:
            for _ in range(times):
                np.matmul(a, b, out=out)

    def _with_torch(self) -> None:
        for times, a, b, out in self._products:
            first, second, product = (torch.from_numpy(array) for array in (a, b, out))
            for _ in range(times):
                torch.mm(first, second, out=product)

    def seconds(self, repeats: int) -> float:
        """Returns the mean time of one pass over ``repeats`` passes, with the faster library."""

        def mean(run: Callable[[], None]) -> float:
            settle()
            run()
            began = time.perf_counter()
            for _ in range(repeats):
                run()
            return (time.perf_counter() - began) / repeats

        return min(mean(self._with_numpy), mean(self._with_torch))
