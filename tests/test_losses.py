"""The losses and their row gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcheck import check_gradient
from pgfast import losses
from pgfast.distributions import Categorical, DiagGaussian, Distribution, MultiCategorical
from pgfast.losses import RowGradients
from pgfast.reference import losses as reference

Draw = Callable[..., NDArray[np.float64]]
AssertClose = Callable[[NDArray[Any], NDArray[np.float64]], None]
Columns = dict[str, NDArray[Any]]

A2C_COLUMNS = ("log_prob", "advantages", "entropy", "returns", "values")
PPO_COLUMNS = (*A2C_COLUMNS, "old_log_prob", "old_values")
SETTINGS = {
    "policy_gradient": {"entropy_coef": 0.3},
    "a2c": {"entropy_coef": 0.01, "value_coef": 0.5},
    "ppo": {"clip_range": 0.2, "entropy_coef": 0.01, "value_coef": 0.5, "value_clip_range": 0.3},
}
FAMILIES = ["Categorical", "MultiCategorical", "DiagGaussian"]


def two_policies(family: str, draw: Draw, dtype: Any, rows: int) -> tuple[Any, Any, Any]:
    """Returns two distributions of one family, and actions sampled from the second."""
    new: Distribution[Any]
    old: Distribution[Any]
    if family == "DiagGaussian":
        new, old = (DiagGaussian(draw(rows, 2).astype(dtype), 0.25 * draw(2).astype(dtype)) for _ in range(2))
    elif family == "MultiCategorical":
        new, old = (MultiCategorical(draw(rows, 5).astype(dtype), (2, 3)) for _ in range(2))
    else:
        new, old = (Categorical(draw(rows, 5).astype(dtype)) for _ in range(2))
    return new, old, old.sample(7)


class Loss:
    """A loss of columns ``[B]``: its native values, its native gradient, and the reference of both.

    For the surrogate, the column "logit" defines a new policy over two actions, [logit, 0]. The old policy is uniform,
    and the first action is taken in every row.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        columns = {"policy_gradient": A2C_COLUMNS[:3], "a2c": A2C_COLUMNS, "ppo": PPO_COLUMNS}
        self.columns = columns.get(name, ("logit", "advantages"))
        self.differentiable = {"log_prob", "entropy", "values"} & set(self.columns)  # columns with a row gradient

    def draw(self, draw: Draw, rows: int) -> Columns:
        return {name: draw(rows) for name in self.columns}

    def _call(self, suffix: str, columns: Columns, valid: Any, count: int | None) -> Any:
        function = getattr(losses, self.name + suffix)
        if self.name == "trpo_surrogate":
            new, old, actions = self._policies(columns["logit"])
            return function(new, old, actions, columns["advantages"], valid, count=count)
        return function(**columns, **SETTINGS[self.name], valid=valid, count=count)

    @staticmethod
    def _policies(logit: NDArray[Any]) -> tuple[Categorical, Categorical, NDArray[np.int64]]:
        logits = np.stack([logit, np.zeros_like(logit)], axis=1)
        return Categorical(logits), Categorical(np.zeros_like(logits)), np.zeros(len(logit), np.int64)

    def values(self, columns: Columns, valid: Any = None, count: int | None = None) -> tuple[float, ...]:
        result = self._call("", columns, valid, count)
        return result if isinstance(result, tuple) else (result,)

    def gradient(
        self, columns: Columns, valid: Any = None, count: int | None = None
    ) -> tuple[tuple[float, ...], RowGradients]:
        values, rows = self._call("_gradient", columns, valid, count)
        return values if isinstance(values, tuple) else (values,), rows

    def reference(self, columns: Columns, valid: Any, count: int | None) -> tuple[tuple[float, ...], RowGradients]:
        function = getattr(reference, self.name + "_gradient")
        if self.name == "trpo_surrogate":
            new, old, actions = self._policies(columns["logit"])
            log_probs = new.log_prob(actions), old.log_prob(actions)
            values, rows = function(*log_probs, columns["advantages"], valid, count)
        else:
            values, rows = function(**columns, **SETTINGS[self.name], valid=valid, count=count)
        return values if isinstance(values, tuple) else (values,), RowGradients(*rows)


@pytest.fixture(params=["policy_gradient", "trpo_surrogate", "a2c", "ppo"])
def loss(request: pytest.FixtureRequest) -> Loss:
    return Loss(request.param)


def cast(columns: Columns, dtype: Any) -> Columns:
    return {name: column.astype(dtype) for name, column in columns.items()}


def mask(rng: np.random.Generator, rows: int) -> NDArray[np.bool_]:
    valid = rng.random(rows) < 0.6
    valid[0] = True
    return valid


@pytest.mark.parametrize("rows", [1, 50, 20_000])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("count", [None, 77])
def test_losses_and_gradients_match_the_reference(
    loss: Loss,
    rows: int,
    masked: bool,
    count: int | None,
    draw: Draw,
    rng: np.random.Generator,
    dtype: Any,
    assert_close: AssertClose,
) -> None:
    columns, valid = loss.draw(draw, rows), mask(rng, rows) if masked else None
    values, gradient = loss.gradient(cast(columns, dtype), valid, count)
    expected_values, expected = loss.reference(columns, valid, count)
    assert all(isinstance(value, float) for value in values)
    has_ratio = loss.name in ("trpo_surrogate", "ppo")
    exact = 1e-5 if dtype == np.float32 and has_ratio else 1e-10  # sums are float64 in both
    np.testing.assert_allclose(values, expected_values, rtol=exact, atol=exact)
    assert loss.values(cast(columns, dtype), valid, count) == values
    for rows_found, rows_expected in zip(gradient, expected, strict=True):
        assert (rows_found is None) == (rows_expected is None)
        if rows_found is not None and rows_expected is not None:
            assert_close(rows_found, rows_expected)


@pytest.mark.parametrize("count", [None, 9])
def test_gradients_are_derivatives_of_the_loss(
    loss: Loss, count: int | None, draw: Draw, rng: np.random.Generator
) -> None:
    columns, valid = loss.draw(draw, 6), mask(rng, 6)
    _, gradient = loss.gradient(columns, valid, count)
    for name in loss.differentiable:

        def total(at: NDArray[np.float64], name: str = name) -> float:
            return loss.values({**columns, name: at}, valid, count)[2 if loss.name in ("a2c", "ppo") else 0]

        check_gradient(total, columns[name], getattr(gradient, name))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_surrogate_gradient_is_its_derivative_away_from_the_old_policy(
    family: str, draw: Draw, rng: np.random.Generator
) -> None:
    new, old, actions = two_policies(family, draw, np.float64, 6)
    advantages, valid = draw(6), mask(rng, 6)
    _, rows = losses.trpo_surrogate_gradient(new, old, actions, advantages, valid)
    names = ["mean", "log_std"] if family == "DiagGaussian" else ["logits"]
    for name, gradient in zip(names, new.gradient(actions, rows.log_prob), strict=True):
        start = getattr(new, name)

        def surrogate(at: NDArray[np.float64], name: str = name) -> float:
            setattr(new, name, at)
            return losses.trpo_surrogate(new, old, actions, advantages, valid)

        check_gradient(surrogate, start, gradient)
        setattr(new, name, start)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_surrogate_gradient_at_the_old_policy_is_the_policy_gradient(family: str, draw: Draw, dtype: Any) -> None:
    _, old, actions = two_policies(family, draw, dtype, 50)
    advantages = draw(50).astype(dtype)
    loss, surrogate = losses.trpo_surrogate_gradient(old, old, actions, advantages)
    _, plain = losses.policy_gradient_gradient(old.log_prob(actions), advantages)
    np.testing.assert_array_equal(surrogate.log_prob, plain.log_prob)
    np.testing.assert_array_equal(surrogate.log_prob, -dtype(1.0 / 50) * advantages)
    assert loss == pytest.approx(-advantages.mean(dtype=np.float64))


@pytest.mark.parametrize("family", FAMILIES)
def test_trpo_surrogate_matches_the_reference(family: str, draw: Draw, rng: np.random.Generator, dtype: Any) -> None:
    new, old, actions = two_policies(family, draw, dtype, 50)
    advantages, valid = draw(50), mask(rng, 50)
    native = losses.trpo_surrogate(new, old, actions, advantages.astype(dtype), valid)
    log_probs = [policy.log_prob(actions).astype(np.float64) for policy in (new, old)]
    expected, _ = reference.trpo_surrogate_gradient(log_probs[0], log_probs[1], advantages, valid)
    assert native == pytest.approx(expected, rel=1e-4 if dtype == np.float32 else 1e-11)


def test_a_clamped_ratio_has_no_gradient(dtype: Any) -> None:
    logit = np.array([-200.0, -80.1, -79.9, 0.0, 79.9, 80.1, 200.0], dtype)
    new, old = (DiagGaussian(mean[:, np.newaxis].astype(dtype), np.zeros(1, dtype)) for mean in (logit / 2, -logit / 2))
    actions = np.ones((7, 1), dtype)  # log ratio: the logit
    loss, rows = losses.trpo_surrogate_gradient(new, old, actions, np.ones(7, dtype))
    ratio = np.exp(np.clip(logit.astype(np.float64), -80.0, 80.0))
    assert loss == pytest.approx(-ratio.mean(), rel=1e-4)
    inside = np.array([False, False, True, True, True, False, False])
    np.testing.assert_allclose(rows.log_prob, np.where(inside, -ratio / 7.0, 0.0), rtol=1e-4)


def test_parts_of_two_workers_sum_to_the_whole(loss: Loss, draw: Draw, rng: np.random.Generator, dtype: Any) -> None:
    columns, valid = cast(loss.draw(draw, 64), dtype), mask(rng, 64)
    count, tolerance = int(np.count_nonzero(valid)), 1e-6 if dtype == np.float32 else 1e-12
    whole, gradient = loss.gradient(columns, valid)
    halves = [
        loss.gradient({name: column[part] for name, column in columns.items()}, valid[part], count)
        for part in (slice(0, 24), slice(24, 64))
    ]
    np.testing.assert_allclose(np.sum([values for values, _ in halves], axis=0), whole, rtol=tolerance, atol=tolerance)
    for name in RowGradients._fields:
        if getattr(gradient, name) is not None:
            parts = np.concatenate([getattr(rows, name) for _, rows in halves])
            np.testing.assert_array_equal(parts, getattr(gradient, name))


def test_the_default_count_is_the_number_of_valid_rows(
    loss: Loss, draw: Draw, rng: np.random.Generator, dtype: Any
) -> None:
    columns, valid = cast(loss.draw(draw, 30), dtype), mask(rng, 30)
    alone, counted = loss.gradient(columns, valid), loss.gradient(columns, valid, int(np.count_nonzero(valid)))
    assert counted[0] == alone[0]
    for one, other in zip(counted[1], alone[1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_with_a_count_a_part_without_valid_rows_adds_zeros(loss: Loss, draw: Draw, dtype: Any) -> None:
    columns, valid = cast(loss.draw(draw, 5), dtype), np.zeros(5, bool)
    with pytest.raises(ValueError, match=rf"^{loss.name}_gradient: valid must mark at least one row$"):
        loss.gradient(columns, valid)
    values, gradient = loss.gradient(columns, valid, 12)
    assert not any(values)
    assert not any(rows.any() for rows in gradient if rows is not None)


@pytest.mark.parametrize(("count", "kind"), [(0, ValueError), (-3, ValueError), (2.0, TypeError), ("2", TypeError)])
def test_the_count_must_be_a_positive_int(loss: Loss, count: Any, kind: type[Exception], draw: Draw) -> None:
    columns = loss.draw(draw, 4)
    for call, name in ((loss.values, loss.name), (loss.gradient, f"{loss.name}_gradient")):
        with pytest.raises(kind, match=rf"^{name}: count must be "):
            call(columns, None, count)
    assert loss.values(columns, None, np.int64(8)) == loss.values(columns, None, 8)


def test_invalid_rows_are_not_read_and_have_no_gradient(
    loss: Loss, draw: Draw, rng: np.random.Generator, dtype: Any
) -> None:
    columns, valid = cast(loss.draw(draw, 40), dtype), mask(rng, 40)
    clean_values, clean = loss.gradient(columns, valid)
    for name, column in columns.items():
        if name != "logit":  # the policy's logits must be finite
            column[~valid] = np.nan
    values, gradient = loss.gradient(columns, valid)
    assert values == clean_values
    for rows, clean_rows in zip(gradient, clean, strict=True):
        np.testing.assert_array_equal(rows, clean_rows)
        assert rows is None or not rows[~valid].any()


def test_a2c_matches_a_calculation_by_hand() -> None:
    log_prob, advantages = np.array([-1.0, -2.0]), np.array([3.0, -1.0])
    entropy, returns, values = np.array([0.5, 1.5]), np.array([1.0, 5.0]), np.array([0.0, 2.0])
    (policy, value, total), rows = losses.a2c_gradient(log_prob, advantages, entropy, returns, values, 0.1, 0.25)
    assert policy == pytest.approx(-((-3.0 + 0.05) + (2.0 + 0.15)) / 2.0)
    assert value == (1.0 + 9.0) / 2.0
    assert total == pytest.approx(policy + 0.25 * 5.0)
    assert rows.log_prob.tolist() == [-1.5, 0.5]
    np.testing.assert_allclose(rows.entropy, [-0.05, -0.05])
    np.testing.assert_allclose(rows.values, [-0.25, -0.75])


def test_ppo_at_the_old_policy_is_a2c(draw: Draw, rng: np.random.Generator, dtype: Any) -> None:
    columns, valid = [draw(50).astype(dtype) for _ in A2C_COLUMNS], mask(rng, 50)
    (policy, value, total), a2c = losses.a2c_gradient(*columns, 0.01, 0.5, valid)
    found, ppo = losses.ppo_gradient(columns[0], *columns, 0.2, 0.01, 0.5, valid)
    for one, other in zip(ppo, a2c, strict=True):
        np.testing.assert_array_equal(one, other)
    log_prob_part = float(np.mean((columns[0] - 1.0)[valid] * columns[1][valid], dtype=np.float64))
    assert found[0] == pytest.approx(policy + log_prob_part, rel=1e-5)  # -mean(A) in place of -mean(log_prob A)
    assert found[1] == value
    assert found[2] - found[0] == pytest.approx(total - policy, rel=1e-5)
    assert found[3:] == (0.0, 0.0)


def test_ppo_matches_a_calculation_by_hand() -> None:
    # The four sides of the clip: beyond it with the advantage, which has no slope, and against it, which has.
    ratio, advantages = np.array([1.5, 1.5, 0.5, 0.5, 1.1]), np.array([2.0, -2.0, 2.0, -2.0, 1.0])
    zeros = np.zeros(5)
    found, rows = losses.ppo_gradient(np.log(ratio), zeros, advantages, zeros, zeros, zeros, 0.2, 0.0, 0.5)
    assert found[0] == pytest.approx(-(2.4 - 3.0 + 1.0 - 1.6 + 1.1) / 5.0)
    assert found[3] == pytest.approx(0.8)
    assert found[4] == pytest.approx(np.mean(ratio - 1.0 - np.log(ratio)))
    np.testing.assert_allclose(rows.log_prob, [0.0, 3.0 / 5.0, -1.0 / 5.0, 0.0, -1.1 / 5.0], atol=1e-15)


def test_ppo_keeps_its_slope_where_both_terms_are_equal(dtype: Any) -> None:
    one, ratio = np.ones(3, dtype), np.array([1.0, 1.25, 0.75], dtype)  # a clip range of 0.25 is exact
    log_prob = np.log(ratio.astype(np.float64)).astype(dtype)
    for sign in (1.0, -1.0):
        _, rows = losses.ppo_gradient(log_prob, 0 * one, dtype(sign) * one, one, one, one, 0.25 + 1e-6, 0.0, 0.5)
        np.testing.assert_allclose(rows.log_prob, -sign * ratio / 3.0, rtol=1e-6)


def test_ppo_clips_values_around_the_old_ones() -> None:
    # Within the range; beyond it, away from the return and towards it; and far beyond, where the square is larger.
    old, values, returns = np.zeros(4), np.array([0.1, 0.5, 0.5, 9.0]), np.array([1.0, -1.0, 1.0, 4.0])
    zeros = np.zeros(4)
    found, rows = losses.ppo_gradient(
        *(zeros, zeros, zeros, zeros, returns, values, 0.2, 0.0, 0.5), old_values=old, value_clip_range=0.2
    )
    assert found[1] == pytest.approx((0.9**2 + 1.5**2 + 0.8**2 + 5.0**2) / 4.0)
    np.testing.assert_allclose(rows.values, np.array([-0.9, 1.5, 0.0, 5.0]) / 4.0)
    unclipped, _ = losses.ppo_gradient(zeros, zeros, zeros, zeros, returns, values, 0.2, 0.0, 0.5)
    assert unclipped[1] == pytest.approx(np.mean((returns - values) ** 2))


@pytest.mark.parametrize("given", [{"old_values": np.zeros(2)}, {"value_clip_range": 0.2}])
def test_ppo_needs_both_the_old_values_and_their_range(given: Any) -> None:
    zeros = np.zeros(2)
    with pytest.raises(ValueError, match=r"^ppo: value_clip_range must be given with old_values, and only then$"):
        losses.ppo(zeros, zeros, zeros, zeros, zeros, zeros, 0.2, 0.0, 0.5, **given)


def test_ppo_is_finite_for_any_log_probabilities(dtype: Any) -> None:
    log_prob = np.array([-np.inf, 0.0, 300.0, -300.0, -np.inf], dtype)
    old, one = np.array([0.0, -np.inf, -300.0, 300.0, -np.inf], dtype), np.ones(5, dtype)
    for advantages in (one, -one):
        found, rows = losses.ppo_gradient(log_prob, old, advantages, one, one, one, 0.2, 0.01, 0.5)
        assert np.isfinite(found).all()
        assert rows.log_prob[:4].tolist() == [0.0] * 4
        assert rows.log_prob[4] == -advantages[4] / dtype(5)


def test_without_a_coefficient_there_is_no_entropy_bonus(draw: Draw) -> None:
    log_prob, advantages, entropy = draw(5), draw(5), draw(5)
    plain = losses.policy_gradient_gradient(log_prob, advantages)
    loss, rows = losses.policy_gradient_gradient(log_prob, advantages, entropy=entropy)
    assert rows.entropy is None
    assert loss == plain[0] == losses.policy_gradient(log_prob, advantages)
    with_bonus = losses.policy_gradient(log_prob, advantages, entropy=entropy, entropy_coef=0.5)
    assert with_bonus == losses.policy_gradient(log_prob, advantages) - 0.5 * entropy.mean()


def test_a_uniform_policy_has_the_closed_form_gradient() -> None:
    # p_a = 1/3, entropy at its maximum: d/d l_a = -A ([a = action] - 1/3) / B.
    policy, actions = Categorical(np.zeros((2, 3))), np.array([0, 2])
    advantages, returns, values = np.array([3.0, -6.0]), np.array([2.0, 2.0]), np.array([1.0, 4.0])
    _, rows = losses.a2c_gradient(policy.log_prob(actions), advantages, policy.entropy(), returns, values, 5.0, 0.5)
    (dlogits,) = policy.gradient(actions, rows.log_prob, rows.entropy)
    np.testing.assert_allclose(dlogits, [[-1.0, 0.5, 0.5], [-1.0, -1.0, 2.0]], rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(rows.values, [-0.5, 1.0])
