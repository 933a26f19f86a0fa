"""Small networks whose parameters are one flat vector."""

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


def __dir__() -> list[str]:
    return __all__


Activation: TypeAlias = Literal["tanh", "relu"]


class Layer(NamedTuple):
    """The description of one layer of a :class:`Network`.

    ``outputs`` is the number of units of a dense layer, or of filters of a convolution. ``kernel`` and ``stride`` are
    those of a convolution, in pixels; there is no padding.
    """

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
    ``[B, output_size]``. The weight of a convolution is ``[kernel, kernel, channels, filters]``, that of a dense layer
    ``[inputs, outputs]``; images between layers are ``[height, width, channels]``.

    Initial weights are orthogonal with gain sqrt(2), or gain 1 in the last layer, and biases are zero. They are a pure
    function of the shapes and ``seed``. Methods raise ``TypeError`` or ``ValueError`` as :mod:`pgfast.kernels` does.

    Args:
        input_shape: the shape of one input, (inputs,) or (channels, height, width).
        layers: from the input to the output.
        dtype: float32 or float64.
        seed: of the initial weights, in [0, 2^64).

    Raises:
        TypeError: if ``dtype`` is another one, or a size is not an int.
        ValueError: if a size is below 1, or the layers do not fit each other or ``input_shape``.
    """

    def __init__(
        self, input_shape: Sequence[int], layers: Sequence[Layer], *, dtype: DTypeLike = np.float32, seed: int = 0
    ) -> None:
        self._build(input_shape, layers, dtype)
        self._parameters: FloatArray = self.native.initialize(seed, math.sqrt(2.0), 1.0)

    def _build(self, input_shape: Sequence[int], layers: Sequence[Layer], dtype: DTypeLike) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.input_shape = tuple(_as_int("input size", size) for size in input_shape)
        self.native = _native_network(self.dtype, self.input_shape, layers)
        self.output_size: int = self.native.output_size
        self._layers = tuple(layers)

    def __getstate__(self) -> dict[str, Any]:
        """For copy and pickle, which need not know the native network."""
        built = {"input_shape": self.input_shape, "layers": self._layers, "dtype": self.dtype}
        return {"built": built, "parameters": self._parameters}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._build(**state["built"])
        self._parameters = np.array(state["parameters"])

    @property
    def parameters(self) -> FloatArray:
        """A flat writable view ``[P]`` of the parameters."""
        return self._parameters

    def move_parameters(self, memory: FloatArray) -> None:
        """Copies the parameters into ``memory`` and uses that memory from then on.

        One vector can so hold the parameters of several networks, each a slice of it. Views of the parameters taken
        earlier still show the old memory.

        Args:
            memory: ``[P]``, written in place and kept.

        Raises:
            TypeError: if the dtype is not the network's.
            ValueError: if the shape is wrong, or the memory is not contiguous, aligned and writable.
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
        """Returns the outputs ``[B, output_size]`` of inputs ``x`` ``[B, *input_shape]``, newly allocated."""
        return self.native.forward(self._parameters, x)

    def vjp(self, x: Array, dy: FloatArray) -> FloatArray:
        """Returns the vector-Jacobian product ``[P]`` for ``dy`` ``[B, output_size]``.

        vjp = sum_b dy_b . d y_b / d parameters
        """
        return self.native.vjp(self._parameters, x, dy)

    def jvp(self, x: Array, v: FloatArray) -> FloatArray:
        """Returns the Jacobian-vector product ``[B, output_size]`` for ``v`` ``[P]``.

        jvp = d y / d parameters . v
        """
        return self.native.jvp(self._parameters, x, v)

    def per_sample_vjp(self, x: Array, dy: FloatArray) -> FloatArray:
        """Returns the terms of :meth:`vjp`, one row per sample: ``[B, P]``, newly allocated (B times P scalars)."""
        return self.native.per_sample_vjp(self._parameters, x, dy)


def _native_network(dtype: np.dtype[Any], input_shape: tuple[int, ...], layers: Sequence[Layer]) -> core.Network:
    checked = [layer._replace(outputs=_as_int("outputs of a layer", layer.outputs)) for layer in layers]
    return core.Network(dtype, list(input_shape), checked)


class Tape:
    """The forward passes of up to ``rows`` rows of a network, kept with their inputs for later products.

    ``outputs`` ``[rows, output_size]`` is a view of the recorded outputs. Inputs are of one dtype, the network's or
    uint8. The memory is reused for the next rollout or batch. Methods raise ``TypeError`` or ``ValueError`` as the
    network's do, and ``ValueError`` if the rows do not fit.

    Args:
        network: its parameters are read whenever rows are recorded.
        rows: the capacity, in [1, 2^28].

    Raises:
        ValueError: if ``rows`` is out of range.
    """

    def __init__(self, network: Network, rows: int) -> None:
        self.network = network
        self.rows = rows
        self.native = core.Tape(network.native, rows)
        self.outputs: FloatArray = self.native.outputs

    def inputs(self, dtype: DTypeLike) -> Array:
        """Returns a writable view ``[rows, *input_shape]`` of the tape's inputs, zero at first.

        :meth:`record` does not copy inputs that were written into this view.
        """
        return self.native.inputs(np.dtype(dtype))

    def record(self, x: Array, first_row: int = 0) -> None:
        """Runs the forward pass of ``x`` ``[B, *input_shape]`` and keeps it from row ``first_row`` on."""
        self.native.record(self.network.parameters, x, first_row)

    def vjp(self, dy: FloatArray, gradient: FloatArray) -> None:
        """Writes :meth:`Network.vjp` of the first B rows to ``gradient``.

        The parameters must be those with which the rows were recorded.

        Args:
            dy: ``[B, output_size]``.
            gradient: ``[P]``, written in place.
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
    return Network([input_size], mlp_layers(output_size, hidden_sizes, activation), dtype=dtype, seed=seed)


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
    return Network(observation_shape, cnn_layers("origin_cnn", output_size), dtype=dtype, seed=seed)


def nature_cnn(
    observation_shape: Sequence[int], output_size: int, *, dtype: DTypeLike = np.float32, seed: int = 0
) -> Network:
    """Makes a larger network: 32 filters 8 x 8 / 4, 64 of 4 x 4 / 2, 64 of 3 x 3 / 1, 512 units, all with ReLU.

    Arguments and exceptions are those of :func:`origin_cnn`.

    Source: Mnih et al. (2015), methods.
    """
    return Network(observation_shape, cnn_layers("nature_cnn", output_size), dtype=dtype, seed=seed)


def mlp_layers(output_size: int, hidden_sizes: Sequence[int], activation: Activation) -> list[Layer]:
    """Returns the layers of :func:`mlp`."""
    layers = [Layer("dense", size, activation=activation) for size in hidden_sizes]
    return [*layers, Layer("dense", output_size)]


def cnn_layers(name: Literal["origin_cnn", "nature_cnn"], output_size: int) -> list[Layer]:
    """Returns the layers of :func:`origin_cnn` or :func:`nature_cnn`."""
    if name == "origin_cnn":
        convolutions, units = [(16, 8, 4), (32, 4, 2)], 256
    else:
        convolutions, units = [(32, 8, 4), (64, 4, 2), (64, 3, 1)], 512
    layers = [Layer("conv2d", filters, kernel, stride, "relu") for filters, kernel, stride in convolutions]
    return [*layers, Layer("dense", units, activation="relu"), Layer("dense", output_size)]


def count_parameters(input_shape: Sequence[int], layers: Sequence[Layer]) -> int:
    """Returns the number of parameters P of a network without allocating them. Raises as :class:`Network` does."""
    return int(_native_network(np.dtype(np.float32), tuple(input_shape), layers).parameter_count)
