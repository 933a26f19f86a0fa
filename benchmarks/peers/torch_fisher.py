"""Fisher-vector products by double backward, written by hand with PyTorch.

The gradient of the mean KL divergence is built once with its graph; every product is the gradient of its inner product
with a vector. TRPO implementations on PyTorch do the same; without their overhead, this is as fast as double backward
can be.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from peers.torch_mlp import mlp_from

Array = NDArray[np.float32]


class TorchFisher:
    """The policy N(MLP(x), diag exp(2 log_std)) with tanh units, built from pgfast's flat vector of parameters.

    A dense layer's block is the weight ``[inputs, outputs]``, then the bias; log_std is the last block.
    """

    def __init__(self, sizes: tuple[int, ...], parameters: Array, obs: Array, damping: float) -> None:
        self.obs, self.damping = torch.from_numpy(obs), damping
        self.mean = mlp_from(parameters, sizes)
        offset = sum(inputs * outputs + outputs for inputs, outputs in itertools.pairwise(sizes))
        self.log_std = nn.Parameter(torch.from_numpy(parameters[offset:].copy()))
        self.parameters = [*self.mean.parameters(), self.log_std]

    def prepare(self) -> None:
        """Builds the graph of the gradient of the mean KL divergence between the policy and itself."""
        mean, log_std = self.mean(self.obs), self.log_std
        old_mean, old_log_std = mean.detach(), log_std.detach()
        variance_ratio = torch.exp(2.0 * (old_log_std - log_std))
        distance = (mean - old_mean).square() * torch.exp(-2.0 * log_std)
        kl = (log_std - old_log_std + 0.5 * (variance_ratio + distance - 1.0)).sum(1).mean()
        gradients = torch.autograd.grad(kl, self.parameters, create_graph=True)
        self.gradient = torch.cat([gradient.reshape(-1) for gradient in gradients])

    def product(self, v: torch.Tensor) -> torch.Tensor:
        """Returns F v + damping v from the prepared graph, in PyTorch's order of parameters."""
        products = torch.autograd.grad(self.gradient @ v, self.parameters, retain_graph=True)
        return torch.cat([product.reshape(-1) for product in products]) + self.damping * v

    def solve(self, b: torch.Tensor, iterations: int) -> torch.Tensor:
        """Prepares the graph and runs ``iterations`` of conjugate gradient from x = 0."""
        self.prepare()
        x, r, p = torch.zeros_like(b), b.clone(), b.clone()
        rr = r @ r
        for _ in range(iterations):
            ap = self.product(p)
            alpha = rr / (p @ ap)
            x += alpha * p
            r -= alpha * ap
            next_rr = r @ r
            p = r + (next_rr / rr) * p
            rr = next_rr
        return x

    def from_pgfast(self, v: Array) -> torch.Tensor:
        """Reorders a vector from pgfast's parameters to PyTorch's, whose weights are ``[outputs, inputs]``."""
        return self._reordered(torch.from_numpy(v), transpose=True)

    def to_pgfast(self, v: torch.Tensor) -> Array:
        """The inverse of ``from_pgfast``."""
        return self._reordered(v, transpose=False).numpy()

    def _reordered(self, v: torch.Tensor, *, transpose: bool) -> torch.Tensor:
        blocks, offset = [], 0
        for parameter in self.parameters:
            block = v[offset : offset + parameter.numel()]
            if parameter.ndim == 2:
                shape = parameter.shape[::-1] if transpose else parameter.shape
                block = block.reshape(tuple(shape)).T
            blocks.append(block.reshape(-1))
            offset += parameter.numel()
        return torch.cat(blocks)
