"""losses.policy_gradient, losses.trpo_surrogate, losses.a2c and losses.a2c_gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcheck import check_gradient
from pgfast import losses
from pgfast.distributions import Categorical, DiagGaussian, Distribution, MultiCategorical
from pgfast.reference import losses as reference

Draw = Callable[..., NDArray[np.float64]]
AssertClose = Callable[[NDArray[Any], NDArray[np.float64]], None]
Column = NDArray[Any]
Arguments = tuple[Column, Column, NDArray[np.int64], Column, Column]  # of a2c_gradient, before the coefficients
COEFFICIENTS = (0.01, 0.5)


class Batch(NamedTuple):
    logits: NDArray[np.float64]
    values: NDArray[np.float64]
    actions: NDArray[np.int64]
    advantages: NDArray[np.float64]
    returns: NDArray[np.float64]
    valid: NDArray[np.bool_]

    def native(self, dtype: Any) -> Arguments:
        """Floats as ``dtype``."""
        floats = [array.astype(dtype) for array in (self.logits, self.values, self.advantages, self.returns)]
        return floats[0], floats[1], self.actions, floats[2], floats[3]


def make_batch(draw: Draw, rng: np.random.Generator, rows: int, choices: int) -> Batch:
    valid = rng.random(rows) < 0.7
    valid[0] = True
    actions = rng.integers(0, choices, rows)
    return Batch(draw(rows, choices), draw(rows), actions, draw(rows), draw(rows), valid)


@pytest.fixture(params=[(1, 1), (1, 3), (40, 18), (2500, 4)], ids=str)
def batch(request: pytest.FixtureRequest, draw: Draw, rng: np.random.Generator) -> Batch:
    return make_batch(draw, rng, *request.param)


@pytest.mark.parametrize("masked", [False, True])
def test_a2c_matches_the_reference(draw: Draw, rng: np.random.Generator, masked: bool, dtype: Any) -> None:
    columns: dict[str, Any] = {name: draw(50) for name in ("log_prob", "advantages", "entropy", "returns", "values")}
    valid = rng.random(50) < 0.5 if masked else None
    rest: dict[str, Any] = {"entropy_coef": 0.01, "value_coef": 0.5, "valid": valid}
    cast: dict[str, Any] = {name: column.astype(dtype) for name, column in columns.items()}
    native = losses.a2c(**cast, **rest)
    expected = reference.a2c(**columns, **rest)
    np.testing.assert_allclose(native, expected, rtol=1e-12)  # sums are float64 for both dtypes


@pytest.mark.parametrize("masked", [False, True])
def test_a2c_gradient_matches_the_reference(batch: Batch, masked: bool, dtype: Any, assert_close: AssertClose) -> None:
    valid = batch.valid if masked else None
    *native_losses, dlogits, dvalues = losses.a2c_gradient(*batch.native(dtype), *COEFFICIENTS, valid)
    *expected_losses, expected_dlogits, expected_dvalues = reference.a2c_gradient(*batch[:5], *COEFFICIENTS, valid)
    np.testing.assert_allclose(native_losses, expected_losses, rtol=1e-5 if dtype == np.float32 else 1e-12)
    assert_close(dlogits, expected_dlogits)
    assert_close(dvalues, expected_dvalues)


@pytest.mark.parametrize("masked", [False, True])
def test_a2c_gradient_is_the_derivative_of_the_total_loss(draw: Draw, rng: np.random.Generator, masked: bool) -> None:
    batch = make_batch(draw, rng, 6, 4)
    valid = batch.valid if masked else None

    def total(logits: NDArray[np.float64], values: NDArray[np.float64]) -> float:
        policy = Categorical(logits)
        log_prob = policy.log_prob(batch.actions)
        return losses.a2c(log_prob, batch.advantages, policy.entropy(), batch.returns, values, 0.3, 0.7, valid)[2]

    *_, dlogits, dvalues = losses.a2c_gradient(*batch.native(np.float64), 0.3, 0.7, valid)
    check_gradient(lambda logits: total(logits, batch.values), batch.logits, dlogits.astype(np.float64))
    check_gradient(lambda values: total(batch.logits, values), batch.values, dvalues.astype(np.float64))


def test_a2c_gradient_reports_the_losses_of_a2c(draw: Draw, rng: np.random.Generator, dtype: Any) -> None:
    batch = make_batch(draw, rng, 30, 5)
    logits, values, actions, advantages, returns = batch.native(dtype)
    policy = Categorical(logits)
    apart = losses.a2c(
        policy.log_prob(actions), advantages, policy.entropy(), returns, values, *COEFFICIENTS, batch.valid
    )
    together = losses.a2c_gradient(logits, values, actions, advantages, returns, *COEFFICIENTS, batch.valid)
    assert together[:3] == apart


def test_a2c_by_hand() -> None:
    log_prob, advantages = np.array([-1.0, -2.0]), np.array([3.0, -1.0])
    entropy, returns, values = np.array([0.5, 1.5]), np.array([1.0, 5.0]), np.array([0.0, 2.0])
    policy, value, total = losses.a2c(log_prob, advantages, entropy, returns, values, 0.1, 0.25)
    assert policy == pytest.approx(-((-3.0 + 0.05) + (2.0 + 0.15)) / 2.0)
    assert value == (1.0 + 9.0) / 2.0
    assert total == pytest.approx(policy + 0.25 * 5.0)


def test_uniform_policy_has_a_closed_form_gradient() -> None:
    # p_a = 1/3, entropy at its maximum: d/d l_a = -A ([a = action] - 1/3) / B.
    dlogits, dvalues = losses.a2c_gradient(
        np.zeros((2, 3)), np.array([1.0, 4.0]), np.array([0, 2]), np.array([3.0, -6.0]), np.array([2.0, 2.0]), 5.0, 0.5
    )[3:]
    np.testing.assert_allclose(dlogits, [[-1.0, 0.5, 0.5], [-1.0, -1.0, 2.0]], rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(dvalues, [-0.5, 1.0])


def test_gradient_at_the_logits_sums_to_zero_in_each_row(batch: Batch) -> None:
    dlogits = losses.a2c_gradient(*batch.native(np.float64), *COEFFICIENTS)[3]
    assert np.abs(dlogits.sum(axis=1)).max() < 1e-14


def test_invalid_rows_count_for_nothing(draw: Draw, rng: np.random.Generator, dtype: Any) -> None:
    batch = make_batch(draw, rng, 40, 6)
    valid = batch.valid
    arguments = batch.native(dtype)
    masked = losses.a2c_gradient(*arguments, *COEFFICIENTS, valid)
    logits, values, actions, advantages, returns = arguments
    without = losses.a2c_gradient(
        logits[valid], values[valid], actions[valid], advantages[valid], returns[valid], *COEFFICIENTS
    )
    assert masked[:3] == pytest.approx(without[:3], rel=1e-12)
    np.testing.assert_array_equal(masked[3][valid], without[3])
    np.testing.assert_array_equal(masked[4][valid], without[4])
    assert not masked[3][~valid].any()
    assert not masked[4][~valid].any()


def test_what_invalid_rows_hold_is_not_read(draw: Draw, rng: np.random.Generator) -> None:
    batch = make_batch(draw, rng, 20, 3)
    clean = losses.a2c_gradient(*batch.native(np.float64), *COEFFICIENTS, batch.valid)
    for array in (batch.values, batch.advantages, batch.returns):
        array[~batch.valid] = np.nan
    dirty = losses.a2c_gradient(*batch.native(np.float64), *COEFFICIENTS, batch.valid)
    for a, b in zip(clean, dirty, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("masked", [False, True])
def test_policy_gradient_matches_the_reference(draw: Draw, rng: np.random.Generator, masked: bool, dtype: Any) -> None:
    log_prob, advantages, valid = draw(50), draw(50), rng.random(50) < 0.5 if masked else None
    native = losses.policy_gradient(log_prob.astype(dtype), advantages.astype(dtype), valid)
    assert isinstance(native, float)
    assert native == pytest.approx(reference.policy_gradient(log_prob, advantages, valid), rel=1e-12)


FAMILIES = ["Categorical", "MultiCategorical", "DiagGaussian"]


def two_policies(family: str, draw: Draw, rng: np.random.Generator, dtype: Any, rows: int) -> tuple[Any, Any, Any]:
    """Two distributions of one family, and actions that the second drew."""
    new: Distribution[Any]
    old: Distribution[Any]
    if family == "DiagGaussian":
        new, old = (DiagGaussian(draw(rows, 2).astype(dtype), 0.25 * draw(2).astype(dtype)) for _ in range(2))
    elif family == "MultiCategorical":
        new, old = (MultiCategorical(draw(rows, 5).astype(dtype), (2, 3)) for _ in range(2))
    else:
        new, old = (Categorical(draw(rows, 5).astype(dtype)) for _ in range(2))
    return new, old, old.sample(int(rng.integers(2**32)))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("masked", [False, True])
def test_trpo_surrogate_matches_the_reference(
    family: str, draw: Draw, rng: np.random.Generator, masked: bool, dtype: Any
) -> None:
    new, old, actions = two_policies(family, draw, rng, dtype, 50)
    advantages, valid = draw(50), rng.random(50) < 0.5 if masked else None
    native = losses.trpo_surrogate(new, old, actions, advantages.astype(dtype), valid)
    assert isinstance(native, float)
    log_probs = [policy.log_prob(actions).astype(np.float64) for policy in (new, old)]
    expected = reference.trpo_surrogate(*log_probs, advantages, valid)
    assert native == pytest.approx(expected, rel=1e-4 if dtype == np.float32 else 1e-11)


@pytest.mark.parametrize("family", FAMILIES)
def test_at_the_old_policy_both_losses_have_one_gradient(family: str, draw: Draw, rng: np.random.Generator) -> None:
    _, old, actions = two_policies(family, draw, rng, np.float64, 6)
    advantages, valid = draw(6), np.array([True, True, False, True, False, True])
    assert losses.trpo_surrogate(old, old, actions, advantages, valid) == pytest.approx(-advantages[valid].mean())
    weights = -np.where(valid, advantages, 0.0) / 4.0
    names = ["mean", "log_std"] if family == "DiagGaussian" else ["logits"]

    def replaced(name: str, at: NDArray[np.float64]) -> Any:
        new = copy.copy(old)
        setattr(new, name, at)
        return new

    for name, gradient in zip(names, old.gradient(actions, weights), strict=True):

        def policy_gradient(at: NDArray[np.float64], name: str = name) -> float:
            return losses.policy_gradient(replaced(name, at).log_prob(actions), advantages, valid)

        def surrogate(at: NDArray[np.float64], name: str = name) -> float:
            return losses.trpo_surrogate(replaced(name, at), old, actions, advantages, valid)

        check_gradient(policy_gradient, getattr(old, name), gradient)
        check_gradient(surrogate, getattr(old, name), gradient)


def test_policy_losses_do_not_read_invalid_rows(draw: Draw, rng: np.random.Generator) -> None:
    new, old, actions = two_policies("Categorical", draw, rng, np.float64, 20)
    advantages, log_prob, valid = draw(20), draw(20), np.arange(20) % 3 == 0
    policy_gradient = losses.policy_gradient(log_prob, advantages, valid)
    surrogate = losses.trpo_surrogate(new, old, actions, advantages, valid)
    log_prob[~valid] = -np.inf
    advantages[~valid] = np.nan
    assert losses.policy_gradient(log_prob, advantages, valid) == policy_gradient
    assert losses.trpo_surrogate(new, old, actions, advantages, valid) == surrogate
