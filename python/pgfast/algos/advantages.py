"""Advantages as the policy losses take them."""

from __future__ import annotations

import numpy as np

from pgfast._typing import BoolArray, FloatArray

__all__ = ["normalize"]


def normalize(advantages: FloatArray, valid: BoolArray) -> FloatArray:
    """(A - mean) / std over the valid rows, ddof 0; a constant batch becomes zero.

    Raises ``FloatingPointError`` unless they are finite.
    """
    used = advantages[valid]
    if not np.isfinite((used.min(), used.max())).all():
        raise FloatingPointError("the advantages are not finite: rewards or values are too large for float32")
    if used.min() == used.max():  # of which rounding would leave a mean slightly off, and a tiny std
        return np.zeros_like(advantages)
    mean, std = used.mean(dtype=np.float64), used.std(dtype=np.float64)
    normalized: FloatArray = ((advantages - mean) / std).astype(advantages.dtype)
    return normalized
