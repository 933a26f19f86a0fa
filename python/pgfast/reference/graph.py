"""Networks whose chains of layers form a graph.

A node is a tuple (name, inputs, layers, is_head) like ``pgfast.nn.spec.Node``: a chain on the concatenation of leaves
``(True, index)`` and earlier nodes ``(False, index)``. Leaves are given as the network reads them: numbers, bytes
already scaled, codes already one-hot; ``[B, ...]`` each, images ``[B, channels, height, width]``. The outputs are those
of the heads, side by side.

A node whose only layer is "gru" or "lstm" is a memory: the rows are then those of sequences, as ``memory`` describes
them, and their state holds that of every memory, side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from pgfast.reference import memory, network
from pgfast.reference.memory import Sequences
from pgfast.reference.network import Array, LayerTuple

NodeTuple: TypeAlias = tuple[str, Sequence[tuple[bool, int]], Sequence[LayerTuple], bool]


def _read(node: NodeTuple, leaves: Sequence[Array], outputs: Sequence[Array]) -> Array:
    """The input of a node: the only leaf in its shape, or everything side by side."""
    _, inputs, _, _ = node
    read = [leaves[index] if is_leaf else outputs[index] for is_leaf, index in inputs]
    return read[0] if len(read) == 1 else np.concatenate([array.reshape(len(array), -1) for array in read], axis=1)


def _parameter_counts(nodes: Sequence[NodeTuple], leaves: Sequence[Array]) -> list[int]:
    """The number of parameters of each node, by the shapes of one row."""
    counts: list[int] = []
    outputs: list[Array] = []
    for node in nodes:
        x, layers = _read(node, [leaf[:1] for leaf in leaves], outputs), node[2]
        shape, count = x.shape[1:], 0
        for kind, units, kernel, stride, _ in layers:
            if kind == "conv2d":
                height, width = ((size - kernel) // stride + 1 for size in shape[1:])
                count += kernel**2 * shape[0] * units + units
                shape = (units, height, width)
            elif kind in ("gru", "lstm"):
                count += memory.parameter_count(kind, int(np.prod(shape)), units)
                shape = (units,)
            elif kind == "layer_norm":
                count += 2 * int(np.prod(shape))
            else:
                count += int(np.prod(shape)) * units + units
                shape = (units,)
        counts.append(count)
        outputs.append(np.zeros((1, int(np.prod(shape)))))
    return counts


def _split(nodes: Sequence[NodeTuple], leaves: Sequence[Array], vector: Array) -> list[Array]:
    return np.split(vector, np.cumsum(_parameter_counts(nodes, leaves))[:-1])


def _runs(nodes: Sequence[NodeTuple], run: Sequences | None) -> list[Sequences | None]:
    """The sequences of each node that is a memory, with its part of the state."""
    runs: list[Sequences | None] = []
    column = 0
    for node in nodes:
        kind, units, *_ = node[2][0]
        width = {"gru": units, "lstm": 2 * units}.get(kind, 0)
        runs.append(run._replace(state=run.state[:, column : column + width]) if run and width else None)
        column += width
    return runs


def _outputs(
    nodes: Sequence[NodeTuple], parameters: list[Array], leaves: Sequence[Array], run: Sequences | None = None
) -> tuple[list[Array], list[Array]]:
    """The outputs of each node, and the states after the last step."""
    outputs: list[Array] = []
    states: list[Array] = []
    for node, theta, of_node in zip(nodes, parameters, _runs(nodes, run), strict=True):
        x = _read(node, leaves, outputs)
        if of_node is None:
            outputs.append(network.forward(node[2], theta, x))
        else:
            kind, units, *_ = node[2][0]
            y, state = memory.forward(kind, theta, x.reshape(len(x), -1), units, of_node)
            outputs.append(y)
            states.append(state)
    return outputs, states


def forward(nodes: Sequence[NodeTuple], parameters: Array, leaves: Sequence[Array]) -> Array:
    """Outputs ``[B, outputs]``."""
    outputs, _ = _outputs(nodes, _split(nodes, leaves, parameters), leaves)
    return np.concatenate([y for y, node in zip(outputs, nodes, strict=True) if node[3]], axis=1)


def forward_sequence(
    nodes: Sequence[NodeTuple], parameters: Array, leaves: Sequence[Array], run: Sequences
) -> tuple[Array, Array]:
    """Outputs ``[T N, outputs]`` and the state after the last step."""
    outputs, states = _outputs(nodes, _split(nodes, leaves, parameters), leaves, run)
    return np.concatenate([y for y, node in zip(outputs, nodes, strict=True) if node[3]], axis=1), np.hstack(states)


def vjp(nodes: Sequence[NodeTuple], parameters: Array, leaves: Sequence[Array], dy: Array) -> Array:
    """sum_b dy_b . d y_b / d parameters, ``[P]``: a node's output gradient is the sum over those that read it."""
    return _vjp(nodes, parameters, leaves, dy, None)[0]


def vjp_sequence(
    nodes: Sequence[NodeTuple], parameters: Array, leaves: Sequence[Array], dy: Array, run: Sequences
) -> tuple[Array, Array]:
    """The same for the outputs of :func:`forward_sequence`, and the gradient of the state before the first step."""
    gradient, dstates = _vjp(nodes, parameters, leaves, dy, run)
    return gradient, np.hstack(dstates)


def _vjp(
    nodes: Sequence[NodeTuple], parameters: Array, leaves: Sequence[Array], dy: Array, run: Sequences | None
) -> tuple[Array, list[Array]]:
    split = _split(nodes, leaves, parameters)
    outputs, _ = _outputs(nodes, split, leaves, run)
    deltas = [np.zeros_like(y) for y in outputs]
    column = 0
    for delta, node in zip(deltas, nodes, strict=True):
        if node[3]:
            delta[:] = dy[:, column : column + delta.shape[1]]
            column += delta.shape[1]
    gradients, dstates = [], []
    for node, theta, delta, of_node in reversed(list(zip(nodes, split, deltas, _runs(nodes, run), strict=True))):
        x = _read(node, leaves, outputs)
        if of_node is None:
            gradient, dx = network.backward(node[2], theta, x, delta)
        else:
            kind, units, *_ = node[2][0]
            gradient, dx, dstate = memory.backward(kind, theta, x.reshape(len(x), -1), units, of_node, delta)
            dstates.append(dstate)
        gradients.append(gradient)
        dx, first = dx.reshape(len(dx), -1), 0
        for is_leaf, index in node[1]:
            width = leaves[index][0].size if is_leaf else outputs[index].shape[1]
            if not is_leaf:
                deltas[index] += dx[:, first : first + width]
            first += width
    return np.concatenate(gradients[::-1]), dstates[::-1]


def jvp(nodes: Sequence[NodeTuple], parameters: Array, leaves: Sequence[Array], v: Array) -> Array:
    """d y / d parameters . v, ``[B, outputs]``."""
    split = _split(nodes, leaves, parameters)
    outputs, _ = _outputs(nodes, split, leaves)
    tangents: list[Array] = []
    for node, theta, change in zip(nodes, split, _split(nodes, leaves, v), strict=True):
        x = _read(node, leaves, outputs)
        dx = _read(node, [np.zeros_like(leaf) for leaf in leaves], tangents)
        is_image = x.ndim == 4  # of a leaf, which has no tangent
        tangents.append(network.jvp(node[2], theta, x, change, None if is_image else dx))
    return np.concatenate([dy for dy, node in zip(tangents, nodes, strict=True) if node[3]], axis=1)
