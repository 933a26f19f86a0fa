"""Feed-forward networks over one flat parameter vector.

A layer is a tuple (kind, outputs, kernel, stride, activation) like ``pgfast.nn.Layer``. Weights are
``[inputs, outputs]`` or ``[kernel, kernel, channels, filters]``, followed by the bias. Inputs of a convolutional
network are ``[B, channels, height, width]``; images between layers are ``[B, height, width, channels]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pgfast.reference import random

Array: TypeAlias = NDArray[np.float64]
LayerTuple: TypeAlias = tuple[str, int, int, int, str]


def patches(image: Array, kernel: int, stride: int) -> Array:
    """The window below each output position, ``[B, height', width', channels, kernel, kernel]``."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (kernel, kernel), axis=(1, 2))
    return windows[:, ::stride, ::stride]


def conv2d(image: Array, weight: Array, stride: int) -> Array:
    """y[h, w, f] = sum_ijc image[h stride + i, w stride + j, c] W[i, j, c, f], ``[B, height', width', filters]``."""
    return np.tensordot(patches(image, len(weight), stride), weight, axes=([4, 5, 3], [0, 1, 2]))


def _conv2d_weight_gradient(image: Array, delta: Array, kernel: int, stride: int) -> Array:
    """dW[i, j, c, f] = sum_hw image[h stride + i, w stride + j, c] delta[h, w, f], summed over the batch."""
    gradient = np.tensordot(patches(image, kernel, stride), delta, axes=([0, 1, 2], [0, 1, 2]))
    return gradient.transpose(1, 2, 0, 3)


def _conv2d_image_gradient(delta: Array, weight: Array, stride: int, image_shape: tuple[int, ...]) -> Array:
    """dimage[h stride + i, w stride + j, c] = sum_f delta[h, w, f] W[i, j, c, f], summed over (h, w, i, j)."""
    gradient = np.zeros(image_shape)
    height, width = delta.shape[1:3]
    for i, j in np.ndindex(weight.shape[:2]):
        rows = slice(i, i + stride * height, stride)
        columns = slice(j, j + stride * width, stride)
        gradient[:, rows, columns] += delta @ weight[i, j].T
    return gradient


def _activate(activation: str, linear: Array) -> Array:
    if activation == "tanh":
        return np.tanh(linear)
    return np.maximum(linear, 0.0) if activation == "relu" else linear


def _derivative(activation: str, linear: Array) -> Array:
    """tanh' = 1 - tanh^2, relu' = [linear > 0]."""
    if activation == "tanh":
        return 1.0 - np.tanh(linear) ** 2
    return (linear > 0.0).astype(np.float64) if activation == "relu" else np.ones_like(linear)


_EPSILON = 1e-5  # of layer normalization


def one_hot(codes: Array, choices: Sequence[int]) -> Array:
    """``[B, sum(choices)]``: 1 in the column choices[0] + ... + choices[k - 1] + codes[b, k] for every k."""
    first = np.cumsum([0, *choices[:-1]])
    rows = np.zeros((len(codes), sum(choices)))
    np.put_along_axis(rows, (codes.reshape(len(codes), -1) + first).astype(np.int64), 1.0, axis=1)
    return rows


def normalized(x: Array) -> tuple[Array, Array]:
    """(x - mean) / std of each row, and 1 / std, for layer normalization."""
    inverse_std = 1.0 / np.sqrt(x.var(axis=1, keepdims=True) + _EPSILON)
    return (x - x.mean(axis=1, keepdims=True)) * inverse_std, inverse_std


def _normalized_change(x: Array, change: Array) -> Array:
    """The derivative of :func:`normalized` along ``change``, which is symmetric in its two directions."""
    scaled, inverse_std = normalized(x)
    along = (scaled * change).mean(axis=1, keepdims=True)
    derivative: Array = (change - change.mean(axis=1, keepdims=True) - scaled * along) * inverse_std
    return derivative


class _Step(NamedTuple):
    """The forward pass of one layer: its parameters, its input, and its output before the activation."""

    layer: LayerTuple
    weight: Array
    bias: Array
    x: Array
    linear: Array


def _product(layer: LayerTuple, x: Array, weight: Array) -> Array:
    """The layer's map, linear in its weight: x W, the convolution, or the scaled normalized row."""
    kind, _, _, stride, _ = layer
    if kind == "layer_norm":
        scaled, _ = normalized(x)
        return scaled * weight
    return x @ weight if kind == "dense" else conv2d(x, weight, stride)


def _input_term(layer: LayerTuple, x: Array, dx: Array, weight: Array) -> Array:
    """The derivative of :func:`_product` along ``dx``."""
    return _normalized_change(x, dx) * weight if layer[0] == "layer_norm" else _product(layer, dx, weight)


def _run(layers: Sequence[LayerTuple], parameters: Array, x: Array) -> list[_Step]:
    """The forward pass; bytes are divided by 255."""
    y = x / 255.0 if x.dtype == np.uint8 else x
    if layers[0][0] == "conv2d":
        y = y.transpose(0, 2, 3, 1)
    steps = []
    for layer in layers:
        kind, outputs, kernel, _, activation = layer
        if kind != "conv2d":
            y = y.reshape(len(y), -1)
        shape: tuple[int, ...] = (kernel, kernel, y.shape[-1], outputs)
        if kind != "conv2d":
            shape = (y.shape[1], outputs) if kind == "dense" else (y.shape[1],)
        biases = shape[-1]
        weight, bias, parameters = np.split(parameters, [np.prod(shape), np.prod(shape) + biases])
        step = _Step(layer, weight.reshape(shape), bias, y, _product(layer, y, weight.reshape(shape)) + bias)
        steps.append(step)
        y = _activate(activation, step.linear)
    return steps


def forward(layers: Sequence[LayerTuple], parameters: Array, x: Array) -> Array:
    """Outputs ``[B, outputs]`` of inputs ``x`` ``[B, ...]``, float64 or uint8."""
    last = _run(layers, parameters, x)[-1]
    return _activate(last.layer[4], last.linear).reshape(len(x), -1)


def layer_gradients(
    layers: Sequence[LayerTuple], parameters: Array, x: Array, dy: Array
) -> tuple[list[tuple[_Step, Array]], Array]:
    """Each layer with the gradient before its activation, and dL/dx ``[B, ...]``: the chain rule from the last on."""
    found: list[tuple[_Step, Array]] = []
    delta = dy
    for step in reversed(_run(layers, parameters, x)):
        kind, _, _, stride, activation = step.layer
        delta = delta.reshape(step.linear.shape) * _derivative(activation, step.linear)
        found.insert(0, (step, delta))
        if kind == "dense":
            delta = delta @ step.weight.T
        elif kind == "layer_norm":
            delta = _normalized_change(step.x, delta * step.weight)
        else:
            delta = _conv2d_image_gradient(delta, step.weight, stride, step.x.shape)
    return found, delta


def backward(layers: Sequence[LayerTuple], parameters: Array, x: Array, dy: Array) -> tuple[Array, Array]:
    """(sum_b dy_b . d y_b / d parameters ``[P]``, dL/dx ``[B, ...]``)."""
    found, dx = layer_gradients(layers, parameters, x, dy)
    blocks: list[Array] = []
    for step, delta in found:
        kind, _, kernel, stride, _ = step.layer
        if kind == "dense":
            dweight = step.x.T @ delta
        elif kind == "layer_norm":
            dweight = (normalized(step.x)[0] * delta).sum(axis=0)
        else:
            dweight = _conv2d_weight_gradient(step.x, delta, kernel, stride)
        blocks += [dweight.ravel(), delta.sum(axis=tuple(range(delta.ndim - 1)))]
    return np.concatenate(blocks), dx


def vjp(layers: Sequence[LayerTuple], parameters: Array, x: Array, dy: Array) -> Array:
    """sum_b dy_b . d y_b / d parameters, ``[P]``."""
    return backward(layers, parameters, x, dy)[0]


def per_sample_vjp(layers: Sequence[LayerTuple], parameters: Array, x: Array, dy: Array) -> Array:
    """The terms of :func:`vjp`, ``[B, P]``."""
    return np.stack([vjp(layers, parameters, x[b : b + 1], dy[b : b + 1]) for b in range(len(x))])


def jvp(layers: Sequence[LayerTuple], parameters: Array, x: Array, v: Array, dx: Array | None = None) -> Array:
    """d y / d parameters . v + d y / d x . dx, ``[B, outputs]``: the product rule, layer by layer."""
    steps = _run(layers, parameters, x)
    dx = np.zeros_like(steps[0].x) if dx is None else dx
    for step in steps:
        dweight, dbias, v = np.split(v, [step.weight.size, step.weight.size + step.bias.size])
        dx = dx.reshape(step.x.shape)
        weight_term = _product(step.layer, step.x, dweight.reshape(step.weight.shape))
        dlinear = weight_term + _input_term(step.layer, step.x, dx, step.weight) + dbias
        dx = dlinear * _derivative(step.layer[4], step.linear)
    return dx.reshape(len(x), -1)


def orthogonal(rows: int, columns: int, gain: float, seed: int, layer: int) -> Array:
    """``gain`` times a ``[rows, columns]`` matrix with orthonormal columns, or rows if there are fewer rows.

    The matrix is the Q of a normal matrix, with each column multiplied by the sign of R's diagonal entry (Mezzadri,
    2007). The normal numbers fill the tall matrix column by column, in pairs: stream 1, environment ``layer``, steps 0,
    1, ...
    """
    tall, thin = max(rows, columns), min(rows, columns)
    pairs = [random.normal_pair(random.block_of(seed, 1, layer, step)) for step in range((tall * thin + 1) // 2)]
    normal = np.array(pairs).ravel()[: tall * thin].reshape(thin, tall).T
    q, r = np.linalg.qr(normal)
    q = gain * q * np.where(np.diag(r) < 0.0, -1.0, 1.0)
    return q if rows >= columns else q.T
