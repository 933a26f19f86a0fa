"""distributions.MultiCategorical."""

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
from pgfast.reference import multi_categorical as reference
from pgfast.reference import random

Draw = Callable[..., NDArray[np.float64]]
AssertClose = Callable[[NDArray[Any], NDArray[np.float64]], None]
Case = tuple[NDArray[np.float64], tuple[int, ...], NDArray[np.int64]]

USER_STREAM = 16  # pgfast.Rng(seed, stream) draws from stream 16 + stream


def some_actions(sizes: tuple[int, ...], rows: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.integers(0, sizes, (rows, len(sizes)))


@pytest.fixture(params=[(1, (1,)), (5, (4,)), (33, (3, 1, 5)), (2100, (2, 2, 2, 2))], ids=str)
def case(request: pytest.FixtureRequest, draw: Draw, rng: np.random.Generator) -> Case:
    rows, sizes = request.param
    return 3.0 * draw(rows, sum(sizes)), sizes, some_actions(sizes, rows, rng)


def test_every_method_matches_the_reference(case: Case, draw: Draw, dtype: Any, assert_close: AssertClose) -> None:
    logits, sizes, actions = case
    other, weights = draw(*logits.shape), draw(2, len(logits))
    p, q = (MultiCategorical(array.astype(dtype), sizes) for array in (logits, other))
    assert_close(p.log_prob(actions), reference.log_prob(logits, sizes, actions))
    assert_close(p.entropy(), reference.entropy(logits, sizes))
    assert_close(p.kl(q), reference.kl(logits, sizes, other))
    log_ratio = reference.log_prob(logits, sizes, actions) - reference.log_prob(other, sizes, actions)
    assert_close(p.likelihood_ratio(q, actions), np.exp(log_ratio))
    (dlogits,) = p.gradient(actions, *weights.astype(dtype))
    assert_close(dlogits, reference.gradient(logits, sizes, actions, *weights))
    (without,) = p.gradient(actions, weights[0].astype(dtype))
    assert_close(without, reference.gradient(logits, sizes, actions, weights[0], np.zeros(len(logits))))
    mode = p.mode()
    np.testing.assert_array_equal(mode, reference.mode(logits, sizes))
    assert mode.dtype == np.int64


def test_sample_matches_the_reference(case: Case, dtype: Any, assert_close: AssertClose) -> None:
    logits, sizes, _ = case
    logits = logits[:200]
    generator = Rng(77, stream=3)
    generator.position = 5
    actions, log_prob = MultiCategorical(logits.astype(dtype), sizes).sample_with_log_prob(generator)
    numbers = [
        [random.uniform(random.block_of(77, USER_STREAM + 3, row, 5, group)) for group in range(len(sizes))]
        for row in range(len(logits))
    ]
    np.testing.assert_array_equal(actions, reference.sample(logits, sizes, np.array(numbers)))
    assert actions.dtype == np.int64
    assert_close(log_prob, reference.log_prob(logits, sizes, actions))


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


def test_groups_are_one_choice_in_the_product_space(draw: Draw, rng: np.random.Generator) -> None:
    sizes, rows = (2, 3, 4), 50
    logits, other = draw(rows, 9), draw(rows, 9)

    def product(logits: NDArray[np.float64]) -> Categorical:
        a, b, c = np.split(logits, [2, 5], axis=1)
        return Categorical((a[:, :, None, None] + b[:, None, :, None] + c[:, None, None, :]).reshape(rows, 24))

    actions = some_actions(sizes, rows, rng)
    flat = np.ravel_multi_index(tuple(actions.T), sizes)
    p, q = MultiCategorical(logits, sizes), MultiCategorical(other, sizes)
    np.testing.assert_allclose(p.log_prob(actions), product(logits).log_prob(flat), rtol=1e-12)
    np.testing.assert_allclose(p.entropy(), product(logits).entropy(), rtol=1e-12)
    np.testing.assert_allclose(p.kl(q), product(logits).kl(product(other)), rtol=1e-11)
    best = np.ravel_multi_index(tuple(p.mode().T), sizes)
    np.testing.assert_array_equal(best, product(logits).mode())


def test_gradient_is_that_of_log_prob_and_entropy(draw: Draw, rng: np.random.Generator) -> None:
    sizes = (2, 1, 4)
    logits, weights, actions = draw(4, 7), draw(2, 4), some_actions(sizes, 4, rng)

    def weighted_sum(at: NDArray[np.float64]) -> float:
        distribution = MultiCategorical(at, sizes)
        return float(weights[0] @ distribution.log_prob(actions) + weights[1] @ distribution.entropy())

    (dlogits,) = MultiCategorical(logits, sizes).gradient(actions, *weights)
    check_gradient(weighted_sum, logits, dlogits.astype(np.float64))


def test_sizes_of_two_are_bernoulli(draw: Draw) -> None:
    x = draw(40, 3)
    logits = np.stack([np.zeros((40, 3)), x], axis=2).reshape(40, 6)
    log_prob = MultiCategorical(logits, np.full(3, 2)).log_prob(np.ones((40, 3), np.int64))
    np.testing.assert_allclose(log_prob, -np.log1p(np.exp(-x)).sum(axis=1), rtol=1e-12)


def test_groups_are_drawn_independently(dtype: Any) -> None:
    rows, p, q = 100_000, np.array([0.7, 0.3]), np.array([0.5, 0.3, 0.2])
    logits = np.tile(np.log(np.concatenate([p, q])), (rows, 1)).astype(dtype)
    actions = MultiCategorical(logits, (2, 3)).sample(3)
    counts = np.bincount(actions[:, 0] * 3 + actions[:, 1], minlength=6)
    expected = rows * np.outer(p, q).reshape(-1)
    assert np.sum((counts - expected) ** 2 / expected) < 20.5  # the 99.9 % quantile of 5 degrees of freedom


def test_extremes_are_exact_or_infinite(dtype: Any) -> None:
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
