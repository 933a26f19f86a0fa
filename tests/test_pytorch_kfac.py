"""Kronecker factors are those of PyTorch's activations and of its autograd, which share no code with the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pgfast import nn, optim
from pgfast.nn import Layer

torch = pytest.importorskip("torch")
functional = torch.nn.functional

SHAPE = (2, 9, 8)
LAYERS = (
    Layer("conv2d", 4, 3, 1, "relu"),
    Layer("conv2d", 5, 2, 2, "tanh"),
    Layer("dense", 6, activation="tanh"),
    Layer("dense", 3),
)
ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "identity": lambda x: x}


def patches(image: Any, kernel: int, stride: int) -> Any:
    """``[B, positions, kernel kernel channels]`` of an image ``[B, channels, height, width]``."""
    unfolded = functional.unfold(image, kernel, stride=stride)  # channels before the taps
    taps = unfolded.reshape(len(image), image.shape[1], kernel * kernel, -1)
    return taps.permute(0, 3, 2, 1).flatten(2)


def test_factors_are_the_second_moments_of_pytorch(rng: np.random.Generator) -> None:
    network = nn.Network.of_layers(SHAPE, LAYERS, dtype=np.float64, seed=3)
    x = rng.standard_normal((20, *SHAPE))
    row_gradients = rng.standard_normal((20, 3))
    kfac = optim.KFAC(network, 0.1)
    tape = nn.Tape(network, 20)
    tape.record(x)
    kfac.observe(tape, row_gradients)

    weights = iter(torch.from_numpy(network.parameters[block.slice].reshape(block.shape)) for block in network.layout)
    seen: list[tuple[Any, Any]] = []  # inputs and outputs before the activation, [B, positions, ...]
    at, height, width = torch.from_numpy(x), *SHAPE[1:]
    for layer in LAYERS:
        weight, bias = next(weights), next(weights)
        if layer.kind == "conv2d":
            inputs = patches(at, layer.kernel, layer.stride)
            height, width = ((side - layer.kernel) // layer.stride + 1 for side in (height, width))
        else:  # flat in the order of [height, width, channels]
            inputs = at.permute(0, 2, 3, 1).flatten(1)[:, None] if at.dim() == 4 else at[:, None]
        outputs = (inputs @ weight.reshape(-1, layer.outputs) + bias).requires_grad_()
        outputs.retain_grad()
        seen.append((inputs, outputs))
        at = ACTIVATIONS[layer.activation](outputs)
        at = at.reshape(20, height, width, -1).permute(0, 3, 1, 2) if layer.kind == "conv2d" else at[:, 0]
    (at * torch.from_numpy(row_gradients)).sum().backward()

    for found, (inputs, outputs) in zip(kfac.factors(), seen, strict=True):
        with_bias = torch.cat([inputs, torch.ones_like(inputs[..., :1])], dim=2).detach().flatten(0, 1)
        deltas = outputs.grad.flatten(0, 1)
        assert found.outputs is not None
        np.testing.assert_allclose(found.inputs, (with_bias.T @ with_bias / 20).numpy(), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(
            found.outputs, (deltas.T @ deltas / len(deltas)).numpy(), rtol=1e-11, atol=1e-12 * float(deltas.abs().max())
        )
