"""Products with the Fisher information of a policy, J' M J v averaged over rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pgfast.reference import categorical, network

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
    layers: Sequence[network.LayerTuple],
    parameters: Array,
    x: Array,
    sizes: tuple[int, ...] | int,
    log_std: Array | None,
    v: Array,
    damping: float,
    mask: categorical.Mask = None,
) -> Array:
    """F v = (1/B) sum_b J_b' M_b J_b v + damping v, ``[P]``.

    ``sizes`` and ``log_std`` are those of :func:`pgfast.reference.policy_gradient.gradient`; v ends with the block of
    log_std.
    """
    outputs = network.forward(layers, parameters, x)
    tangents = network.jvp(layers, parameters, x, v[: len(parameters)])
    dy, log_std_block = np.zeros_like(tangents), np.zeros(0)
    if not isinstance(sizes, int):
        columns = slice(sum(sizes))
        dy[:, columns] = categorical_block(outputs[:, columns], sizes, tangents[:, columns], mask)
    else:
        mean, std = slice(sizes), slice(sizes, 2 * sizes)
        if log_std is None:
            dy[:, mean], dy[:, std] = gaussian_block(outputs[:, std], tangents[:, mean], tangents[:, std])
        else:
            dy[:, mean], log_std_block = gaussian_block(log_std, tangents[:, mean], v[len(parameters) :])
    return np.concatenate([network.vjp(layers, parameters, x, dy / len(x)), log_std_block]) + damping * v
