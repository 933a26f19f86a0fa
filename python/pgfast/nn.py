"""Small networks on one flat parameter vector."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from pgfast._native import core
from pgfast._typing import Array, FloatArray

__all__ = ["Activation", "Layer", "Network", "ParameterBlock", "Tape", "mlp", "nature_cnn", "origin_cnn"]

Activation: TypeAlias = Literal["tanh", "relu"]


class Layer(NamedTuple):
    """One layer: ``kind`` "dense" or "conv2d"; kernel and stride of a convolution in pixels, without padding."""

    kind: Literal["dense", "conv2d"]
    outputs: int
    kernel: int = 0
    stride: int = 1
    activation: Literal["identity", "tanh", "relu"] = "identity"


class ParameterBlock(NamedTuple):
    """A named block of the parameter vector: ``parameters[slice].reshape(shape)``."""

    name: str
    shape: tuple[int, ...]
    slice: slice


class Network:
    """A feed-forward network.

    Inputs ``x`` are ``[B, *input_shape]``, of the network's dtype or uint8; bytes are scaled by 1/255. Outputs are
    ``[B, output_size]``. A convolution's weight is ``[kernel, kernel, channels, filters]``, a dense layer's
    ``[inputs, outputs]``; between layers images lie as ``[height, width, channels]``.

    Weights start orthogonal with gain sqrt(2), the last layer's with gain 1, biases at zero: a pure function of the
    shapes and ``seed``. Methods raise ``TypeError`` or ``ValueError`` as :mod:`pgfast.kernels` does.
    """

    def __init__(
        self, input_shape: Sequence[int], layers: Sequence[Layer], *, dtype: DTypeLike = np.float32, seed: int = 0
    ) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.input_shape = tuple(_as_int("input size", size) for size in input_shape)
        self.native = _native_network(self.dtype, self.input_shape, layers)
        self.output_size: int = self.native.output_size
        self._parameters: FloatArray = self.native.initialize(seed, math.sqrt(2.0), 1.0)

    @property
    def parameters(self) -> FloatArray:
        """The parameters, a flat writable view ``[P]``."""
        return self._parameters

    def move_parameters(self, memory: FloatArray) -> None:
        """Copies the parameters into ``memory`` ``[P]``, and uses that from then on.

        For a vector that holds more than one network's parameters: ``memory`` is a slice of it, and ``parameters`` a
        view. Views taken before are of the old memory.

        Raises ``TypeError`` (dtype), ``ValueError`` (shape, memory that is not contiguous or not writable).
        """
        if memory.dtype != self.dtype:
            raise TypeError(f"Network.move_parameters: memory must be {self.dtype}, got {memory.dtype}")
        if memory.shape != self._parameters.shape:
            raise ValueError(
                f"Network.move_parameters: memory must have shape (P,) = {self._parameters.shape}, got {memory.shape}"
            )
        if not (memory.flags.c_contiguous and memory.flags.aligned and memory.flags.writeable):
            raise ValueError("Network.move_parameters: memory must be C-contiguous, aligned and writable")
        memory[:] = self._parameters
        self._parameters = memory

    @property
    def layout(self) -> list[ParameterBlock]:
        """Name, shape and slice of each block of ``parameters``, in order."""
        blocks = []
        for name, shape, offset in self.native.layout:
            blocks.append(ParameterBlock(name, tuple(shape), slice(offset, offset + math.prod(shape))))
        return blocks

    def forward(self, x: Array) -> FloatArray:
        """Outputs ``[B, output_size]``, newly allocated."""
        return self.native.forward(self._parameters, x)

    def vjp(self, x: Array, dy: FloatArray) -> FloatArray:
        """Vector-Jacobian product: sum_b dy_b . d y_b / d parameters, ``[P]``, for ``dy`` ``[B, output_size]``."""
        return self.native.vjp(self._parameters, x, dy)

    def jvp(self, x: Array, v: FloatArray) -> FloatArray:
        """Jacobian-vector product: d y / d parameters . v, ``[B, output_size]``, for ``v`` ``[P]``."""
        return self.native.jvp(self._parameters, x, v)

    def per_sample_vjp(self, x: Array, dy: FloatArray) -> FloatArray:
        """The terms of :meth:`vjp`, one row per sample: ``[B, P]``, newly allocated (B times P scalars)."""
        return self.native.per_sample_vjp(self._parameters, x, dy)


def _native_network(dtype: np.dtype[Any], input_shape: tuple[int, ...], layers: Sequence[Layer]) -> core.Network:
    checked = [layer._replace(outputs=_as_int("outputs of a layer", layer.outputs)) for layer in layers]
    return core.Network(dtype, list(input_shape), checked)


class Tape:
    """Forward passes of ``rows`` rows of a network, kept with their inputs for the products that follow.

    ``outputs`` ``[rows, output_size]`` is a view of what has been recorded. Inputs are of one dtype, the network's or
    uint8. Methods raise ``TypeError`` or ``ValueError`` as the network's do, and ``ValueError`` for rows that do not
    fit. The memory serves the next rollout or batch.
    """

    def __init__(self, network: Network, rows: int) -> None:
        self.network = network
        self.rows = rows
        self.native = core.Tape(network.native, rows)
        self.outputs: FloatArray = self.native.outputs

    def inputs(self, dtype: DTypeLike) -> Array:
        """The tape's memory of its inputs, a writable view ``[rows, *input_shape]``, zero at first.

        Inputs that are written there need not be copied: :meth:`record` takes them from where they are.
        """
        return self.native.inputs(np.dtype(dtype))

    def record(self, x: Array, first_row: int = 0) -> None:
        """The forward pass of ``x`` ``[B, *input_shape]``: rows ``first_row`` on of inputs and outputs."""
        self.native.record(self.network.parameters, x, first_row)

    def vjp(self, dy: FloatArray, gradient: FloatArray) -> None:
        """:meth:`Network.vjp` of rows 0 to B for ``dy`` ``[B, output_size]``, written to ``gradient`` ``[P]``.

        The parameters must be what they were when the rows were recorded.
        """
        self.native.vjp(self.network.parameters, dy, gradient)


def _as_int(name: str, value: int) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"Network: {name} must be an int, got {type(value).__name__}") from None


def mlp(
    input_size: int,
    output_size: int,
    hidden_sizes: Sequence[int] = (64, 64),
    activation: Activation = "tanh",
    *,
    dtype: DTypeLike = np.float32,
    seed: int = 0,
) -> Network:
    """A multi-layer perceptron ``[B, input_size]`` -> ``[B, output_size]``; ``hidden_sizes=()`` is linear.

    Raises ``ValueError`` for a size below 1 or an unknown activation, ``TypeError`` for another dtype.
    """
    return Network([input_size], mlp_layers(output_size, hidden_sizes, activation), dtype=dtype, seed=seed)


def origin_cnn(
    observation_shape: Sequence[int], output_size: int, *, dtype: DTypeLike = np.float32, seed: int = 0
) -> Network:
    """The network of the course: 16 filters 8 x 8 / 4, 32 filters 4 x 4 / 2, 256 units, all ReLU.

    Source: Mnih et al. (2013), section 4.1. ``observation_shape`` is (channels, height, width), 84 x 84 for Atari.
    """
    return Network(observation_shape, cnn_layers("origin_cnn", output_size), dtype=dtype, seed=seed)


def nature_cnn(
    observation_shape: Sequence[int], output_size: int, *, dtype: DTypeLike = np.float32, seed: int = 0
) -> Network:
    """The larger network: 32 filters 8 x 8 / 4, 64 of 4 x 4 / 2, 64 of 3 x 3 / 1, 512 units, all ReLU.

    Source: Mnih et al. (2015), methods. ``observation_shape`` is (channels, height, width), 84 x 84 for Atari.
    """
    return Network(observation_shape, cnn_layers("nature_cnn", output_size), dtype=dtype, seed=seed)


def mlp_layers(output_size: int, hidden_sizes: Sequence[int], activation: Activation) -> list[Layer]:
    """The layers of :func:`mlp`."""
    layers = [Layer("dense", size, activation=activation) for size in hidden_sizes]
    return [*layers, Layer("dense", output_size)]


def cnn_layers(name: Literal["origin_cnn", "nature_cnn"], output_size: int) -> list[Layer]:
    """The layers of :func:`origin_cnn` or :func:`nature_cnn`."""
    if name == "origin_cnn":
        convolutions, units = [(16, 8, 4), (32, 4, 2)], 256
    else:
        convolutions, units = [(32, 8, 4), (64, 4, 2), (64, 3, 1)], 512
    layers = [Layer("conv2d", filters, kernel, stride, "relu") for filters, kernel, stride in convolutions]
    return [*layers, Layer("dense", units, activation="relu"), Layer("dense", output_size)]


def count_parameters(input_shape: Sequence[int], layers: Sequence[Layer]) -> int:
    """P of a network, without making its parameters. Raises as :class:`Network` does."""
    return int(_native_network(np.dtype(np.float32), tuple(input_shape), layers).parameter_count)
