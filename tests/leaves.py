"""Random observations of several leaves, for a network and for the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgfast.nn import Leaf
from pgfast.nn.spec import input_dtype
from pgfast.reference.network import one_hot


def draw_leaves(leaves: Sequence[Leaf], rows: int, dtype: Any) -> NDArray[Any]:
    """Returns inputs of a network of ``dtype``: bytes, codes, and normal numbers that float32 represents exactly."""
    rng = np.random.default_rng(rows)
    arrays: list[NDArray[Any]] = []
    for leaf in leaves:
        shape = (rows, *leaf.shape)
        if leaf.kind == "bytes":
            arrays.append(rng.integers(0, 256, shape, np.uint8))
        elif leaf.kind == "codes":
            arrays.append(np.stack([rng.integers(0, n, rows) for n in leaf.choices], axis=1).astype(dtype))
        else:
            arrays.append(rng.standard_normal(shape, np.float32).astype(dtype))
    if len(arrays) == 1:
        return arrays[0]
    x = np.zeros(rows, input_dtype(leaves, np.dtype(dtype)))
    for leaf, array in zip(leaves, arrays, strict=True):
        x[leaf.name] = array
    return x


def read_leaves(leaves: Sequence[Leaf], x: NDArray[Any]) -> list[NDArray[np.float64]]:
    """Returns the leaves as the reference takes them: bytes scaled, codes one-hot, channels first."""
    read = []
    for leaf in leaves:
        array = (x if len(leaves) == 1 else x[leaf.name]).astype(np.float64)
        if leaf.kind == "bytes":
            array = (array - leaf.low) / (leaf.high - leaf.low)
        elif leaf.kind == "codes":
            array = one_hot(array, leaf.choices)
        read.append(array.transpose(0, 3, 1, 2) if leaf.channels_last else array)
    return read
