"""The convolutional networks in PyTorch, with pgfast's parameters, as fast as PyTorch can be on a CPU.

oneDNN's forward pass is faster with PyTorch's contiguous memory format, its backward pass mostly with "channels last".
A benchmark tries both and keeps the faster for each case.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from architectures import NETWORKS

__all__ = ["MEMORY_FORMATS", "TorchCNN"]

Array = NDArray[np.float32]

MEMORY_FORMATS = (torch.contiguous_format, torch.channels_last)


class TorchCNN(nn.Module):
    """Maps bytes ``[B, 4, 84, 84]`` to ``[B, outputs]``."""

    def __init__(self, network: str, outputs: int) -> None:
        super().__init__()
        convolutions, units = NETWORKS[network]
        layers: list[nn.Module] = []
        channels, side = 4, 84
        for filters, kernel, stride in convolutions:
            layers += [nn.Conv2d(channels, filters, kernel, stride), nn.ReLU()]
            channels, side = filters, (side - kernel) // stride + 1
        flat = channels * side * side
        self.image = (channels, side, side)
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, units), nn.ReLU(), nn.Linear(units, outputs))
        self.memory_format = torch.contiguous_format

    def set_memory_format(self, memory_format: torch.memory_format) -> None:
        """Sets the memory format of images and of convolution weights."""
        self.memory_format = memory_format
        self.layers.to(memory_format=memory_format)  # type: ignore[call-overload]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the outputs; a byte is read as byte / 255."""
        outputs: torch.Tensor = self.layers(images.to(torch.float32, memory_format=self.memory_format).div_(255.0))
        return outputs

    def load(self, parameters: Array) -> None:
        """Copies the parameters from pgfast's flat vector."""
        offset = 0
        with torch.no_grad():
            for parameter in self.parameters():
                block = parameters[offset : offset + parameter.numel()]
                parameter.copy_(torch.from_numpy(self._from_pgfast(block, tuple(parameter.shape))))
                offset += parameter.numel()

    def gradient_as_pgfast(self, gradients: tuple[torch.Tensor, ...]) -> Array:
        """Returns the gradients of the parameters as pgfast's flat vector."""
        return np.concatenate([self._to_pgfast(gradient.numpy()).ravel() for gradient in gradients])

    def _takes_images(self, shape: tuple[int, ...]) -> bool:
        """Returns whether ``shape`` is that of the weight after the convolutions."""
        return len(shape) == 2 and shape[1] == math.prod(self.image)

    def _from_pgfast(self, block: Array, shape: tuple[int, ...]) -> Array:
        """Converts ``[k, k, C, F]``, ``[H W C, out]`` or ``[in, out]`` to PyTorch's ``[F, C, k, k]``, ``[out, C H W]``
        or ``[out, in]``."""
        if len(shape) == 4:
            filters, channels, kernel, _ = shape
            return np.ascontiguousarray(block.reshape(kernel, kernel, channels, filters).transpose(3, 2, 0, 1))
        if self._takes_images(shape):
            channels, height, width = self.image
            block = block.reshape(height, width, channels, shape[0]).transpose(3, 2, 0, 1)
            return np.ascontiguousarray(block).reshape(shape)
        return np.ascontiguousarray(block.reshape(shape[::-1]).T)

    def _to_pgfast(self, array: Array) -> Array:
        """The inverse of ``_from_pgfast``."""
        if array.ndim == 4:
            return array.transpose(2, 3, 1, 0)
        if self._takes_images(array.shape):
            return array.reshape(len(array), *self.image).transpose(2, 3, 1, 0)
        return array.T
