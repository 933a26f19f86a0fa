"""The gradient of a loss in a policy's parameters, from that in each row's log-probability, entropy and value.

g = sum_b log_prob_b grad log pi(a_b | s_b) + entropy_b grad H_b + values_b grad V(s_b), ``[P]``: the distribution's
gradient in the first columns of the outputs, the value's in the last, and the chain rule through the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgfast.reference import categorical, diag_gaussian, network

Array = NDArray[np.float64]


def gradient(
    layers: Sequence[network.LayerTuple],
    parameters: Array,
    x: Array,
    sizes: tuple[int, ...] | int,
    log_std: Array | None,
    actions: NDArray[Any],
    log_prob: Array,
    entropy: Array,
    values: Array | None,
) -> Array:
    """Rows are ``[B]``, ``values`` None without a value.

    The first columns of the outputs are the logits of each group of ``sizes``; or, of an int ``sizes`` = A, the means
    of a Gaussian, whose log_std ``[A]`` is g's last block, or, if None, columns A to 2 A.
    """
    outputs = network.forward(layers, parameters, x)
    doutputs, own = np.zeros_like(outputs), np.zeros(0)
    if isinstance(sizes, int):
        mean, std = slice(sizes), slice(sizes, 2 * sizes)
        given = outputs[:, std] if log_std is None else log_std
        doutputs[:, mean], dlog_std = diag_gaussian.gradient(outputs[:, mean], given, actions, log_prob, entropy)
        if log_std is None:
            doutputs[:, std] = dlog_std
        else:
            own = dlog_std
    else:
        logits = outputs[:, : sum(sizes)]
        doutputs[:, : sum(sizes)] = categorical.gradient(logits, actions, log_prob, entropy, sizes)
    if values is not None:
        doutputs[:, -1] = values
    return np.concatenate([network.vjp(layers, parameters, x, doutputs), own])
