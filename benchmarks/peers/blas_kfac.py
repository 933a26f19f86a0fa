"""The products of K-FAC for a convolutional network, with SciPy's OpenBLAS and PyTorch.

Statistics are the second moments of each layer's inputs and output gradients at the positions used, and the input
gradients of all layers but the first. Inverses are a Cholesky factor of each of these matrices, and a step solves with
both factors of each layer. Operands are unfolded, transposed and in LAPACK's order already, which is not counted; nor
are activations and averages. Symmetric products and solves are OpenBLAS's, which is faster for them than PyTorch.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg.blas import ssyrk
from scipy.linalg.lapack import spotrf, spotrs

from architectures import layer_shapes

__all__ = ["BlasKfac"]

Array = NDArray[np.float32]

BLOCK_IMAGES = 16  # of an input gradient of a convolution, which stay in the cache


class BlasKfac:
    """The products of an update with ``rows`` images, on prepared operands."""

    def __init__(self, network: str, rows: int, position_stride: int) -> None:
        rng = np.random.default_rng(0)

        def matrix(*shape: int) -> Array:
            return np.asfortranarray(rng.standard_normal(shape, np.float32))

        self._sides: list[Array] = []  # the rows of each layer whose second moments are taken: inputs, then outputs
        self._solves: list[tuple[Array, Array]] = []  # G and G' of each layer
        self._backward: list[tuple[int, torch.Tensor, torch.Tensor]] = []  # repetitions, gradients, weight'
        for index, (positions, inputs, outputs) in enumerate(layer_shapes(network)):
            used = rows * -(-positions // min(position_stride, positions))
            self._sides += [matrix(used, inputs + 1), matrix(used, outputs)]
            self._solves.append((matrix(inputs + 1, outputs), matrix(outputs, inputs + 1)))
            if index > 0:
                block = rows if positions == 1 else min(rows, BLOCK_IMAGES)
                pair = (matrix(block * positions, outputs), matrix(outputs, inputs))
                self._backward.append((rows // block, *map(torch.from_numpy, map(np.ascontiguousarray, pair))))
        damping = np.float32(1.0)
        self._moments = [
            np.asfortranarray(side.T @ side / np.float32(len(side)) + damping * np.eye(side.shape[1], dtype=np.float32))
            for side in self._sides
        ]
        self._factors = [spotrf(moment, lower=1)[0] for moment in self._moments]

    def statistics(self) -> None:
        """Takes the second moments and the input gradients."""
        for side in self._sides:
            ssyrk(1.0, side, trans=1)
        for times, gradients, weight in self._backward:
            for _ in range(times):
                torch.mm(gradients, weight)

    def inverses(self) -> None:
        """Factors every matrix."""
        for moment in self._moments:
            spotrf(moment, lower=1)

    def step(self) -> None:
        """Solves with both factors of every layer."""
        for number, (gradient, transposed) in enumerate(self._solves):
            spotrs(self._factors[2 * number + 1], transposed, lower=1)
            spotrs(self._factors[2 * number], gradient, lower=1)
