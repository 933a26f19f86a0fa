"""Products with the Fisher information of a policy, J' M J v averaged over rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pgfast.reference import categorical, graph
from pgfast.reference.family import Component, places

Array = NDArray[np.float64]


def categorical_block(logits: Array, sizes: tuple[int, ...], tangents: Array, mask: categorical.Mask = None) -> Array:
    """M t = p (t - <p, t>) for each group of columns, p = softmax of its logits, ``[B, sum(sizes)]``."""
    p = categorical.probabilities(logits, sizes, mask)
    sums = [np.sum(group, axis=1, keepdims=True) for group in categorical.groups(p * tangents, sizes)]
    means: Array = np.repeat(np.concatenate(sums, axis=1), sizes, axis=1)
    return p * (tangents - means)


def gaussian_block(log_std: Array, dmean: Array, dlog_std: Array) -> tuple[Array, Array]:
    """M t = (t_mean / std^2, 2 t_log_std), in the shapes of the tangents; log_std ``[A]`` or ``[B, A]``."""
    return dmean / np.exp(2.0 * log_std), 2.0 * dlog_std


def product(
    nodes: Sequence[graph.NodeTuple],
    parameters: Array,
    leaves: Sequence[Array],
    components: Sequence[Component],
    v: Array,
    damping: float,
    mask: categorical.Mask = None,
) -> Array:
    """F v = (1/B) sum_b J_b' M_b J_b v + damping v, ``[P]``, with a block of M for each component.

    The log_std that are parameters are the last block of v.
    """
    outputs = graph.forward(nodes, parameters, leaves)
    tangents = graph.jvp(nodes, parameters, leaves, v[: len(parameters)])
    dy, log_std_blocks = np.zeros_like(tangents), []
    for (sizes, log_std), place in zip(components, places(components), strict=True):
        columns, t = outputs[:, place.outputs], tangents[:, place.outputs]
        if not isinstance(sizes, int):
            dy[:, place.outputs] = categorical_block(columns, sizes, t, None if mask is None else mask[:, place.mask])
        elif log_std is None:
            row_log_std, t_log_std = outputs[:, place.log_std], tangents[:, place.log_std]
            dy[:, place.outputs], dy[:, place.log_std] = gaussian_block(row_log_std, t, t_log_std)
        else:
            dy[:, place.outputs], block = gaussian_block(log_std, t, v[len(parameters) :][place.parameters])
            log_std_blocks.append(block)
    return np.concatenate([graph.vjp(nodes, parameters, leaves, dy / len(dy)), *log_std_blocks]) + damping * v
