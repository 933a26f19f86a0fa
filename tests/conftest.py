"""Shared fixtures: seeded random numbers, both float dtypes with their tolerances, and fresh Python processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

import pgfast

settings.register_profile("pgfast", derandomize=True, deadline=None, database=None)
settings.load_profile("pgfast")
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored, which the trainings that tests start would inherit


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20160616)


@pytest.fixture
def draw(rng: np.random.Generator) -> Callable[..., NDArray[np.float64]]:
    """draw(*shape) returns standard normal float64 numbers that float32 represents exactly."""

    def normal(*shape: int) -> NDArray[np.float64]:
        return rng.standard_normal(shape, dtype=np.float32).astype(np.float64)

    return normal


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def assert_close(dtype: Any) -> Callable[[NDArray[Any], NDArray[np.float64]], None]:
    """assert_close(native, reference) checks dtype, shape, and equality within the tolerance of the test's dtype."""
    tolerance = 2e-5 if dtype == np.float32 else 1e-11

    def check(native: NDArray[Any], reference: NDArray[np.float64]) -> None:
        assert native.dtype == dtype
        scale = max(1.0, float(np.abs(reference).max()))
        np.testing.assert_allclose(native, reference, rtol=tolerance, atol=tolerance * scale, strict=False)
        assert native.shape == reference.shape

    return check


@pytest.fixture
def num_threads() -> Iterator[Callable[[int], None]]:
    """num_threads(n) sets the size of the pool until the test ends."""
    before = pgfast.native_info()["num_threads"]
    yield pgfast.set_num_threads
    pgfast.set_num_threads(before)


@pytest.fixture
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """run_python(code, NAME=value, ...) runs a fresh interpreter with these environment variables; None unsets one."""

    def run(code: str, **variables: str | None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **{name: value for name, value in variables.items() if value is not None}}
        for name in (name for name, value in variables.items() if value is None):
            environment.pop(name, None)
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    return run
