"""A damped symmetric system solved with SciPy's Cholesky factorization, as fast as SciPy can be.

Like pgfast, it factors one copy of the matrix and leaves the input intact. The matrix is symmetric, so the copy is
already in LAPACK's order and SciPy makes no other. SciPy's check for non-finite numbers is off.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

__all__ = ["scipy_natural_gradient"]

Array = NDArray[np.floating]


def scipy_natural_gradient(fisher: Array, gradient: Array, damping: float) -> Array:
    """Returns x with (F + damping I) x = g."""
    damped = fisher.copy()
    damped.reshape(-1)[:: len(damped) + 1] += damping
    factor = cho_factor(damped.T, lower=True, overwrite_a=True, check_finite=False)
    return np.asarray(cho_solve(factor, gradient, check_finite=False))
