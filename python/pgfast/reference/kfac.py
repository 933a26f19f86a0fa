"""Kronecker factors of feed-forward networks, and the natural gradient that they give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from pgfast.reference.network import Array, LayerTuple, layer_gradients, normalized, patches

Factors: TypeAlias = tuple[Array, Array | None]


def factors(
    layers: Sequence[LayerTuple],
    parameters: Array,
    x: Array,
    dy: Array,
    valid: Array | None = None,
    position_stride: int = 1,
) -> list[Factors]:
    """(A, S) of each layer: means over the valid rows.

    A = E[sum_t a_t a_t'] of the inputs a_t at position t, with a 1, and S = E[mean_t d_t d_t'] of the gradients; both
    by every ``position_stride``-th position, and A scaled to all. Of a layer normalization: (the mean of the squared
    gradients of weight and bias, None).
    """
    used = np.ones(len(x), np.bool_) if valid is None else valid
    found: list[Factors] = []
    for step, delta in layer_gradients(layers, parameters, x, dy)[0]:
        kind, _, kernel, stride, _ = step.layer
        if kind == "layer_norm":
            weight = normalized(step.x)[0] * delta
            found.append((np.square(np.stack([weight, delta]))[:, used].mean(axis=1), None))
            continue
        inputs, gradients = step.x[used, None], delta[used, None]
        if kind == "conv2d":
            windows = patches(step.x, kernel, stride).transpose(0, 1, 2, 4, 5, 3)
            inputs = windows.reshape(len(x), -1, step.weight[..., 0].size)[used]
            gradients = delta.reshape(len(x), -1, delta.shape[-1])[used]
        positions = inputs.shape[1]
        inputs, gradients = inputs[:, ::position_stride], gradients[:, ::position_stride]
        inputs = np.concatenate([inputs, np.ones((*inputs.shape[:2], 1))], axis=2)
        share = inputs.shape[1] / positions
        a = np.einsum("bti,btj->ij", inputs, inputs) / (used.sum() * share)
        s = np.einsum("bti,btj->ij", gradients, gradients) / (used.sum() * inputs.shape[1])
        found.append((a, s))
    return found


def natural_gradient(found: Sequence[Factors], gradient: Array, damping: float) -> Array:
    """(A + pi sqrt(damping) I)^-1 G (S + sqrt(damping) / pi I)^-1 of each layer's gradient G; ``[P]``."""
    parts: list[Array] = []
    for a, s in found:
        if s is None:
            part, gradient = np.split(gradient, [a.size])
            parts.append(part / (a.ravel() + damping))
            continue
        part, gradient = np.split(gradient, [len(a) * len(s)])
        pi = np.sqrt((np.trace(a) / len(a)) / (np.trace(s) / len(s)))
        left = a + pi * np.sqrt(damping) * np.eye(len(a))
        right = s + np.sqrt(damping) / pi * np.eye(len(s))
        parts.append((np.linalg.inv(left) @ part.reshape(len(a), len(s)) @ np.linalg.inv(right)).ravel())
    return np.concatenate(parts)


def curvature(found: Sequence[Factors], x: Array) -> float:
    """x'Fx, where F is the block-diagonal matrix of the Kronecker products."""
    total = 0.0
    for a, s in found:
        part, x = np.split(x, [a.size if s is None else len(a) * len(s)])
        block = np.diag(a.ravel()) if s is None else np.kron(a, s)
        total += float(part @ block @ part)
    return total
