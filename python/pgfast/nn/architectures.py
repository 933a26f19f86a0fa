"""Architectures: multilayer perceptrons and the convolutional networks of the Atari papers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from pgfast._native import core
from pgfast.nn.network import Network
from pgfast.nn.spec import Activation, Layer, Leaf, NetworkSpec, as_leaves, native_arguments

__all__ = ["cnn_spec", "count_parameters", "mlp", "mlp_spec", "nature_cnn", "origin_cnn"]


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
    return Network(cnn_spec("origin_cnn"), observation_shape, output_size, dtype=dtype, seed=seed)


def nature_cnn(
    observation_shape: Sequence[int], output_size: int, *, dtype: DTypeLike = np.float32, seed: int = 0
) -> Network:
    """Makes a larger network: 32 filters 8 x 8 / 4, 64 of 4 x 4 / 2, 64 of 3 x 3 / 1, 512 units, all with ReLU.

    Arguments and exceptions are those of :func:`origin_cnn`.

    Source: Mnih et al. (2015), methods.
    """
    return Network(cnn_spec("nature_cnn"), observation_shape, output_size, dtype=dtype, seed=seed)


def mlp_spec(hidden_sizes: Sequence[int], activation: Activation) -> NetworkSpec:
    """Returns the description of :func:`mlp`."""
    return NetworkSpec(trunk=tuple(Layer("dense", size, activation=activation) for size in hidden_sizes))


def cnn_spec(name: Literal["origin_cnn", "nature_cnn"]) -> NetworkSpec:
    """Returns the description of :func:`origin_cnn` or :func:`nature_cnn`."""
    if name == "origin_cnn":
        convolutions, units = [(16, 8, 4), (32, 4, 2)], 256
    else:
        convolutions, units = [(32, 8, 4), (64, 4, 2), (64, 3, 1)], 512
    layers = [Layer("conv2d", filters, kernel, stride, "relu") for filters, kernel, stride in convolutions]
    return NetworkSpec(trunk=(*layers, Layer("dense", units, activation="relu")))


def count_parameters(spec: NetworkSpec, observation: Sequence[Leaf] | Sequence[int], outputs: int) -> int:
    """Returns the number of parameters P of a network without allocating them. Raises as :class:`Network` does."""
    graph = spec.graph(as_leaves(observation), outputs)
    return int(core.Network(*native_arguments(graph, np.dtype(np.float32))).parameter_count)
