"""kernels.discounted_returns and gae."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from pgfast import kernels
from pgfast.reference import returns as reference

# Around vectors of 2, 4 or 8 environments, and around blocks of 1024.
SHAPES = [(1, 1), (1, 5), (7, 1), (16, 8), (5, 127), (4, 300), (3, 1024), (3, 1029)]
Draw = Callable[..., NDArray[np.float64]]
AssertClose = Callable[[NDArray[Any], NDArray[np.float64]], None]


class Rollout(NamedTuple):
    rewards: NDArray[np.float64]
    values: NDArray[np.float64]
    last_values: NDArray[np.float64]
    all_values: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]


def make_rollout(draw: Draw, rng: np.random.Generator, steps: int, environments: int) -> Rollout:
    shape = (steps, environments)
    flags = rng.random((2, *shape)) < 0.2
    return Rollout(draw(*shape), draw(*shape), draw(environments), draw(*shape), flags[0], flags[1])


@pytest.fixture(params=SHAPES, ids=str)
def rollout(request: pytest.FixtureRequest, draw: Draw, rng: np.random.Generator) -> Rollout:
    return make_rollout(draw, rng, *request.param)


def test_discounted_returns_matches_the_reference(rollout: Rollout, dtype: Any, assert_close: AssertClose) -> None:
    native = kernels.discounted_returns(
        rollout.rewards.astype(dtype), rollout.terminated, rollout.last_values.astype(dtype), 0.97
    )
    assert_close(native, reference.discounted_returns(rollout.rewards, rollout.terminated, rollout.last_values, 0.97))


@pytest.mark.parametrize("with_truncated", [True, False])
@pytest.mark.parametrize("next_values", ["last_values", "all_values"])
def test_gae_matches_the_reference(
    rollout: Rollout, next_values: str, with_truncated: bool, dtype: Any, assert_close: AssertClose
) -> None:
    successors: NDArray[np.float64] = getattr(rollout, next_values)
    truncated = rollout.truncated if with_truncated else None
    native = kernels.gae(
        rollout.rewards.astype(dtype),
        rollout.values.astype(dtype),
        successors.astype(dtype),
        rollout.terminated,
        truncated,
        0.98,
        0.9,
    )
    expected = reference.gae(rollout.rewards, rollout.values, successors, rollout.terminated, truncated, 0.98, 0.9)
    for array, expected_array in zip(native, expected, strict=True):
        assert_close(array, expected_array)


def test_discounted_returns_of_constant_rewards_are_a_geometric_series() -> None:
    steps = 30
    got = kernels.discounted_returns(np.ones((steps, 2)), np.zeros((steps, 2), bool), np.array([0.0, 10.0]), 0.9)
    left = np.arange(steps, 0, -1)
    np.testing.assert_allclose(got[:, 0], (1 - 0.9**left) / 0.1, rtol=1e-13)
    # A last value of r / (1 - discount) equals the same reward forever.
    np.testing.assert_allclose(got[:, 1], 10.0, rtol=1e-13)


def test_discounted_returns_restart_after_a_done() -> None:
    rewards = np.array([[1.0], [2.0], [4.0], [8.0]])
    dones = np.array([[False], [True], [False], [False]])
    got = kernels.discounted_returns(rewards, dones, np.array([16.0]), 0.5)
    assert got.ravel().tolist() == [2.0, 2.0, 12.0, 16.0]


def test_gae_writes_into_its_outputs(rollout: Rollout) -> None:
    arguments = (rollout.rewards, rollout.values, rollout.last_values, rollout.terminated, None, 0.98, 0.9)
    out = (np.full_like(rollout.rewards, np.nan), np.full_like(rollout.rewards, np.nan))
    result = kernels.gae(*arguments, out=out)
    assert result[0] is out[0]
    assert result[1] is out[1]
    for native, expected in zip(out, kernels.gae(*arguments), strict=True):
        np.testing.assert_array_equal(native, expected)


def test_gae_refuses_outputs_that_do_not_fit() -> None:
    a, flags, last = np.zeros((3, 4)), np.zeros((3, 4), np.bool_), np.zeros(4)
    new = np.zeros((3, 4))
    for out, kind, text in (
        ((new, new), ValueError, r"gae: out\[0\] must not share memory with out\[1\]"),
        ((a, new), ValueError, r"gae: out\[0\] must not share memory with rewards"),
        ((new, np.zeros((3, 5))), ValueError, r"gae: out\[1\] must have shape \(T, N\) = \(3, 4\), got \(3, 5\)"),
        ((new, np.zeros((3, 4), np.float32)), TypeError, r"gae: out\[1\] must be float64 like rewards, got float32"),
        ([new, a.copy()], TypeError, r"gae: out must be a tuple \(advantages, returns\) or None"),
        ((new,), TypeError, r"gae: out must be a tuple \(advantages, returns\) or None"),
    ):
        with pytest.raises(kind, match=f"^{text}$"):
            kernels.gae(a, np.ones((3, 4)), last, flags, None, 0.9, 0.9, out=out)  # type: ignore[arg-type]


def test_gae_matches_a_calculation_by_hand() -> None:
    # Two steps and a truncation: delta_t is bootstrapped from the true successor, and the recursion stops there.
    rewards = np.array([[1.0], [1.0], [1.0]])
    values = np.array([[10.0], [20.0], [30.0]])
    next_values = np.array([[20.0], [40.0], [50.0]])
    terminated = np.array([[False], [False], [True]])
    truncated = np.array([[False], [True], [False]])
    advantages, returns = kernels.gae(rewards, values, next_values, terminated, truncated, 0.5, 0.5)
    deltas = [1 + 10 - 10, 1 + 20 - 20, 1 - 30]
    assert advantages.ravel().tolist() == [deltas[0] + 0.25 * deltas[1], deltas[1], deltas[2]]
    assert returns.ravel().tolist() == (advantages + values).ravel().tolist()


def test_gae_is_the_explicit_sum_of_discounted_errors(draw: Draw, rng: np.random.Generator) -> None:
    rollout = make_rollout(draw, rng, 12, 6)
    discount, gae_lambda = 0.95, 0.8
    advantages, _ = kernels.gae(
        rollout.rewards,
        rollout.values,
        rollout.all_values,
        rollout.terminated,
        rollout.truncated,
        discount,
        gae_lambda,
    )
    deltas = rollout.rewards + discount * ~rollout.terminated * rollout.all_values - rollout.values
    ended = rollout.terminated | rollout.truncated
    for t, n in np.ndindex(advantages.shape):
        ends = np.flatnonzero(ended[t:, n])
        length = ends[0] + 1 if len(ends) else len(deltas) - t
        weights = (discount * gae_lambda) ** np.arange(length)
        np.testing.assert_allclose(advantages[t, n], weights @ deltas[t : t + length, n], rtol=1e-12, atol=1e-12)


def test_gae_with_lambda_zero_is_the_one_step_error(draw: Draw, rng: np.random.Generator) -> None:
    rollout = make_rollout(draw, rng, 9, 4)
    advantages, _ = kernels.gae(
        rollout.rewards, rollout.values, rollout.all_values, rollout.terminated, rollout.truncated, 0.9, 0.0
    )
    deltas = rollout.rewards + 0.9 * np.where(rollout.terminated, 0.0, rollout.all_values) - rollout.values
    np.testing.assert_allclose(advantages, deltas, rtol=1e-13, atol=1e-15)


def test_gae_with_lambda_one_returns_discounted_returns(draw: Draw, rng: np.random.Generator) -> None:
    rollout = make_rollout(draw, rng, 20, 5)
    _, returns = kernels.gae(rollout.rewards, rollout.values, rollout.last_values, rollout.terminated, None, 0.9, 1.0)
    expected = kernels.discounted_returns(rollout.rewards, rollout.terminated, rollout.last_values, 0.9)
    np.testing.assert_allclose(returns, expected, rtol=1e-12, atol=1e-12)


def test_gae_with_lambda_one_bootstraps_a_truncation(draw: Draw, rng: np.random.Generator) -> None:
    rollout = make_rollout(draw, rng, 20, 5)
    truncated = rollout.truncated & ~rollout.terminated
    next_values = np.concatenate([rollout.values[1:], rollout.last_values[np.newaxis]])
    next_values[truncated] = rollout.all_values[truncated]
    _, returns = kernels.gae(rollout.rewards, rollout.values, next_values, rollout.terminated, truncated, 0.9, 1.0)
    # Equivalent: the episode ends there, and the discounted value of the successor is part of the reward.
    rewards = rollout.rewards + 0.9 * truncated * next_values
    expected = kernels.discounted_returns(rewards, rollout.terminated | truncated, rollout.last_values, 0.9)
    np.testing.assert_allclose(returns, expected, rtol=1e-12, atol=1e-12)


def test_both_forms_of_next_values_agree_if_no_episode_ends(draw: Draw) -> None:
    rewards, values, last = draw(10, 3), draw(10, 3), draw(3)
    flags = np.zeros((10, 3), bool)
    every = np.concatenate([values[1:], last[np.newaxis]])
    short = kernels.gae(rewards, values, last, flags, flags, 0.99, 0.95)
    full = kernels.gae(rewards, values, every, flags, None, 0.99, 0.95)
    for a, b in zip(short, full, strict=True):
        np.testing.assert_array_equal(a, b)


def test_environments_are_independent(draw: Draw, rng: np.random.Generator, dtype: Any) -> None:
    rollout = make_rollout(draw, rng, 6, 200)
    order = rng.permutation(200)

    def gae(columns: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        arrays: list[Any] = [np.ascontiguousarray(array[..., columns]) for array in rollout]
        chosen = Rollout(*arrays)
        rewards, values, next_values = (array.astype(dtype) for array in (chosen[0], chosen[1], chosen[3]))
        return kernels.gae(rewards, values, next_values, chosen.terminated, chosen.truncated, 0.99, 0.95)

    for plain, permuted in zip(gae(np.arange(200)), gae(order), strict=True):
        np.testing.assert_array_equal(plain[:, order], permuted)


def test_rows_after_the_end_of_an_episode_do_not_affect_it(draw: Draw) -> None:
    rewards, values, last = draw(4, 1), draw(4, 1), draw(1)
    ends = np.array([[False], [True], [False], [False]])
    unknown_rewards, unknown_values = rewards.copy(), values.copy()
    unknown_rewards[2:] = np.nan
    unknown_values[2:] = np.nan
    for expected, actual in [
        (
            kernels.gae(rewards, values, last, ends, None, 0.9, 0.9)[0],
            kernels.gae(unknown_rewards, unknown_values, last, ends, None, 0.9, 0.9)[0],
        ),
        (
            kernels.discounted_returns(rewards, ends, last, 0.9),
            kernels.discounted_returns(unknown_rewards, ends, last, 0.9),
        ),
    ]:
        np.testing.assert_array_equal(actual[:2], expected[:2])
        assert np.isnan(actual[2:]).all()
