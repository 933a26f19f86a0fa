"""A public function with valid arguments, and what the lists of such calls share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

T, N, B, A = 4, 3, 5, 3
SIZES = (2, 3)
CLEAN = (TypeError, ValueError, FloatingPointError)


class Call(NamedTuple):
    """A public function and valid arguments for it; ``written`` names the arguments that it may modify.

    ``native`` is the name of the compiled function: pybind11's message starts with it if an argument cannot be
    converted at all. ``inner`` names the functions called inside that check arguments and report errors themselves.
    """

    function: Callable[..., Any]
    valid: Callable[[Any], dict[str, Any]]
    native: str
    written: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()


def rows(dtype: Any, *shape: int) -> NDArray[Any]:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def flags(*shape: int) -> NDArray[np.bool_]:
    return np.random.default_rng(1).random(shape) < 0.5


def dtype_for(x: Any) -> Any:
    """Returns float64 if ``x`` is a float64 array, else float32."""
    return np.float64 if getattr(x, "dtype", None) == np.float64 else np.float32
