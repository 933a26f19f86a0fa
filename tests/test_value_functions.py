"""Value functions: what they fit, and that their state is complete."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pgfast import nn, optim
from pgfast._streams import BASELINE_BATCHES
from pgfast.random import Rng
from pgfast.reduce import ALONE
from pgfast.sampling.batch import Batch
from pgfast.state import flatten
from pgfast.value_functions import LinearValues, MLPValues, SharedValues, TimeValues, ValueFunction, ZeroValues
from two_workers import run_workers


def mlp_values(seed: int = 0, dtype: Any = np.float32, batch_size: int = 50) -> MLPValues:
    network = nn.mlp(3, 1, (32,), seed=seed, dtype=dtype)
    return MLPValues(network, learning_rate=1e-2, epochs=20, batch_size=batch_size, seed=seed)


def some_rows(rng: np.random.Generator, rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((rows, 3), dtype=np.float32), rng.integers(0, 30, rows)


def batch(
    x: np.ndarray, time: np.ndarray, returns: np.ndarray, valid: np.ndarray | None = None, *, first: int = 0
) -> Batch:
    """Returns a batch with one row per step, starting at step ``first``."""
    none = np.zeros(len(x), np.float32)
    return Batch(x, first + np.arange(len(x)), time, none, none, none, returns, none, valid)


def test_zero_values_are_zero(rng: np.random.Generator) -> None:
    x, time = some_rows(rng)
    zero = ZeroValues()
    zero.fit(batch(x, time, np.ones(400, np.float32)), ALONE)
    assert not zero.values(x, time).any()
    assert zero.values(x, time).dtype == np.float32


def test_time_values_are_the_mean_returns_of_the_last_batch() -> None:
    x = np.zeros((5, 3), np.float32)
    by_time = TimeValues()
    assert by_time.values(x, np.arange(5)).tolist() == [0.0] * 5
    by_time.fit(batch(x, np.array([0, 0, 1, 3, 3]), np.array([1.0, 2.0, 5.0, 4.0, 8.0], np.float32)), ALONE)
    assert by_time.values(x, np.array([0, 1, 2, 3, 4])).tolist() == [1.5, 5.0, 0.0, 6.0, 0.0]
    by_time.fit(batch(x[:1], np.array([1]), np.array([7.0], np.float32)), ALONE)  # only the last batch counts
    assert by_time.values(x[:3], np.array([0, 1, 3])).tolist() == [0.0, 7.0, 0.0]


def test_linear_values_fit_returns_linear_in_their_features(rng: np.random.Generator) -> None:
    x, time = some_rows(rng)
    t = time / 100.0
    returns = (2.0 * x[:, 0] - x[:, 1] + 0.5 * x[:, 2] ** 2 + 3.0 * t - t**2 + 4.0).astype(np.float32)
    linear = LinearValues(3)
    linear.fit(batch(x, time, returns), ALONE)
    np.testing.assert_allclose(linear.values(x, time), returns, atol=0.05)


def test_linear_values_are_ridge_regression(rng: np.random.Generator) -> None:
    x, time = some_rows(rng)
    returns = rng.standard_normal(400, dtype=np.float32)
    t = time[:, None] / 100.0
    features = np.concatenate([x, x**2, t, t**2, t**3, np.ones_like(t)], axis=1).astype(np.float64)
    weights = np.linalg.solve(features.T @ features / 400 + 1e-5 * np.eye(10), features.T @ returns / 400)
    linear = LinearValues(3)
    linear.fit(batch(x, time, returns), ALONE)
    np.testing.assert_allclose(linear.values(x, time), features @ weights, rtol=1e-4, atol=1e-5)


def test_linear_values_read_bytes_as_fractions_of_255(rng: np.random.Generator) -> None:
    x = rng.integers(0, 256, (50, 2, 2), np.uint8)
    returns = (x.reshape(50, 4)[:, 0] / 255.0).astype(np.float32)
    linear = LinearValues(4)
    linear.fit(batch(x, np.zeros(50, np.int64), returns), ALONE)
    np.testing.assert_allclose(linear.values(x, np.zeros(50, np.int64)), returns, atol=0.02)


def test_linear_values_refuse_large_observations() -> None:
    with pytest.raises(ValueError, match="LinearValues: observations must have at most 2000 numbers, got 2001"):
        LinearValues(2001)


def test_mlp_values_learn_a_nonlinear_function(rng: np.random.Generator) -> None:
    x, time = some_rows(rng, 1000)
    returns = np.sin(2.0 * x[:, 0]) + x[:, 1] * x[:, 2]
    mlp = mlp_values()
    before = np.square(returns - mlp.values(x, time)).mean()
    for _ in range(5):
        mlp.fit(batch(x, time, returns), ALONE)
    assert np.square(returns - mlp.values(x, time)).mean() < 0.05 * before


@pytest.mark.parametrize("rows", [1, 49, 50, 51, 400])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_native_pass_takes_the_steps_of_this_loop(dtype: Any, rows: int, rng: np.random.Generator) -> None:
    x, time = some_rows(rng, rows)
    x, returns = x.astype(dtype), rng.standard_normal(rows).astype(dtype)
    valid = rng.random(rows) < 0.8
    valid[0] = True
    found, expected = mlp_values(dtype=dtype), mlp_values(dtype=dtype)
    found.fit(batch(x, time, returns, valid), ALONE)

    network, adam, draws = expected.network, optim.Adam(1e-2), Rng.internal(0, BASELINE_BATCHES)
    x, returns = x[valid], returns[valid]
    for _ in range(20):
        order = np.argsort(draws.uniform(len(x)), kind="stable")
        for minibatch in np.split(order, range(50, len(x), 50)):
            errors = network.forward(x[minibatch]) - returns[minibatch, np.newaxis]
            adam.step(network.parameters, network.vjp(x[minibatch], errors * dtype(2.0 / len(minibatch))))
    np.testing.assert_equal(found.state()["optimizer"], adam.state())
    np.testing.assert_array_equal(found.network.parameters, network.parameters)


def test_mlp_values_need_one_output() -> None:
    with pytest.raises(ValueError, match="one output, got 2"):
        MLPValues(nn.mlp(3, 2), learning_rate=1e-3, epochs=1, batch_size=5, seed=0)


def test_shared_values_are_the_values_of_the_policy(rng: np.random.Generator) -> None:
    policy: Any = SimpleNamespace(values=lambda observations: observations[:, 0])
    shared, (x, time) = SharedValues(policy), some_rows(rng)
    np.testing.assert_array_equal(shared.values(x, time), x[:, 0])
    rollout: Any = SimpleNamespace(values=np.ones((3, 2), np.float32))
    assert shared.of_rollout(rollout) is rollout.values
    shared.fit(batch(x, time, x[:, 1]), ALONE)
    assert shared.state() == {}


KINDS = [TimeValues, lambda: LinearValues(3), mlp_values]


@pytest.mark.parametrize("make", KINDS)
def test_the_values_of_a_rollout_are_the_values_of_its_rows(
    make: Callable[[], ValueFunction], rng: np.random.Generator
) -> None:
    x, time = some_rows(rng)
    function = make()
    function.fit(batch(x, time, x[:, 0].copy()), ALONE)
    rollout: Any = SimpleNamespace(observations=x.reshape(100, 4, 3), time=time.reshape(100, 4), values=None)
    np.testing.assert_array_equal(function.of_rollout(rollout), function.values(x, time).reshape(100, 4))


@pytest.mark.parametrize("make", KINDS)
def test_later_fits_depend_only_on_the_state(make: Callable[[], ValueFunction], rng: np.random.Generator) -> None:
    x, time = some_rows(rng)
    some = batch(x, time, rng.standard_normal(400, dtype=np.float32))
    first, second = make(), make()
    first.fit(some, ALONE)
    second.load_state(deepcopy(dict(first.state())))
    for _ in range(2):
        np.testing.assert_array_equal(first.values(x, time), second.values(x, time))
        first.fit(some, ALONE)
        second.fit(some, ALONE)
    arrays = {name: part for name, part in first.state().items() if isinstance(part, np.ndarray)}
    changed = {name: array.astype(np.float16)[:-1] for name, array in arrays.items()}
    for function in (make(), second):
        before = deepcopy(dict(function.state()))
        with pytest.raises(ValueError, match="got"):
            function.load_state({**first.state(), **changed})
        with pytest.raises(KeyError):
            function.load_state({})
        np.testing.assert_equal(dict(function.state()), before)


@pytest.mark.parametrize("change", [{"position": -1}, {"optimizer": {"steps": 1, "learning_rate": -1.0}}])
def test_an_invalid_state_is_refused(change: dict[str, Any]) -> None:
    mlp = mlp_values()
    with pytest.raises(ValueError, match="got"):
        mlp.load_state({**mlp.state(), **change})


@pytest.mark.parametrize("make", [ZeroValues, lambda: SharedValues(SimpleNamespace())])  # type: ignore[arg-type]
def test_stateless_functions_refuse_a_state(make: Callable[[], ValueFunction]) -> None:
    make().load_state({})
    with pytest.raises(ValueError, match=r"has no state, got \['means'\]"):
        make().load_state({"means": np.zeros(1)})


@pytest.mark.parametrize("make", KINDS[1:])
def test_a_fit_that_raises_leaves_the_state_unchanged(
    make: Callable[[], ValueFunction], rng: np.random.Generator
) -> None:
    x, time = some_rows(rng)
    returns = rng.standard_normal(400, dtype=np.float32)
    function = make()
    function.fit(batch(x, time, returns), ALONE)
    before = deepcopy(dict(function.state()))
    returns[-1] = np.inf  # in one minibatch of several
    with pytest.raises((ValueError, FloatingPointError)):
        function.fit(batch(x, time, returns), ALONE)
    np.testing.assert_equal(dict(function.state()), before)


@pytest.mark.parametrize("rows", [(250, 150), (399, 1), (0, 400), (400, 0), (31, 29)])
@pytest.mark.parametrize("make", [TimeValues, lambda: LinearValues(3), lambda: mlp_values(dtype=np.float64)])
def test_two_workers_fit_as_one(
    make: Callable[[], ValueFunction], rows: tuple[int, int], rng: np.random.Generator
) -> None:
    """A worker without rows passes one invalid row, as a batch without valid rows does."""
    whole, halves = make(), [make(), make()]
    total = sum(rows)
    for _ in range(2):
        x, time = some_rows(rng, total)
        x = x.astype(np.float64)
        returns = rng.standard_normal(total, dtype=np.float32)
        whole.fit(batch(x, time, returns), ALONE)
        parts = [
            batch(x[part], time[part], returns[part], first=part.start)
            if part.stop > part.start
            else batch(x[:1] + 1.0, time[:1] + 99, returns[:1] + 1.0, np.zeros(1, np.bool_))
            for part in (slice(0, rows[0]), slice(rows[0], total))
        ]
        run_workers(
            [
                lambda reduce, function=function, part=part: function.fit(part, reduce)
                for function, part in zip(halves, parts, strict=True)
            ]
        )
    np.testing.assert_equal(dict(halves[0].state()), dict(halves[1].state()))
    found, expected = flatten(halves[0].state()), flatten(whole.state())
    assert found[1] == expected[1]
    for path, array in expected[0].items():
        np.testing.assert_allclose(found[0][path], array, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", KINDS[1:])
def test_a_fit_does_not_depend_on_thread_count(
    make: Callable[[], ValueFunction], rng: np.random.Generator, num_threads: Callable[[int], None]
) -> None:
    x, time = some_rows(rng, 3000)
    some = batch(x, time, rng.standard_normal(3000, dtype=np.float32))
    results = []
    for threads in (1, 2, 3):
        num_threads(threads)
        function = make()
        function.fit(some, ALONE)
        results.append(function.values(x, time))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
