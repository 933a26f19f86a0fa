"""Networks as data: the leaves of an observation, the layers of each part, and the graph that they make."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import msgspec
import numpy as np
from numpy.typing import DTypeLike

__all__ = ["Activation", "Graph", "Layer", "Leaf", "Memory", "NetworkSpec", "Node", "input_dtype"]

Activation: TypeAlias = Literal["identity", "tanh", "relu"]
Memory: TypeAlias = Literal["none", "gru", "lstm"]

_EMBEDDING = 64  # outputs of the layer that takes the codes of one leaf of several, unless its encoder says else


class Layer(NamedTuple):
    """The description of one layer of a network.

    - "dense": ``outputs`` units.
    - "conv2d": ``outputs`` filters of ``kernel`` x ``kernel`` pixels, ``stride`` pixels apart, without padding.
    - "layer_norm": shifts and scales the numbers of each row to mean 0 and variance 1, then by a gain and a bias for
      each; its number of outputs is that of the layer before, and ``outputs`` is 0.
    - "gru" and "lstm": ``outputs`` recurrent units. :class:`NetworkSpec` has a field for them; they cannot stand among
      other layers.
    """

    kind: Literal["dense", "conv2d", "layer_norm", "gru", "lstm"]
    outputs: int = 0
    kernel: int = 0
    stride: int = 1
    activation: Activation = "identity"


class Leaf(msgspec.Struct, frozen=True, omit_defaults=True):
    """One array of an observation, and how a network reads it.

    - "numbers": of the network's dtype. A network of one such leaf also takes bytes, scaled by 1/255.
    - "bytes": uint8, scaled from [``low``, ``high``] to [0, 1].
    - "codes": integers of the network's dtype, entry k in [0, ``choices[k]``), which the first layer takes one-hot.

    ``shape`` may have up to three axes; three are an image, (channels, height, width) or, with ``channels_last``,
    (height, width, channels).
    """

    name: str
    shape: tuple[int, ...]
    kind: Literal["numbers", "bytes", "codes"] = "numbers"
    low: float = 0.0
    high: float = 255.0
    choices: tuple[int, ...] = ()
    channels_last: bool = False

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


class NetworkSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """The layers of a network with a head for the policy and possibly one for the value.

    Encoders read the leaves of an observation; the trunk reads their outputs side by side; the memory, if there is one,
    reads the trunk; the heads read the memory, or else the trunk. The layer that gives a head its number of outputs is
    not part of the description. Policy and value share one output layer if neither head has layers of its own.

    Args:
        encoders: layers for each leaf, by its name. The trunk reads a leaf without any as it is.
        trunk: layers after the encoders.
        memory: "gru" (Cho et al., 2014) or "lstm" (Hochreiter and Schmidhuber, 1997), both in the form of PyTorch; or
            "none".
        memory_size: units of the memory, its number of outputs.
        policy: hidden layers of the policy's head.
        value: hidden layers of the value's head; or another description, for a value network that shares nothing with
            the policy. Its ``value`` must be empty, its ``policy`` is the head, and its memory is its own.
    """

    encoders: Mapping[str, tuple[Layer, ...]] = {}
    trunk: tuple[Layer, ...] = ()
    policy: tuple[Layer, ...] = ()
    value: tuple[Layer, ...] | NetworkSpec = ()
    memory: Memory = "none"
    memory_size: int = 128

    def graph(self, leaves: Sequence[Leaf], policy_outputs: int, value_outputs: int = 0) -> Graph:
        """Returns the graph of this network for the leaves of an observation.

        Raises:
            ValueError: if an encoder is for a leaf that does not exist, or a separate value network has a value head.
        """
        graph = _GraphBuilder(leaves)
        body = graph.add_body(self, "", leaves)
        if isinstance(self.value, NetworkSpec):
            if self.value.value:
                raise ValueError("NetworkSpec: a separate value network has no further value")
            graph.add_head(body, "policy", self.policy, policy_outputs)
            if value_outputs:
                other = graph.add_body(self.value, "value.", leaves)
                graph.add_head(other, "value.head", self.value.policy, value_outputs)
        elif not value_outputs or not (self.policy or self.value):
            graph.add_head(body, "policy", self.policy, policy_outputs + value_outputs)
        else:
            shared = graph.closed(body, "trunk.")
            graph.add_head(shared, "policy", self.policy, policy_outputs)
            graph.add_head(shared, "value", self.value, value_outputs)
        return graph.finished()


class Node(NamedTuple):
    """A chain of layers, or one recurrent layer, on the concatenation of its inputs.

    An input is a leaf, ``(True, index)``, or an earlier node, ``(False, index)``.
    """

    name: str
    inputs: list[tuple[bool, int]]
    layers: tuple[Layer, ...]
    is_head: bool


class Graph(NamedTuple):
    """The leaves and the nodes of a network, in the order of their parameters; heads come last."""

    leaves: tuple[Leaf, ...]
    nodes: list[Node]


class _Body(NamedTuple):
    """A chain that is still to be extended: what it reads and its layers so far."""

    inputs: list[tuple[bool, int]]
    layers: tuple[Layer, ...]


class _GraphBuilder:
    def __init__(self, leaves: Sequence[Leaf]) -> None:
        self._leaves = tuple(leaves)
        self._nodes: list[Node] = []

    def add_body(self, spec: NetworkSpec, prefix: str, leaves: Sequence[Leaf]) -> _Body:
        """Adds the encoders of several leaves and the memory; returns what reads them. One leaf needs no encoder."""
        unknown = spec.encoders.keys() - {leaf.name for leaf in leaves}
        if unknown:
            names = ", ".join(f'"{leaf.name}"' for leaf in leaves)
            raise ValueError(f"NetworkSpec: no leaf for the encoder {sorted(unknown)}; the leaves are {names}")
        if len(leaves) == 1:
            layers = (*spec.encoders.get(leaves[0].name, ()), *spec.trunk)
            if leaves[0].kind == "codes" and not layers and spec.memory != "none":
                layers = (_embedding(leaves[0]),)
            return self._with_memory(spec, prefix, _Body([(True, 0)], layers))
        inputs = []
        for index, leaf in enumerate(leaves):
            layers = spec.encoders.get(leaf.name, ())
            if leaf.kind == "codes" and not layers:
                layers = (_embedding(leaf),)
            if layers:
                self._nodes.append(Node(f"{prefix}encoder.{leaf.name}.", [(True, index)], layers, is_head=False))
            inputs.append((False, len(self._nodes) - 1) if layers else (True, index))
        return self._with_memory(spec, prefix, _Body(inputs, spec.trunk))

    def _with_memory(self, spec: NetworkSpec, prefix: str, body: _Body) -> _Body:
        """Adds the memory, if there is one; returns what reads it."""
        if spec.memory == "none":
            return body
        if spec.memory not in get_args(Memory):
            raise ValueError(f'NetworkSpec: memory must be "none", "gru" or "lstm", got {spec.memory!r}')
        trunk = self.closed(body, f"{prefix}trunk.")
        layer = Layer(spec.memory, spec.memory_size)
        self._nodes.append(Node(f"{prefix}memory.", trunk.inputs, (layer,), is_head=False))
        return _Body([(False, len(self._nodes) - 1)], ())

    def closed(self, body: _Body, name: str) -> _Body:
        """A body that several heads can read: its layers become a node."""
        if not body.layers:
            return body
        self._nodes.append(Node(name, body.inputs, body.layers, is_head=False))
        return _Body([(False, len(self._nodes) - 1)], ())

    def add_head(self, body: _Body, name: str, hidden: Sequence[Layer], outputs: int) -> None:
        self._nodes.append(
            Node(f"{name}.", body.inputs, (*body.layers, *hidden, Layer("dense", outputs)), is_head=True)
        )

    def finished(self) -> Graph:
        """The blocks of a network of one node have no prefix."""
        if len(self._nodes) == 1:
            self._nodes = [self._nodes[0]._replace(name="")]
        return Graph(self._leaves, self._nodes)


def _embedding(leaf: Leaf) -> Layer:
    return Layer("dense", min(_EMBEDDING, sum(leaf.choices)))


def input_dtype(leaves: Sequence[Leaf], dtype: DTypeLike) -> np.dtype[Any]:
    """The dtype of a row of inputs: of its numbers if there is one leaf, else with a field for each leaf."""
    if len(leaves) == 1:
        return np.dtype(np.uint8 if leaves[0].kind == "bytes" else dtype)
    fields = [(leaf.name, np.uint8 if leaf.kind == "bytes" else dtype, leaf.shape) for leaf in leaves]
    return np.dtype(fields, align=True)


def as_leaves(observation: Sequence[Leaf] | Sequence[int]) -> tuple[Leaf, ...]:
    """The leaves of an observation, or one leaf of numbers of this shape. Raises ``TypeError`` for other entries."""
    leaves = [entry for entry in observation if isinstance(entry, Leaf)]
    if leaves and len(leaves) == len(observation):
        return tuple(leaves)
    return (Leaf("", tuple(as_int("input size", size) for size in observation)),)  # type: ignore[arg-type]


def as_int(name: str, value: int) -> int:
    """The value as an int. Raises ``TypeError`` for a float or a str."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"Network: {name} must be an int, got {type(value).__name__}") from None


def native_arguments(graph: Graph, dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """The arguments of the native network. Raises ``TypeError`` if a size is not an int."""
    rows = input_dtype(graph.leaves, dtype)
    offsets: Mapping[str, Any] = rows.fields or {}
    leaves = []
    for leaf in graph.leaves:
        shape = [as_int("input size", size) for size in leaf.shape]
        offset = offsets[leaf.name][1] if rows.fields else 0
        choices = [as_int("number of choices", count) for count in leaf.choices]
        is_image = len(shape) == 3
        flat = shape if is_image or len(graph.leaves) == 1 else [math.prod(shape)]
        leaves.append((flat, leaf.channels_last, leaf.kind == "bytes", offset, leaf.low, leaf.high, choices))
    row_bytes = rows.itemsize if rows.fields else math.prod(graph.leaves[0].shape) * rows.itemsize
    nodes = [
        (node.name, node.inputs, [_native_layer(layer) for layer in node.layers], node.is_head) for node in graph.nodes
    ]
    return dtype, leaves, row_bytes, nodes


def _native_layer(layer: Layer) -> tuple[Any, ...]:
    return (layer.kind, as_int("outputs of a layer", layer.outputs), layer.kernel, layer.stride, layer.activation)
