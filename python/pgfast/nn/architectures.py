"""Architectures: multilayer perceptrons and the convolutional networks of the Atari papers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from pgfast._native import core
from pgfast.nn.network import Network
from pgfast.nn.spec import Activation, Layer, Leaf, NetworkSpec, as_leaves, native_arguments

__all__ = ["convolutions", "count_parameters", "mlp", "mlp_spec", "nature_cnn", "origin_cnn"]


def mlp(
    input_size: int,
    output_size: int,
    hidden_sizes: Sequence[int] = (64, 64),
    activation: Activation = "tanh",
    *,
    dtype: DTypeLike = np.float32,
    seed: int = 0,
) -> Network:
    """Makes a multilayer perceptron ``[B, input_size]`` -> ``[B, output_size]``.

    Args:
        input_size: at least 1.
        output_size: at least 1.
        hidden_sizes: units of each hidden layer; ``()`` for a linear map.
        activation: of the hidden layers.
        dtype: float32 or float64.
        seed: of the initial weights, in [0, 2^64).

    Raises:
        TypeError: if ``dtype`` is another one, or a size is not an int.
        ValueError: if a size is below 1 or the activation is unknown.
    """
    return Network(mlp_spec(hidden_sizes, activation), [input_size], output_size, dtype=dtype, seed=seed)


def origin_cnn(
    observation_shape: Sequence[int], output_size: int, *, dtype: DTypeLike = np.float32, seed: int = 0
) -> Network:
    """Makes the course's convolutional network: 16 filters 8 x 8 / 4, 32 of 4 x 4 / 2, 256 units, all with ReLU.

    Args:
        observation_shape: (channels, height, width), 84 x 84 for Atari.
        output_size: at least 1.
        dtype: float32 or float64.
        seed: of the initial weights, in [0, 2^64).

    Raises:
        TypeError: if ``dtype`` is another one, or a size is not an int.
        ValueError: if a size is below 1 or the observations are too small for the convolutions.

    Source: Mnih et al. (2013), section 4.1.
    """
    return _cnn("origin_cnn", observation_shape, output_size, dtype, seed)


def nature_cnn(
    observation_shape: Sequence[int], output_size: int, *, dtype: DTypeLike = np.float32, seed: int = 0
) -> Network:
    """Makes a larger network: 32 filters 8 x 8 / 4, 64 of 4 x 4 / 2, 64 of 3 x 3 / 1, 512 units, all with ReLU.

    Arguments and exceptions are those of :func:`origin_cnn`.

    Source: Mnih et al. (2015), methods.
    """
    return _cnn("nature_cnn", observation_shape, output_size, dtype, seed)


def _cnn(
    name: Literal["origin_cnn", "nature_cnn"],
    observation_shape: Sequence[int],
    output_size: int,
    dtype: DTypeLike,
    seed: int,
) -> Network:
    _, height, width = observation_shape
    spec = NetworkSpec(trunk=convolutions(name, height, width))
    return Network(spec, observation_shape, output_size, dtype=dtype, seed=seed)


def mlp_spec(hidden_sizes: Sequence[int], activation: Activation, *, layer_norm: bool = False) -> NetworkSpec:
    """Returns the description of :func:`mlp`, possibly with layer normalization in front of the activations."""
    return NetworkSpec(trunk=tuple(layer for size in hidden_sizes for layer in _hidden(size, activation, layer_norm)))


def convolutions(
    name: Literal["small_cnn", "origin_cnn", "nature_cnn"], height: int, width: int, *, layer_norm: bool = False
) -> tuple[Layer, ...]:
    """Returns the convolutions and the hidden layer of a network for an image.

    Raises:
        ValueError: if the image is too small for the convolutions.
    """
    if name == "small_cnn":
        shorter = min(height, width)
        strides = (2 if shorter >= 28 else 1, 2 if shorter >= 14 else 1, 2 if shorter >= 56 else 1)
        filters, units = [(16, 3, strides[0]), (32, 3, strides[1]), (64, 3, strides[2])], 128
    elif name == "origin_cnn":
        filters, units = [(16, 8, 4), (32, 4, 2)], 256
    else:
        filters, units = [(32, 8, 4), (64, 4, 2), (64, 3, 1)], 512
    least = 1
    for _, kernel, stride in reversed(filters):
        least = (least - 1) * stride + kernel
    if min(height, width) < least:
        raise ValueError(
            f"{name} needs images of at least {least} x {least} pixels, got {height} x {width}; "
            'network "mlp" takes any size'
        )
    layers = tuple(Layer("conv2d", count, kernel, stride, "relu") for count, kernel, stride in filters)
    return (*layers, *_hidden(units, "relu", layer_norm))


def _hidden(units: int, activation: Activation, layer_norm: bool) -> tuple[Layer, ...]:
    if layer_norm:
        return Layer("dense", units), Layer("layer_norm", activation=activation)
    return (Layer("dense", units, activation=activation),)


def count_parameters(
    spec: NetworkSpec, observation: Sequence[Leaf] | Sequence[int], outputs: int | tuple[int, int]
) -> int:
    """Returns the number of parameters P of a network without allocating them. Raises as :class:`Network` does."""
    policy_outputs, value_outputs = (outputs, 0) if isinstance(outputs, int) else outputs
    graph = spec.graph(as_leaves(observation), policy_outputs, value_outputs)
    return int(core.Network(*native_arguments(graph, np.dtype(np.float32))).parameter_count)
