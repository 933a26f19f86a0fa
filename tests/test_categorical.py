"""distributions.Categorical and MultiCategorical; with one group they are the same distribution."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcheck import check_gradient
from pgfast import Rng
from pgfast.distributions import Categorical, MultiCategorical
from pgfast.reference import categorical as reference
from pgfast.reference import random

Draw = Callable[..., NDArray[np.float64]]
AssertClose = Callable[[NDArray[Any], NDArray[np.float64]], None]
Sizes = tuple[int, ...] | None  # None: Categorical over all columns
Case = tuple[NDArray[np.float64], Sizes, NDArray[np.int64]]

USER_STREAM = 16  # pgfast.Rng(seed, stream) draws from stream 16 + stream
ONE = [(1, 1), (1, 6), (7, 2), (33, 18), (2047, 3), (4097, 5)]  # rows, choices
SEVERAL = [(1, (1,)), (5, (4,)), (33, (3, 1, 5)), (2100, (2, 2, 2, 2))]  # rows, sizes


def distribution(logits: NDArray[Any], sizes: Sizes) -> Categorical | MultiCategorical:
    return Categorical(logits) if sizes is None else MultiCategorical(logits, sizes)


def some_actions(logits: NDArray[np.float64], sizes: Sizes, rng: np.random.Generator) -> NDArray[np.int64]:
    rows, columns = logits.shape
    return rng.integers(0, columns, rows) if sizes is None else rng.integers(0, sizes, (rows, len(sizes)))


@pytest.fixture(params=[*ONE, *SEVERAL], ids=str)
def case(request: pytest.FixtureRequest, draw: Draw, rng: np.random.Generator) -> Case:
    rows, choices = request.param
    sizes = choices if isinstance(choices, tuple) else None
    logits = 4.0 * draw(rows, choices if sizes is None else sum(sizes))
    return logits, sizes, some_actions(logits, sizes, rng)


def test_every_method_matches_the_reference(case: Case, draw: Draw, dtype: Any, assert_close: AssertClose) -> None:
    logits, sizes, actions = case
    other, weights = draw(*logits.shape), draw(2, len(logits))
    p, q = (distribution(array.astype(dtype), sizes) for array in (logits, other))
    assert_close(p.log_prob(actions), reference.log_prob(logits, actions, sizes))
    assert_close(p.entropy(), reference.entropy(logits, sizes))
    assert_close(p.kl(q), reference.kl(logits, other, sizes))
    log_ratio = reference.log_prob(logits, actions, sizes) - reference.log_prob(other, actions, sizes)
    assert_close(p.likelihood_ratio(q, actions), np.exp(log_ratio))
    if isinstance(p, Categorical):
        assert_close(p.probabilities(), reference.probabilities(logits))
    (dlogits,) = p.gradient(actions, *weights.astype(dtype))
    assert_close(dlogits, reference.gradient(logits, actions, *weights, sizes))
    (without,) = p.gradient(actions, weights[0].astype(dtype))
    assert_close(without, reference.gradient(logits, actions, weights[0], np.zeros(len(logits)), sizes))
    mode = p.mode()
    np.testing.assert_array_equal(mode, reference.mode(logits, sizes))
    assert mode.dtype == np.int64


def test_sample_matches_the_reference(case: Case, dtype: Any, assert_close: AssertClose) -> None:
    logits, sizes, _ = case
    logits = logits[:300]
    generator = Rng(77, stream=3)
    generator.position = 5
    actions, log_prob = distribution(logits.astype(dtype), sizes).sample_with_log_prob(generator)
    blocks = [
        [random.block_of(77, USER_STREAM + 3, row, 5, group) for group in range(len(sizes or (1,)))]
        for row in range(len(logits))
    ]
    numbers = np.array([[random.uniform(block) for block in row] for row in blocks])
    np.testing.assert_array_equal(actions, reference.sample(logits, numbers, sizes))
    assert actions.dtype == np.int64
    assert_close(log_prob, reference.log_prob(logits, actions, sizes))


@pytest.mark.parametrize(("columns", "sizes"), [(5, None), (7, (2, 1, 4))])
def test_gradient_is_the_derivative_of_log_prob_and_entropy(
    columns: int, sizes: Sizes, draw: Draw, rng: np.random.Generator
) -> None:
    logits, weights = draw(4, columns), draw(2, 4)
    actions = some_actions(logits, sizes, rng)

    def weighted_sum(at: NDArray[np.float64]) -> float:
        p = distribution(at, sizes)
        return float(weights[0] @ p.log_prob(actions) + weights[1] @ p.entropy())

    (dlogits,) = distribution(logits, sizes).gradient(actions, *weights)
    check_gradient(weighted_sum, logits, dlogits.astype(np.float64))


def test_likelihood_ratio_is_the_ratio_of_probabilities(
    draw: Draw, rng: np.random.Generator, dtype: Any, assert_close: AssertClose
) -> None:
    new, old = draw(50, 4), draw(50, 4)
    actions = some_actions(new, None, rng)
    rows = np.arange(50)
    expected = (reference.probabilities(new) / reference.probabilities(old))[rows, actions]
    got = Categorical(new.astype(dtype)).likelihood_ratio(Categorical(old.astype(dtype)), actions)
    assert_close(got, expected)


def test_likelihood_ratio_stays_finite(dtype: Any) -> None:
    new = Categorical(np.array([[500.0, -500.0]] * 2, dtype))
    old = Categorical(np.array([[-500.0, 500.0]] * 2, dtype))
    ratio = new.likelihood_ratio(old, np.array([0, 1]))
    np.testing.assert_allclose(ratio, [math.exp(80.0), math.exp(-80.0)], rtol=1e-5)


def test_uniform_logits_have_closed_forms(dtype: Any) -> None:
    for choices in (1, 2, 18):
        distribution = Categorical(np.full((3, choices), 2.5, dtype))
        np.testing.assert_allclose(distribution.entropy(), math.log(choices), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(distribution.probabilities(), 1.0 / choices, rtol=1e-6)
        np.testing.assert_allclose(distribution.log_prob(np.zeros(3, np.int64)), -math.log(choices), atol=1e-6)
        assert distribution.mode().tolist() == [0, 0, 0]


def test_two_choices_are_the_logistic_function(draw: Draw) -> None:
    x = draw(40)
    got = Categorical(np.stack([x, np.zeros(40)], axis=1)).probabilities()
    np.testing.assert_allclose(got[:, 0], 1.0 / (1.0 + np.exp(-x)), rtol=1e-13)


def test_identities_of_probabilities_entropy_and_kl(draw: Draw) -> None:
    logits, other = draw(60, 7), draw(60, 7)
    p, q = Categorical(logits), Categorical(other)
    np.testing.assert_allclose(p.probabilities().sum(axis=1), 1.0, rtol=1e-14)
    # Adding a constant to a row changes nothing; KL(p, p) is 0, and KL is never negative.
    shifted = Categorical(logits + draw(60, 1))
    np.testing.assert_allclose(shifted.probabilities(), p.probabilities(), rtol=1e-12)
    assert p.kl(p).tolist() == [0.0] * 60
    assert (p.kl(q) > 0.0).all()
    # H(p) + KL(p, q) is the cross entropy, and KL(p, uniform) = log A - H(p).
    log_q = [q.log_prob(np.full(60, action)) for action in range(7)]
    np.testing.assert_allclose(p.entropy() + p.kl(q), -np.sum(p.probabilities() * np.transpose(log_q), axis=1))
    np.testing.assert_allclose(p.kl(Categorical(np.zeros((60, 7)))), math.log(7) - p.entropy(), rtol=1e-11, atol=1e-14)


def test_kl_of_nearly_equal_rows_is_not_negative(draw: Draw, dtype: Any) -> None:
    logits = draw(2000, 6).astype(dtype)
    nearby = logits + np.finfo(dtype).eps * draw(2000, 6).astype(dtype)
    assert (Categorical(logits).kl(Categorical(nearby)) >= 0.0).all()


def test_huge_logits_are_exact(dtype: Any) -> None:
    logits = np.array([[1e38, 0.0, -1e38], [-1e38, -1e38, -1e38], [1e38, 1e38, 0.0], [1000.0, 1001.0, -1e38]], dtype)
    distribution = Categorical(logits)
    log_prob = np.stack([distribution.log_prob(np.full(4, action)) for action in range(3)], axis=1)
    odds = math.log(1.0 + math.e)
    expected = np.array(
        [
            [0.0, -1e38, -2e38],
            [-math.log(3.0)] * 3,
            [-math.log(2.0), -math.log(2.0), -1e38],
            [-odds, 1.0 - odds, -1e38],
        ]
    )
    np.testing.assert_allclose(log_prob, expected, rtol=1e-6, atol=1e-7)
    p = 1.0 / (1.0 + math.e)
    entropy = -p * math.log(p) - (1.0 - p) * math.log(1.0 - p)
    np.testing.assert_allclose(distribution.entropy(), [0.0, math.log(3.0), math.log(2.0), entropy], rtol=1e-6)
    assert distribution.mode().tolist() == [0, 0, 0, 1]
    assert distribution.kl(distribution).tolist() == [0.0] * 4


def test_finite_logits_never_produce_nan(dtype: Any) -> None:
    largest = np.finfo(dtype).max
    logits = np.array([[largest, -largest], [-largest, largest]], dtype)
    distribution, other, actions = Categorical(logits), Categorical(-logits), np.array([1, 1])
    assert distribution.log_prob(actions).tolist() == [-math.inf, 0.0]
    assert distribution.entropy().tolist() == [0.0, 0.0]
    assert distribution.kl(other).tolist() == [math.inf, math.inf]
    # -inf - (-inf) would be NaN: if both give the action probability 0, their ratio is 1.
    assert distribution.likelihood_ratio(distribution, actions).tolist() == [1.0, 1.0]
    np.testing.assert_allclose(distribution.likelihood_ratio(other, actions), [math.exp(-80), math.exp(80)], rtol=1e-5)
    (dlogits,) = distribution.gradient(actions, np.ones(2, dtype), np.ones(2, dtype))
    assert dlogits.tolist() == [[-1.0, 1.0], [0.0, 0.0]]


def test_one_group_is_the_categorical_distribution_bit_for_bit(
    draw: Draw, rng: np.random.Generator, dtype: Any
) -> None:
    logits, other = draw(300, 5).astype(dtype), draw(300, 5).astype(dtype)
    weights = draw(2, 300).astype(dtype)
    actions = rng.integers(0, 5, 300)
    column = actions[:, np.newaxis].copy()
    one, q = Categorical(logits), Categorical(other)
    multi, multi_q = MultiCategorical(logits, [5]), MultiCategorical(other, [5])
    for got, expected in (
        (multi.log_prob(column), one.log_prob(actions)),
        (multi.entropy(), one.entropy()),
        (multi.kl(multi_q), one.kl(q)),
        (multi.likelihood_ratio(multi_q, column), one.likelihood_ratio(q, actions)),
        (multi.mode()[:, 0], one.mode()),
        (multi.sample(9)[:, 0], one.sample(9)),
        (multi.sample_with_log_prob(9)[1], one.sample_with_log_prob(9)[1]),
        (multi.sample_at(9, 1, 4, 2)[0][:, 0], one.sample_at(9, 1, 4, 2)[0]),
        (multi.gradient(column, *weights)[0], one.gradient(actions, *weights)[0]),
    ):
        assert got.tobytes() == expected.tobytes()


def test_groups_equal_one_choice_in_the_product_space(draw: Draw, rng: np.random.Generator) -> None:
    sizes, rows = (2, 3, 4), 50
    logits, other = draw(rows, 9), draw(rows, 9)

    def product(logits: NDArray[np.float64]) -> Categorical:
        a, b, c = np.split(logits, [2, 5], axis=1)
        return Categorical((a[:, :, None, None] + b[:, None, :, None] + c[:, None, None, :]).reshape(rows, 24))

    actions = some_actions(logits, sizes, rng)
    flat = np.ravel_multi_index(tuple(actions.T), sizes)
    p, q = MultiCategorical(logits, sizes), MultiCategorical(other, sizes)
    np.testing.assert_allclose(p.log_prob(actions), product(logits).log_prob(flat), rtol=1e-12)
    np.testing.assert_allclose(p.entropy(), product(logits).entropy(), rtol=1e-12)
    np.testing.assert_allclose(p.kl(q), product(logits).kl(product(other)), rtol=1e-11)
    best = np.ravel_multi_index(tuple(p.mode().T), sizes)
    np.testing.assert_array_equal(best, product(logits).mode())


def test_groups_of_two_are_bernoulli(draw: Draw) -> None:
    x = draw(40, 3)
    logits = np.stack([np.zeros((40, 3)), x], axis=2).reshape(40, 6)
    log_prob = MultiCategorical(logits, np.full(3, 2)).log_prob(np.ones((40, 3), np.int64))
    np.testing.assert_allclose(log_prob, -np.log1p(np.exp(-x)).sum(axis=1), rtol=1e-12)


def test_extreme_logits_of_groups_are_exact_or_infinite(dtype: Any) -> None:
    logits = np.array([[1e38, -1e38, 1e38, 1e38], [0.0, -1e38, 0.0, 0.0]], dtype)
    distribution = MultiCategorical(logits, (2, 2))
    other = MultiCategorical(-logits, (2, 2))
    ones = np.ones((2, 2), np.int64)
    np.testing.assert_allclose(distribution.log_prob(ones), [-2e38, -1e38], rtol=1e-6)
    np.testing.assert_allclose(distribution.entropy(), math.log(2.0), rtol=1e-6)
    np.testing.assert_allclose(distribution.kl(other), [2e38, 1e38], rtol=1e-6)
    assert set(distribution.sample(0)[:, 0].tolist()) == {0}
    np.testing.assert_allclose(distribution.likelihood_ratio(other, ones), math.exp(-80.0), rtol=1e-6)
    largest = np.finfo(dtype).max
    twice = MultiCategorical(np.tile(np.array([largest, -largest], dtype), (1, 2)), (2, 2))
    assert twice.log_prob(ones[:1]).tolist() == [-math.inf]
    assert twice.likelihood_ratio(twice, ones[:1]).tolist() == [1.0]
    assert twice.kl(MultiCategorical(-twice.logits, (2, 2))).tolist() == [math.inf]
    for result in (twice.entropy(), twice.kl(twice), *twice.gradient(ones[:1], np.ones(1, dtype), np.ones(1, dtype))):
        assert np.isfinite(result).all()


def test_sample_frequencies_are_the_probabilities(dtype: Any) -> None:
    probabilities = np.array([0.5, 0.3, 0.15, 0.05])
    rows = 100_000
    logits = np.tile(np.log(probabilities), (rows, 1)).astype(dtype)
    counts = np.bincount(Categorical(logits).sample(3), minlength=4)
    chi_square = np.sum((counts - rows * probabilities) ** 2 / (rows * probabilities))
    assert chi_square < 16.3  # the 99.9 % quantile of 3 degrees of freedom


def test_groups_are_drawn_independently(dtype: Any) -> None:
    rows, p, q = 100_000, np.array([0.7, 0.3]), np.array([0.5, 0.3, 0.2])
    logits = np.tile(np.log(np.concatenate([p, q])), (rows, 1)).astype(dtype)
    actions = MultiCategorical(logits, (2, 3)).sample(3)
    counts = np.bincount(actions[:, 0] * 3 + actions[:, 1], minlength=6)
    expected = rows * np.outer(p, q).reshape(-1)
    assert np.sum((counts - expected) ** 2 / expected) < 20.5  # the 99.9 % quantile of 5 degrees of freedom


def test_sample_never_takes_an_action_without_probability(dtype: Any) -> None:
    logits = np.tile(np.array([-1e38, 0.0, -1e38, 0.0, -1e38], dtype), (5000, 1))
    assert set(Categorical(logits).sample(0).tolist()) == {1, 3}


def test_sample_depends_on_the_generator_alone(draw: Draw) -> None:
    distribution = Categorical(draw(200, 6))
    first, second = Rng(4), Rng(4)
    one = [distribution.sample(first) for _ in range(3)]
    other = [distribution.sample(second) for _ in range(3)]
    np.testing.assert_array_equal(one, other)
    assert first.position == 3
    assert not np.array_equal(one[0], one[1])  # the generator has advanced
    np.testing.assert_array_equal(distribution.sample(4), one[0])  # an int is a fresh generator
    assert not np.array_equal(distribution.sample(Rng(4, stream=1)), one[0])
    # A row's draw does not depend on how many rows follow it.
    few = Categorical(np.ascontiguousarray(distribution.logits[:50]))
    np.testing.assert_array_equal(few.sample(4), one[0][:50])
    # Row b of a later group of environments equals row 50 + b of all environments.
    later = Categorical(distribution.logits[50:])
    np.testing.assert_array_equal(later.sample_at(4, USER_STREAM, 50, 0)[0], one[0][50:])
