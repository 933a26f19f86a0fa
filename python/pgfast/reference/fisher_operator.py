"""Products with the Fisher information of a policy, J' M J v averaged over rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pgfast.reference import categorical, network

__all__ = ["categorical_block", "categorical_product", "gaussian_block", "gaussian_product"]

Array = NDArray[np.float64]


def categorical_block(logits: Array, sizes: Sequence[int], tangents: Array) -> Array:
    """M t = p (t - <p, t>) for each group of columns, p = softmax of its logits, ``[B, sum(sizes)]``."""
    products = []
    for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
        p = categorical.probabilities(logits[:, start : start + size])
        t = tangents[:, start : start + size]
        products.append(p * (t - np.sum(p * t, axis=1, keepdims=True)))
    return np.concatenate(products, axis=1)


def gaussian_block(log_std: Array, dmean: Array, dlog_std: Array) -> tuple[Array, Array]:
    """M t = (t_mean / sigma^2, 2 t_log_std), both of the tangents' shapes; log_std ``[A]`` or ``[B, A]``."""
    return dmean / np.exp(2.0 * log_std), 2.0 * dlog_std


def categorical_product(
    layers: Sequence[network.LayerTuple], parameters: Array, x: Array, sizes: Sequence[int], v: Array, damping: float
) -> Array:
    """F v = (1/B) sum_b J_b' M_b J_b v + damping v, ``[P]``; columns beyond sum(sizes) are not the policy's."""
    columns = sum(sizes)
    logits = network.forward(layers, parameters, x)
    tangents = network.jvp(layers, parameters, x, v)
    dy = np.zeros_like(tangents)
    dy[:, :columns] = categorical_block(logits[:, :columns], sizes, tangents[:, :columns]) / len(x)
    return network.vjp(layers, parameters, x, dy) + damping * v


def gaussian_product(
    layers: Sequence[network.LayerTuple],
    parameters: Array,
    x: Array,
    components: int,
    log_std: Array | None,
    v: Array,
    damping: float,
) -> Array:
    """The same for means in the first columns; log_std ``[A]`` is v's last block, or, if None, columns A to 2 A."""
    outputs = network.forward(layers, parameters, x)
    tangents = network.jvp(layers, parameters, x, v[: len(parameters)])
    dy = np.zeros_like(tangents)
    mean, std = slice(components), slice(components, 2 * components)
    if log_std is None:
        dy[:, mean], dy[:, std] = gaussian_block(outputs[:, std], tangents[:, mean], tangents[:, std])
        return network.vjp(layers, parameters, x, dy / len(x)) + damping * v
    dy[:, mean], own = gaussian_block(log_std, tangents[:, mean], v[len(parameters) :])
    return np.concatenate([network.vjp(layers, parameters, x, dy / len(x)), own]) + damping * v
