"""Baselines: what they fit, and that their state is all there is to them."""

from __future__ import annotations

import numpy as np
import pytest

from pgfast import nn
from pgfast.baselines import Baseline, LinearBaseline, MLPBaseline, TimeBaseline, ZeroBaseline


def mlp_baseline(seed: int = 0) -> MLPBaseline:
    network = nn.mlp(3, 1, (32,), seed=seed)
    return MLPBaseline(network, learning_rate=1e-2, epochs=20, batch_size=50, seed=seed)


def some_batch(rng: np.random.Generator, rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((rows, 3), dtype=np.float32), rng.integers(0, 30, rows)


def test_zero_is_zero(rng: np.random.Generator) -> None:
    x, time = some_batch(rng)
    baseline = ZeroBaseline()
    baseline.fit(x, time, np.ones(400, np.float32))
    assert not baseline.values(x, time).any()
    assert baseline.values(x, time).dtype == np.float32


def test_time_gives_the_mean_return_of_each_time() -> None:
    x = np.zeros((5, 3), np.float32)
    baseline = TimeBaseline()
    assert baseline.values(x, np.arange(5)).tolist() == [0.0] * 5
    baseline.fit(x, np.array([0, 0, 1, 3, 3]), np.array([1.0, 2.0, 5.0, 4.0, 8.0], np.float32))
    assert baseline.values(x, np.array([0, 1, 2, 3, 4])).tolist() == [1.5, 5.0, 0.0, 6.0, 0.0]
    baseline.fit(x[:1], np.array([1]), np.array([7.0], np.float32))  # the last batch alone
    assert baseline.values(x[:3], np.array([0, 1, 3])).tolist() == [0.0, 7.0, 0.0]


def test_linear_finds_what_is_linear_in_its_features(rng: np.random.Generator) -> None:
    x, time = some_batch(rng)
    t = time / 100.0
    returns = (2.0 * x[:, 0] - x[:, 1] + 0.5 * x[:, 2] ** 2 + 3.0 * t - t**2 + 4.0).astype(np.float32)
    baseline = LinearBaseline(3)
    baseline.fit(x, time, returns)
    np.testing.assert_allclose(baseline.values(x, time), returns, atol=0.05)


def test_linear_is_ridge_regression(rng: np.random.Generator) -> None:
    x, time = some_batch(rng)
    returns = rng.standard_normal(400, dtype=np.float32)
    t = time[:, None] / 100.0
    features = np.concatenate([x, x**2, t, t**2, t**3, np.ones_like(t)], axis=1).astype(np.float64)
    weights = np.linalg.solve(features.T @ features / 400 + 1e-5 * np.eye(10), features.T @ returns / 400)
    baseline = LinearBaseline(3)
    baseline.fit(x, time, returns)
    np.testing.assert_allclose(baseline.values(x, time), features @ weights, rtol=1e-4, atol=1e-5)


def test_linear_takes_bytes_as_parts_of_255(rng: np.random.Generator) -> None:
    x = rng.integers(0, 256, (50, 2, 2), np.uint8)
    returns = (x.reshape(50, 4)[:, 0] / 255.0).astype(np.float32)
    baseline = LinearBaseline(4)
    baseline.fit(x, np.zeros(50, np.int64), returns)
    np.testing.assert_allclose(baseline.values(x, np.zeros(50, np.int64)), returns, atol=0.02)


def test_mlp_learns_a_curved_function(rng: np.random.Generator) -> None:
    x, time = some_batch(rng, 1000)
    returns = np.sin(2.0 * x[:, 0]) + x[:, 1] * x[:, 2]
    baseline = mlp_baseline()
    before = np.square(returns - baseline.values(x, time)).mean()
    for _ in range(5):
        baseline.fit(x, time, returns)
    assert np.square(returns - baseline.values(x, time)).mean() < 0.05 * before


def test_an_mlp_needs_one_output() -> None:
    with pytest.raises(ValueError, match="one output, got 2"):
        MLPBaseline(nn.mlp(3, 2), learning_rate=1e-3, epochs=1, batch_size=5, seed=0)


@pytest.mark.parametrize("make", [TimeBaseline, lambda: LinearBaseline(3), mlp_baseline])
def test_state_is_all_that_later_fits_depend_on(make, rng: np.random.Generator) -> None:
    x, time = some_batch(rng)
    returns = rng.standard_normal(400, dtype=np.float32)
    first: Baseline = make()
    first.fit(x, time, returns)
    second: Baseline = make()
    second.load_state({name: array.copy() for name, array in first.state().items()})
    arrays, scalars = first.training_state()
    second.load_training_state(arrays, scalars)
    for _ in range(2):
        np.testing.assert_array_equal(first.values(x, time), second.values(x, time))
        first.fit(x, time, returns)
        second.fit(x, time, returns)
    for baseline in (make(), second):
        with pytest.raises(ValueError, match="got"):
            baseline.load_state({name: array.astype(np.float16)[:-1] for name, array in first.state().items()})


@pytest.mark.parametrize("make", [lambda: LinearBaseline(3), mlp_baseline])
def test_threads_change_no_bit(make, rng: np.random.Generator, num_threads) -> None:
    x, time = some_batch(rng, 3000)
    returns = rng.standard_normal(3000, dtype=np.float32)
    results = []
    for threads in (1, 2, 3):
        num_threads(threads)
        baseline = make()
        baseline.fit(x, time, returns)
        results.append(baseline.values(x, time))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
