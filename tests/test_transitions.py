"""The inputs and results of an environment step, in the native module, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pgfast
from pgfast._native import core

DTYPES = [np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (2500, 5), (3, 20_000)])
def test_standardize(dtype: Any, shape: tuple[int, int], rng: np.random.Generator) -> None:
    x = (5.0 * rng.standard_normal(shape)).astype(dtype)
    mean, variance = rng.standard_normal(shape[1]), rng.random(shape[1])
    variance[0] = 0.0
    expected = np.clip((x - mean) / np.sqrt(variance + 1e-8), -10.0, 10.0).astype(dtype)
    np.testing.assert_array_equal(core.standardize(x, mean, variance, 1e-8, 10.0), expected, strict=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 9, 5000])
def test_column_sums(dtype: Any, rows: int, rng: np.random.Generator) -> None:
    x, mean, valid = (
        (3.0 + rng.standard_normal((rows, 4))).astype(dtype),
        rng.standard_normal(4),
        rng.random(rows) < 0.7,
    )
    for used in (None, valid, np.zeros(rows, np.bool_)):
        chosen = x[slice(None) if used is None else used].astype(np.float64)
        np.testing.assert_allclose(core.column_sums(x, used), chosen.sum(axis=0), rtol=1e-12)
        squares = np.square(chosen - mean).sum(axis=0)
        np.testing.assert_allclose(core.column_sums(x, used, mean), squares, rtol=1e-12)


def test_column_sums_do_not_depend_on_the_threads(rng: np.random.Generator) -> None:
    x, found = rng.standard_normal((20_000, 3)), []
    threads = pgfast.native_info()["num_threads"]
    try:
        for number in (1, 2, 3, 8):
            pgfast.set_num_threads(number)
            found.append(core.column_sums(x, None).tobytes())
    finally:
        pgfast.set_num_threads(threads)
    assert len(set(found)) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("out_dtype", DTYPES)
def test_to_bounds(dtype: Any, out_dtype: Any, rng: np.random.Generator) -> None:
    actions = (3.0 * rng.standard_normal((50, 3))).astype(dtype)
    low, high, scaled = np.array([-2.0, 0.0, -1.0]), np.array([2.0, 10.0, 1.0]), np.array([True, False, False])
    out = np.empty((50, 3), out_dtype)
    assert core.to_bounds(actions, low, high, None, out) == -1
    np.testing.assert_allclose(out, np.clip(actions, low, high), rtol=1e-6)
    assert core.to_bounds(actions, low, high, scaled, out) == -1
    expected = np.clip(actions, low, high)
    expected[:, 0] = 2.0 * np.clip(actions[:, 0], -1.0, 1.0)
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)
    actions[7, 1], actions[30, 0] = np.nan, np.inf
    assert core.to_bounds(actions, low, high, scaled, out) == 7


def test_bounds_are_met_exactly_and_without_an_overflow() -> None:
    largest = float(np.finfo(np.float64).max)
    low, high = np.array([-largest, -0.3]), np.array([largest, 0.7])
    actions, out = np.array([[-1.0, -1.0], [1.0, 1.0], [0.0, 5.0]]), np.empty((3, 2))
    assert core.to_bounds(actions, low, high, np.ones(2, np.bool_), out) == -1
    np.testing.assert_array_equal(out, [low, high, [0.0, 0.7]])


def test_are_choices() -> None:
    sizes = np.array([2, 5])
    assert core.are_choices(np.array([[0, 0], [1, 4]]), sizes)
    for wrong in ([[0, 0], [2, 0]], [[0, 5]], [[-1, 0]], [[0, -(2**62)]]):
        assert not core.are_choices(np.array(wrong), sizes)


def test_read_step(rng: np.random.Generator) -> None:
    flags = np.array([[bool(number >> bit & 1) for number in range(16)] for bit in range(4)])
    terminated, truncated, reset, restarted = flags
    rewards = rng.standard_normal(16)
    read = core.read_step(16, rewards, terminated, truncated, reset, restarted)
    assert not any(np.shares_memory(array, given) for array in read for given in (rewards, flags))
    copied, stepped, ends, cuts, ended = read
    np.testing.assert_array_equal(copied, rewards, strict=True)
    np.testing.assert_array_equal(stepped, ~(reset | restarted))
    np.testing.assert_array_equal(ends, terminated & stepped)
    np.testing.assert_array_equal(cuts, truncated & stepped | restarted)
    np.testing.assert_array_equal(ended, (terminated | truncated) & stepped)
    converted = core.read_step(16, list(rewards), terminated.astype(np.int8), list(truncated), reset, restarted)
    for found, expected in zip(converted, read, strict=True):
        np.testing.assert_array_equal(found, expected, strict=True)
    for rows in (rewards[:5], rewards[:, np.newaxis], rewards[0]):
        assert core.read_step(16, rows, terminated, truncated, reset, restarted) is None
    assert core.read_step(16, rewards, terminated, truncated[1:], reset, restarted) is None
    with pytest.raises(ValueError, match="could not convert string to float"):
        core.read_step(16, ["much"] * 16, terminated, truncated, reset, restarted)


def test_add_step(rng: np.random.Generator) -> None:
    returns, lengths, rewards = rng.standard_normal(4), np.array([3, 0, 7, 1]), rng.standard_normal(4)
    stepped, over = np.array([True, False, True, True]), np.array([False, True, True, False])
    expected = returns + rewards
    assert core.add_step(returns, lengths, rewards, stepped, over) == [(1, expected[1], 0), (2, expected[2], 8)]
    np.testing.assert_array_equal(returns, np.where(over, 0.0, expected))
    np.testing.assert_array_equal(lengths, [4, 0, 0, 2])


@pytest.mark.parametrize("dtype", DTYPES)
def test_store_row(dtype: Any, rng: np.random.Generator) -> None:
    rewards = rng.standard_normal(3)
    terminated, truncated, valid, stepped = rng.random((4, 3)) < 0.5
    arrays = [np.zeros((5, 3), dtype), *(np.zeros((5, 3), np.bool_) for _ in range(3))]
    time = np.full((6, 3), 9)
    core.store_row(4, rewards, terminated, truncated, valid, stepped, *arrays, time)
    for array, row in zip(arrays, (rewards.astype(dtype), terminated, truncated, valid), strict=True):
        np.testing.assert_array_equal(array[4], row)
        assert not array[:4].any()
    np.testing.assert_array_equal(time[5], np.where(stepped, 10, 0))
    assert (time[:5] == 9).all()
    for t in (-1, 5):
        with pytest.raises(ValueError, match=r"^store_row: t must be in \[0, 5\), got "):
            core.store_row(t, rewards, terminated, truncated, valid, stepped, *arrays, time)
    with pytest.raises(ValueError, match=r"^store_row: time_to must have shape \(T \+ 1, N\) = \(6, 3\), got \(5, 3\)"):
        core.store_row(0, rewards, terminated, truncated, valid, stepped, *arrays, time[:5])
