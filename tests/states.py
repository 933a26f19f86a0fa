"""Comparison of flattened states, such as those of ``pgfast.state.flatten`` and of checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np

FlatState = tuple[dict[str, np.ndarray], dict[str, Any]]  # arrays by path, and the other values


def assert_equal_states(found: FlatState, expected: FlatState, message: str = "") -> None:
    """Asserts that both hold the same arrays, bit for bit, and the same values."""
    assert found[1] == expected[1], message
    assert found[0].keys() == expected[0].keys(), message
    for path, array in expected[0].items():
        np.testing.assert_array_equal(found[0][path], array, err_msg=f"{path} {message}", strict=True)
