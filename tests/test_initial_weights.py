"""The initial weights of a network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pgfast import nn
from pgfast.nn import Layer
from pgfast.reference import network as reference

INPUT_SHAPE = (2, 9, 8)
LAYERS = [
    Layer("conv2d", 6, 3, 1, "relu"),  # weight [18, 6], taller than wide
    Layer("conv2d", 70, 3, 2, "relu"),  # [54, 70], wider than tall
    Layer("dense", 21, activation="tanh"),
    Layer("dense", 5),
]


def build(dtype: Any, seed: int) -> nn.Network:
    return nn.Network.of_layers(INPUT_SHAPE, LAYERS, dtype=dtype, seed=seed)


def weights(network: nn.Network) -> list[NDArray[Any]]:
    """Returns each layer's weight as a matrix ``[fan_in, outputs]``."""
    blocks = [block for block in network.layout if block.name.endswith("weight")]
    return [network.parameters[block.slice].reshape(-1, block.shape[-1]) for block in blocks]


def test_weights_are_orthogonal_and_biases_zero(dtype: Any) -> None:
    network = build(dtype, 3)
    gains = [math.sqrt(2.0), math.sqrt(2.0), math.sqrt(2.0), 1.0]
    for weight, gain in zip(weights(network), gains, strict=True):
        tall = weight if weight.shape[0] >= weight.shape[1] else weight.T
        gram = tall.T.astype(np.float64) @ tall
        np.testing.assert_allclose(gram, gain**2 * np.eye(len(gram)), atol=2e-6 if dtype == np.float32 else 1e-13)
    for block in network.layout:
        if block.name.endswith("bias"):
            assert not network.parameters[block.slice].any()


def test_weights_match_the_reference(dtype: Any) -> None:
    for layer, weight in enumerate(weights(build(dtype, 11))):
        gain = 1.0 if layer == len(LAYERS) - 1 else math.sqrt(2.0)
        expected = reference.orthogonal(weight.shape[0], weight.shape[1], gain, 11, layer)
        np.testing.assert_allclose(weight, expected, atol=2e-4 if dtype == np.float32 else 1e-11)


def test_weights_are_determined_by_the_seed() -> None:
    same, again, other = build(np.float32, 5), build(np.float32, 5), build(np.float32, 6)
    np.testing.assert_array_equal(same.parameters, again.parameters)
    for one, two in zip(weights(same), weights(other), strict=True):
        assert np.abs(one - two).max() > 0.1


def test_layers_of_equal_shape_get_different_weights() -> None:
    first, second, _ = weights(nn.mlp(16, 1, (16, 16)))
    assert np.abs(first - second).max() > 0.1


@pytest.mark.parametrize("seed", range(5))
def test_small_matrices_are_uniformly_distributed_orthogonal_matrices(seed: int) -> None:
    # Entries of a uniform orthogonal n x n matrix have mean 0 and variance 1/n.
    entries = np.concatenate([weights(nn.mlp(2, 2, (), dtype=np.float64, seed=1000 * seed + k))[0] for k in range(400)])
    assert abs(entries.mean()) < 4.0 / math.sqrt(2.0 * entries.size)
    assert abs((entries**2).mean() - 0.5) < 1e-12
    # The mean of x^4 on a circle is 3/8. A sign or column bias of the QR decomposition would show in the first entry.
    assert abs((entries[::2, 0] ** 4).mean() - 0.375) < 4.0 * 0.25 / math.sqrt(400)
    assert abs(entries[::2, 0].mean()) < 4.0 * math.sqrt(0.5 / 400)
