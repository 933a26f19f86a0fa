"""Networks whose parameters are one flat vector, and tapes of their forward passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike

from pgfast._native import core
from pgfast._typing import Array, BoolArray, FloatArray
from pgfast.nn.spec import Graph, Layer, Leaf, NetworkSpec, Node, as_leaves, input_dtype, native_arguments

__all__ = ["LayerGradients", "Network", "ParameterBlock", "Tape"]

_RECURRENT = ("gru", "lstm")


class ParameterBlock(NamedTuple):
    """A named block of the parameter vector: ``parameters[slice].reshape(shape)``."""

    name: str
    shape: tuple[int, ...]
    slice: slice


class LayerGradients(NamedTuple):
    """The rows of a layer in a backward pass, images and codes flat."""

    name: str  # the prefix of its parameter blocks
    inputs: FloatArray  # [B, in]
    outputs: FloatArray  # [B, out], the gradient with respect to its outputs before the activation


class Network:
    """A network of layers on the leaves of an observation, such as :class:`NetworkSpec` describes.

    Inputs ``x`` are ``[B, *shape]`` of the only leaf, of the network's dtype or uint8; bytes are scaled by 1/255, or by
    the leaf's bounds. With several leaves they are rows ``[B]`` of ``input_dtype``, a structured dtype with a field for
    each leaf. Outputs are ``[B, output_size]``: the policy's, then the value's. The weight of a convolution is
    ``[kernel, kernel, channels, filters]``, that of a dense layer ``[inputs, outputs]``; images between layers are
    ``[height, width, channels]``.

    Initial weights are orthogonal with gain sqrt(2), or gain 1 in the last layer of a head, and biases are zero. The
    weights of a memory are orthogonal gate by gate, with gain 1, and the bias of an LSTM's forget gate is 1. All are a
    pure function of the shapes and ``seed``.

    A network with memory runs on sequences: B = T N rows, of which row t N + n is step t of sequence n. Its state
    ``[N, state_size]`` holds the h ``[memory_size]`` of a GRU, or h and c of an LSTM. If a separate value network has a
    memory, too, its state follows that of the policy's. The methods named ``_sequence`` are for networks with memory,
    those that they are named after for networks without.

    A memory has the weights ``[inputs, gates * memory_size]`` of its input and ``[memory_size, gates * memory_size]``
    of h, with the gates in PyTorch's order: r, z, n of a GRU, i, f, g, o of an LSTM. Its bias ``[4 * memory_size]`` has
    this order, too; the last quarter of a GRU's is the bias of the product with h within n, which r multiplies.

    Methods raise ``TypeError`` or ``ValueError`` as :mod:`pgfast.kernels` does.

    Args:
        spec: the layers of each part.
        observation: the leaves of the input; or the shape of the only one, (inputs,) or (channels, height, width).
        outputs: the number of outputs of the policy's head, or of the policy's and of the value's.
        dtype: float32 or float64.
        seed: of the initial weights, in [0, 2^64).

    Raises:
        TypeError: if ``dtype`` is another one, or a size is not an int.
        ValueError: if a size is below 1, or the layers do not fit each other or the observation.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        observation: Sequence[Leaf] | Sequence[int],
        outputs: int | tuple[int, int],
        *,
        dtype: DTypeLike = np.float32,
        seed: int = 0,
    ) -> None:
        policy_outputs, value_outputs = (outputs, 0) if isinstance(outputs, int) else outputs
        self._start(spec.graph(as_leaves(observation), policy_outputs, value_outputs), dtype, seed)

    @classmethod
    def of_layers(
        cls, input_shape: Sequence[int], layers: Sequence[Layer], *, dtype: DTypeLike = np.float32, seed: int = 0
    ) -> Self:
        """A chain of layers, the last of which writes the outputs. Arguments and exceptions are those of the class."""
        network = cls.__new__(cls)
        graph = Graph(as_leaves(input_shape), [Node("", [(True, 0)], tuple(layers), is_head=True)])
        network._start(graph, dtype, seed)
        return network

    def _start(self, graph: Graph, dtype: DTypeLike, seed: int) -> None:
        self._build(graph, dtype)
        self._parameters: FloatArray = self.native.initialize(seed, math.sqrt(2.0), 1.0)

    def _build(self, graph: Graph, dtype: DTypeLike) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.native = core.Network(*native_arguments(graph, self.dtype))
        self.graph = graph
        self.input_dtype = input_dtype(graph.leaves, self.dtype)
        self.input_shape = tuple(graph.leaves[0].shape) if len(graph.leaves) == 1 else ()
        self.output_size: int = self.native.output_size
        self.state_size: int = self.native.state_size  # 0 without memory

    def __getstate__(self) -> dict[str, Any]:
        """For copy and pickle, which need not know the native network."""
        return {"graph": self.graph, "dtype": self.dtype, "parameters": self._parameters}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._build(state["graph"], state["dtype"])
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

    @property
    def output_layers(self) -> list[tuple[ParameterBlock, ParameterBlock]]:
        """(weight, bias) of the last layer of each head, the policy's first; it may hold the value's outputs too."""
        blocks, found = iter(self.layout), []
        for node in self.graph.nodes:
            of_node = list(islice(blocks, sum(3 if layer.kind in _RECURRENT else 2 for layer in node.layers)))
            if node.is_head:
                found.append((of_node[-2], of_node[-1]))
        return found

    @property
    def value_part(self) -> slice | None:
        """The parameters of a separate value network; None if there is none."""
        if all(node.name != "value.head." for node in self.graph.nodes):
            return None
        blocks = [block.slice for block in self.layout if block.name.startswith("value.")]
        return slice(blocks[0].start, blocks[-1].stop)

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

    def initial_state(self, sequences: int) -> FloatArray:
        """Returns the state ``[sequences, state_size]`` at the start of an episode: zeros."""
        return np.zeros((sequences, self.state_size), self.dtype)

    def forward_sequence(
        self, x: Array, state: FloatArray, starts: BoolArray | None = None, held: BoolArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Runs a network with memory over T steps of N sequences; one step is T = 1.

        The outputs have the same bits whether the steps are computed together or one by one.

        Args:
            x: ``[T N, *input_shape]``, step by step.
            state: ``[N, state_size]``, before the first step.
            starts: ``[T N]``, where an episode starts: the state before these rows is zero. None for nowhere.
            held: ``[T N]``, rows that do not advance the state, such as the last observation of an episode whose value
                is needed; their outputs are as if they did. None for no rows.

        Returns:
            The outputs ``[T N, output_size]`` and the state ``[N, state_size]`` after the last step, both new.
        """
        outputs, after = self.native.forward_sequence(self._parameters, x, state, starts, held)
        return outputs, after

    def vjp_sequence(
        self,
        x: Array,
        dy: FloatArray,
        state: FloatArray,
        starts: BoolArray | None = None,
        held: BoolArray | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """Computes the vector-Jacobian product of :meth:`forward_sequence` for ``dy`` ``[T N, output_size]``.

        Gradients go back through all steps, and stop where an episode starts.

        Returns:
            sum_b dy_b . d y_b / d parameters ``[P]``, and the same with respect to ``state``, ``[N, state_size]``.

        Source: Werbos (1990), for the gradient through time.
        """
        gradient, dstate = self.native.vjp_sequence(self._parameters, x, dy, state, starts, held)
        return gradient, dstate

    def jvp_sequence(
        self,
        x: Array,
        v: FloatArray,
        state: FloatArray,
        starts: BoolArray | None = None,
        held: BoolArray | None = None,
    ) -> FloatArray:
        """Returns the Jacobian-vector product ``[T N, output_size]`` of :meth:`forward_sequence` for ``v`` ``[P]``."""
        return self.native.jvp_sequence(self._parameters, x, v, state, starts, held)


class Tape:
    """The forward passes of up to ``rows`` rows of a network, kept with their inputs for later products.

    ``outputs`` ``[rows, output_size]`` is a view of the recorded outputs. Inputs are of one dtype, the network's or
    uint8. The memory is reused for the next rollout or batch. Methods raise ``TypeError`` or ``ValueError`` as the
    network's do, and ``ValueError`` if the rows do not fit.

    If the network has memory, :meth:`begin` comes first. Whole steps are then recorded, each after the one before it,
    as described for :meth:`Network.forward_sequence`. ``starts`` and ``held`` ``[rows]`` are views of flags, to be
    written before a row is recorded, and False after :meth:`begin`.

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
        self.starts: BoolArray = self.native.starts
        self.held: BoolArray = self.native.held

    def inputs(self, dtype: DTypeLike) -> Array:
        """Returns a writable view ``[rows, *input_shape]`` of the tape's inputs, zero at first.

        :meth:`record` does not copy inputs that were written into this view.
        """
        return self.native.inputs(np.dtype(dtype))

    def begin(self, state: FloatArray) -> None:
        """Discards all rows, and begins N sequences with ``state`` ``[N, state_size]``, which is copied."""
        self.native.begin(state)

    def state_after(self, rows: int) -> FloatArray:
        """Returns the state ``[N, state_size]`` after the first ``rows`` rows, whole steps; newly allocated."""
        return self.native.state_after(rows)

    def record(self, x: Array, first_row: int = 0) -> None:
        """Runs the forward pass of ``x`` ``[B, *input_shape]`` and keeps it from row ``first_row`` on."""
        self.native.record(self.network.parameters, x, first_row)

    def vjp(self, dy: FloatArray, gradient: FloatArray) -> None:
        """Writes :meth:`Network.vjp` of the first B rows, or :meth:`Network.vjp_sequence`, to ``gradient``.

        The parameters must be those with which the rows were recorded.

        Args:
            dy: ``[B, output_size]``.
            gradient: ``[P]``, written in place.
        """
        self.native.vjp(self.network.parameters, dy, gradient)

    def layer_gradients(self, dy: FloatArray) -> list[LayerGradients]:
        """Returns what :meth:`vjp` computes at each layer, of which statistics such as Kronecker factors are made.

        The weight's gradient of a dense layer is inputs' outputs, the bias's the sum of the outputs. Layers come in the
        order of the layout; a memory is left out.

        Args:
            dy: ``[B, output_size]``.
        """
        names = [block.name.removesuffix(".weight") for block in self.network.layout if block.name.endswith(".weight")]
        layers = self.native.layer_gradients(self.network.parameters, dy)
        return [LayerGradients(name, *rows) for name, rows in zip(names, layers, strict=True) if rows is not None]
