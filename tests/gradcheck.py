"""Finite-difference checks of gradients, shared by all tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEP = 1e-5
TOLERANCE = 1e-7  # of the largest entry: truncation is about STEP^2, rounding about 1e-16 / STEP


def directional_derivative(
    function: Callable[[NDArray[np.float64]], Any], point: NDArray[np.float64], direction: NDArray[np.float64]
) -> Any:
    """(f(x + h d) - f(x - h d)) / 2h, in float64."""
    assert point.dtype == np.float64
    forward = np.asarray(function(point + STEP * direction), np.float64)
    backward = np.asarray(function(point - STEP * direction), np.float64)
    return (forward - backward) / (2.0 * STEP)


def check_gradient(
    function: Callable[[NDArray[np.float64]], float], point: NDArray[np.float64], gradient: NDArray[np.float64]
) -> None:
    """Asserts that ``gradient`` is the gradient of the scalar ``function`` at ``point``, entry by entry."""
    assert gradient.dtype == np.float64
    assert gradient.shape == point.shape
    numerical = np.empty_like(point)
    for index in np.ndindex(point.shape):
        direction = np.zeros_like(point)
        direction[index] = 1.0
        numerical[index] = directional_derivative(function, point, direction)
    scale = max(1.0, float(np.abs(numerical).max()))
    np.testing.assert_allclose(gradient, numerical, rtol=0.0, atol=TOLERANCE * scale)
