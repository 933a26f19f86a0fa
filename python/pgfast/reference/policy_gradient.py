"""The gradient of a loss in a policy's parameters, from its gradients in the rows.

g = sum_b log_prob_b grad log pi(a_b | s_b) + entropy_b grad H_b + values_b grad V(s_b), ``[P]``. The first columns of
the outputs get the gradient of the distribution, the last column that of the value; the chain rule through the network
does the rest.
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
    mask: categorical.Mask = None,
) -> Array:
    """g, from ``log_prob``, ``entropy`` and ``values`` ``[B]``; ``values`` is None without a value head.

    With a tuple ``sizes``, the first columns of the outputs are the logits of each group. With an int ``sizes`` = A,
    they are the means of a Gaussian; log_std ``[A]`` is then the last block of the parameters, or, if ``log_std`` is
    None, columns A to 2 A of the outputs.
    """
    outputs = network.forward(layers, parameters, x)
    doutputs, log_std_block = np.zeros_like(outputs), np.zeros(0)
    if isinstance(sizes, int):
        mean, std = slice(sizes), slice(sizes, 2 * sizes)
        row_log_std = outputs[:, std] if log_std is None else log_std
        doutputs[:, mean], dlog_std = diag_gaussian.gradient(outputs[:, mean], row_log_std, actions, log_prob, entropy)
        if log_std is None:
            doutputs[:, std] = dlog_std
        else:
            log_std_block = dlog_std
    else:
        logits = outputs[:, : sum(sizes)]
        doutputs[:, : sum(sizes)] = categorical.gradient(logits, actions, log_prob, entropy, sizes, mask)
    if values is not None:
        doutputs[:, -1] = values
    return np.concatenate([network.vjp(layers, parameters, x, doutputs), log_std_block])
