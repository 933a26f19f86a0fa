"""A GRU or LSTM of one layer in PyTorch, with the parameters of a pgfast network.

``torch.nn.GRU`` and ``torch.nn.LSTM`` run all steps in one call, the LSTM in oneDNN. The gradient is taken by
``torch.autograd.grad``, which does not accumulate into ``.grad``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from pgfast import nn

__all__ = ["TorchMemory"]


class TorchMemory:
    """Steps of N sequences from a state of zeros."""

    def __init__(self, kind: Literal["gru", "lstm"], network: nn.Network) -> None:
        w, u, bias = (network.parameters[block.slice].reshape(block.shape) for block in network.layout)
        size = len(u)
        self._module: torch.nn.RNNBase = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[kind](len(w), size)
        self._parameters = tuple(self._module.parameters())
        recurrent_bias = np.zeros(w.shape[1], np.float32)
        if kind == "gru":
            recurrent_bias[2 * size :] = bias[3 * size :]
        values = (w.T, u.T, bias[: w.shape[1]], recurrent_bias)
        with torch.no_grad():
            for parameter, value in zip(self._parameters, values, strict=True):
                parameter.copy_(torch.from_numpy(value.copy()))

    @torch.inference_mode()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the outputs ``[T, N, size]`` of ``x`` ``[T, N, inputs]``."""
        outputs: torch.Tensor = self._module(x)[0]
        return outputs

    def gradient(self, x: torch.Tensor, dy: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Returns the gradient of the parameters after a forward pass."""
        return torch.autograd.grad(self._module(x)[0], self._parameters, dy)

    def as_pgfast(self, gradient: tuple[torch.Tensor, ...]) -> NDArray[np.float32]:
        """Returns a gradient in the order of pgfast's parameters."""
        w, u, bias, recurrent_bias = (part.numpy() for part in gradient)
        rest = recurrent_bias[2 * u.shape[1] :] if isinstance(self._module, torch.nn.GRU) else bias[:0]
        return np.concatenate([w.T.ravel(), u.T.ravel(), bias, rest])
