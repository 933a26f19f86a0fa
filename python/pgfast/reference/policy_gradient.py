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

from pgfast.reference import categorical, diag_gaussian, graph
from pgfast.reference.family import Component, places

Array = NDArray[np.float64]


def gradient(
    nodes: Sequence[graph.NodeTuple],
    parameters: Array,
    leaves: Sequence[Array],
    components: Sequence[Component],
    actions: Sequence[NDArray[Any]],
    log_prob: Array,
    entropy: Array,
    values: Array | None,
    mask: categorical.Mask = None,
) -> Array:
    """g, from ``log_prob``, ``entropy`` and ``values`` ``[B]``; ``values`` is None without a value head.

    Log-probability and entropy are sums over the components, so each component gets the same ``log_prob`` and
    ``entropy``. The log_std that are parameters are the last block of g.
    """
    outputs = graph.forward(nodes, parameters, leaves)
    doutputs, log_std_blocks = np.zeros_like(outputs), []
    for (sizes, log_std), place, taken in zip(components, places(components), actions, strict=True):
        columns = outputs[:, place.outputs]
        if not isinstance(sizes, int):
            allowed = None if mask is None else mask[:, place.mask]
            doutputs[:, place.outputs] = categorical.gradient(columns, taken, log_prob, entropy, sizes, allowed)
            continue
        row_log_std = outputs[:, place.log_std] if log_std is None else log_std
        doutputs[:, place.outputs], dlog_std = diag_gaussian.gradient(columns, row_log_std, taken, log_prob, entropy)
        if log_std is None:
            doutputs[:, place.log_std] = dlog_std
        else:
            log_std_blocks.append(dlog_std)
    if values is not None:
        doutputs[:, -1] = values
    return np.concatenate([graph.vjp(nodes, parameters, leaves, doutputs), *log_std_blocks])
