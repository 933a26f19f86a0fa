"""A multi-layer perceptron in PyTorch with pgfast's parameters."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

__all__ = ["mlp_from"]


def mlp_from(parameters: NDArray[np.float32], sizes: tuple[int, ...]) -> nn.Sequential:
    """Returns an MLP with tanh units; a layer's block of ``parameters`` is ``[inputs, outputs]``, then the bias."""
    layers: list[nn.Module] = []
    offset = 0
    for inputs, outputs in itertools.pairwise(sizes):
        linear = nn.Linear(inputs, outputs)
        weight = parameters[offset : offset + inputs * outputs].reshape(inputs, outputs)
        offset += inputs * outputs
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight.T.copy()))
            linear.bias.copy_(torch.from_numpy(parameters[offset : offset + outputs]))
        offset += outputs
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers[:-1])
