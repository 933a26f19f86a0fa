"""Action masks: what they forbid has probability 0 and no part in any result of a distribution or policy."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcheck import check_gradient, directional_derivative
from pgfast import nn
from pgfast.distributions import Categorical, MultiCategorical
from pgfast.losses import RowGradients
from pgfast.policies import CategoricalPolicy, GaussianPolicy, Policy, PolicyTape
from pgfast.reference import categorical as reference
from pgfast.reference import fisher_operator, policy_gradient
from policy_zoo import (
    ZOO,
    all_actions,
    make_policy,
    observations,
    reference_actions,
    reference_network,
    some_actions,
    some_mask,
)

Draw = Callable[..., NDArray[np.float64]]
AssertClose = Callable[[NDArray[Any], NDArray[np.float64]], None]
Mask = NDArray[np.bool_]
Sizes = tuple[int, ...] | None

CASES = [(1, (1,)), (7, (2,)), (33, (18,)), (4097, (5,)), (33, (3, 1, 5)), (2100, (2, 2, 2, 2))]  # rows, sizes
every_case = pytest.mark.parametrize(("rows", "sizes"), CASES, ids=str)
every_policy = pytest.mark.parametrize(
    "name", [name for name, entry in ZOO.items() if any(isinstance(part, tuple) for part in entry.parts)]
)


def draw_mask(rows: int, sizes: tuple[int, ...], rng: np.random.Generator) -> Mask:
    """Forbids about half of the actions, but not all of a group."""
    groups = [rng.random((rows, size)) < 0.5 for size in sizes]
    for group, size in zip(groups, sizes, strict=True):
        group[np.arange(rows), rng.integers(0, size, rows)] = True
    return np.concatenate(groups, axis=1)


def distribution(logits: NDArray[Any], sizes: tuple[int, ...], mask: Mask | None) -> Categorical | MultiCategorical:
    return Categorical(logits, mask) if len(sizes) == 1 else MultiCategorical(logits, sizes, mask)


def shaped(actions: NDArray[np.int64], sizes: tuple[int, ...]) -> NDArray[np.int64]:
    """Actions ``[B, K]`` as the distribution takes them."""
    return np.ascontiguousarray(actions[:, 0] if len(sizes) == 1 else actions)


def results(p: Any, q: Any, actions: NDArray[np.int64], weights: NDArray[Any]) -> list[NDArray[Any]]:
    sampled, log_prob = p.sample_with_log_prob(4)
    ratio = p.likelihood_ratio(q, actions)
    return [
        p.log_prob(actions),
        p.entropy(),
        p.kl(q),
        ratio,
        p.mode(),
        sampled,
        log_prob,
        *p.gradient(actions, *weights),
    ]


@every_case
def test_every_method_matches_the_reference(
    rows: int, sizes: tuple[int, ...], draw: Draw, rng: np.random.Generator, dtype: Any, assert_close: AssertClose
) -> None:
    logits, other, weights = 4.0 * draw(rows, sum(sizes)), draw(rows, sum(sizes)), draw(2, rows)
    mask, actions = draw_mask(rows, sizes, rng), rng.integers(0, sizes, (rows, len(sizes)))
    wider = mask | draw_mask(rows, sizes, rng)
    p, q = (distribution(x.astype(dtype), sizes, m) for x, m in ((logits, mask), (other, wider)))
    taken = shaped(actions, sizes)
    log_prob, expected = p.log_prob(taken), reference.log_prob(logits, actions, sizes, mask)
    possible = np.isfinite(expected)
    assert (log_prob[~possible] == -math.inf).all()
    if possible.any():
        assert_close(log_prob[possible], expected[possible])
    assert_close(p.entropy(), reference.entropy(logits, sizes, mask))
    assert_close(p.kl(q), reference.kl(logits, other, sizes, mask, wider))
    np.testing.assert_array_equal(p.mode(), shaped(reference.mode(logits, sizes, mask).reshape(rows, -1), sizes))
    (dlogits,) = p.gradient(taken, *weights.astype(dtype))
    assert_close(dlogits, reference.gradient(logits, actions, *weights, sizes, mask))
    assert not dlogits[~mask].any()
    if isinstance(p, Categorical):
        assert_close(p.probabilities(), reference.probabilities(logits, None, mask))
        assert not p.probabilities()[~mask].any()


def test_a_mask_equals_the_distribution_of_the_allowed_actions_bit_for_bit(draw: Draw, dtype: Any) -> None:
    allowed = np.array([1, 2, 5])
    mask = np.tile(np.isin(np.arange(7), allowed), (300, 1))
    logits, other, weights = (4.0 * draw(*shape) for shape in ((300, 7), (300, 7), (2, 300)))
    logits[:, [0, 3, 4, 6]] = 1e38  # a logit that the mask forbids does not matter
    logits, other, weights = (array.astype(dtype) for array in (logits, other, weights))
    few = np.arange(300) % 3
    masked = results(Categorical(logits, mask), Categorical(other, mask), allowed[few], weights)
    compact, compact_other = (np.ascontiguousarray(array[:, allowed]) for array in (logits, other))
    expected = results(Categorical(compact), Categorical(compact_other), few, weights)
    for index in (4, 5):  # mode and sample
        expected[index] = allowed[expected[index]]
    masked[7] = np.ascontiguousarray(masked[7][:, allowed])
    for ours, theirs in zip(masked, expected, strict=True):
        assert ours.tobytes() == theirs.tobytes()


@every_case
def test_a_mask_that_allows_everything_changes_no_bit(
    rows: int, sizes: tuple[int, ...], draw: Draw, rng: np.random.Generator, dtype: Any
) -> None:
    logits, other, weights = (draw(*s).astype(dtype) for s in ((rows, sum(sizes)), (rows, sum(sizes)), (2, rows)))
    actions, full = shaped(rng.integers(0, sizes, (rows, len(sizes))), sizes), np.ones((rows, sum(sizes)), bool)
    plain = results(distribution(logits, sizes, None), distribution(other, sizes, None), actions, weights)
    for masks in ((full, full), (full, None), (None, full)):
        p, q = distribution(logits, sizes, masks[0]), distribution(other, sizes, masks[1])
        for ours, theirs in zip(results(p, q, actions, weights), plain, strict=True):
            assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("sizes", [(6,), (2, 1, 4)])
def test_gradient_is_the_derivative_of_log_prob_and_entropy(
    sizes: tuple[int, ...], draw: Draw, rng: np.random.Generator
) -> None:
    logits, weights, mask = draw(5, sum(sizes)), draw(2, 5), draw_mask(5, sizes, rng)
    actions = distribution(logits, sizes, mask).sample(0)

    def weighted_sum(at: NDArray[np.float64]) -> float:
        p = distribution(at, sizes, mask)
        return float(weights[0] @ p.log_prob(actions) + weights[1] @ p.entropy())

    (dlogits,) = distribution(logits, sizes, mask).gradient(actions, *weights)
    check_gradient(weighted_sum, logits, dlogits.astype(np.float64))


@pytest.mark.parametrize("sizes", [(6,), (3, 5, 2)])
def test_a_million_samples_contain_no_forbidden_action(sizes: tuple[int, ...], rng: np.random.Generator) -> None:
    rows = 1_000_000
    mask = np.tile(draw_mask(1000, sizes, rng), (rows // 1000, 1))
    logits = np.where(mask, -3.0, 30.0).astype(np.float32)  # without the mask, only forbidden actions would be drawn
    actions = distribution(logits, sizes, mask).sample(8).reshape(rows, -1)
    columns = actions + np.cumsum((0, *sizes[:-1]))
    assert np.take_along_axis(mask, columns, axis=1).all()
    drawn = np.zeros_like(mask[:1000])
    np.logical_or.at(drawn, (np.arange(rows)[:, np.newaxis] % 1000, columns), True)
    np.testing.assert_array_equal(drawn, mask[:1000])


def test_forbidden_actions_have_the_limits_of_their_definitions(dtype: Any) -> None:
    logits = np.zeros((2, 3), dtype)
    narrow, wide = np.array([[True, True, False]] * 2), np.ones((2, 3), bool)
    p, q, actions = Categorical(logits, narrow), Categorical(logits, wide), np.array([2, 0])
    np.testing.assert_allclose(p.log_prob(actions), [-math.inf, -math.log(2.0)], rtol=1e-6)
    np.testing.assert_allclose(p.entropy(), math.log(2.0), rtol=1e-6)
    np.testing.assert_allclose(p.kl(q), math.log(1.5), rtol=1e-6)
    assert q.kl(p).tolist() == [math.inf, math.inf]
    unlikely = Categorical(np.array([[0.0, 0.0, -1e38]] * 2, dtype), wide)
    assert unlikely.kl(p).tolist() == [0.0, 0.0]  # probability 0 where q has 0
    np.testing.assert_allclose(p.likelihood_ratio(q, actions), [math.exp(-80.0), 1.5], rtol=1e-5)
    np.testing.assert_allclose(q.likelihood_ratio(p, actions), [math.exp(80.0), 1 / 1.5], rtol=1e-5)
    assert p.likelihood_ratio(p, actions).tolist() == [1.0, 1.0]
    (dlogits,) = p.gradient(actions, np.ones(2, dtype), np.zeros(2, dtype))
    np.testing.assert_allclose(dlogits, [[0.0, 0.0, 0.0], [0.5, -0.5, 0.0]], rtol=1e-6)
    assert p.mode().tolist() == [0, 0]
    one = Categorical(np.full((1, 3), np.finfo(dtype).max), np.array([[False, True, False]]))
    assert one.sample(0).tolist() == one.mode().tolist() == [1]
    assert one.entropy().tolist() == one.kl(one).tolist() == one.log_prob(np.array([1])).tolist() == [0.0]


LOGITS = np.zeros((5, 5), np.float32)


def mask_without(row: int, *columns: int) -> Mask:
    mask = np.ones((5, 5), bool)
    mask[row, columns] = False
    return mask


@pytest.mark.parametrize(
    ("mask", "error", "text"),
    [
        (
            mask_without(3, 0, 1),
            ValueError,
            "mask must allow at least one action in every group, row 3 group 0 allows none",
        ),
        (
            mask_without(1, 2, 3, 4),
            ValueError,
            "mask must allow at least one action in every group, row 1 group 1 allows none",
        ),
        (np.ones((5, 5), np.uint8), TypeError, "mask must be bool, got uint8"),
        (np.ones((4, 5), bool), ValueError, "mask must have shape ({}) = (5, 5), got (4, 5)"),
        (np.ones((5, 6), bool)[:, :5], ValueError, "mask must be C-contiguous; use np.ascontiguousarray"),
        ([True], TypeError, "mask must be a NumPy array, got list"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask: Any, error: type[Exception], text: str) -> None:
    p, actions = MultiCategorical(LOGITS, (2, 3), mask), np.zeros((5, 2), np.int64)
    with pytest.raises(error, match=f"^MultiCategorical.entropy: {re.escape(text.format('B, sum(sizes)'))}$"):
        p.entropy()
    with pytest.raises(error, match=rf"^MultiCategorical.kl: other\.{re.escape(text.format('B, sum(sizes)'))}$"):
        MultiCategorical(LOGITS, (2, 3)).kl(p)
    policy, obs = CategoricalPolicy(nn.mlp(2, 5, ()), (2, 3)), np.zeros((5, 2), np.float32)
    tape, rows = PolicyTape(policy, 5), RowGradients(np.ones(5, np.float32))
    for name, call in (
        ("act", lambda: policy.act(obs, 0, mask)),
        ("act", lambda: tape.act(obs, 0, actions, rows.log_prob, key=(0, 2, 0, 0), mask=mask)),
        ("scores", lambda: policy.scores(obs, actions, mask)),
        ("gradient", lambda: policy.gradient(obs, actions, rows, mask=mask)),
        ("fisher_operator", lambda: policy.fisher_operator(obs, mask=mask)),
    ):
        with pytest.raises(error, match=rf"^Policy\.{name}: {re.escape(text.format('B, M'))}$"):
            call()


def test_a_gaussian_policy_refuses_a_mask() -> None:
    policy, obs, mask = GaussianPolicy(nn.mlp(2, 3, ())), np.zeros((5, 2), np.float32), np.ones((5, 3), bool)
    for call in (lambda: policy.act(obs, 0, mask), lambda: policy.distribution(obs, mask)):
        with pytest.raises(ValueError, match=r": mask must be None: the (policy|family) has no choices$"):
            call()


@every_policy
def test_the_policy_and_its_tape_draw_from_the_masked_distribution(name: str, dtype: Any) -> None:
    policy, obs = make_policy(name, dtype), observations(name, 40, dtype)
    mask = some_mask(policy, 40)
    p = policy.distribution(obs, mask)
    actions, log_prob = policy.act(obs, 3, mask)
    np.testing.assert_array_equal(actions, p.sample(3))
    np.testing.assert_array_equal(log_prob, p.log_prob(actions))
    assert np.isfinite(log_prob).all()
    tape, tape_actions, tape_log_prob = PolicyTape(policy, 40), np.zeros_like(actions), np.zeros_like(log_prob)
    for rows in (slice(0, 13), slice(13, 40)):
        key = (5, 2, rows.start, 7)
        tape.act(obs[rows], rows.start, tape_actions[rows], tape_log_prob[rows], key=key, mask=mask[rows])
    np.testing.assert_array_equal(tape_actions, p.sample_at(5, 2, 0, 7)[0])
    np.testing.assert_array_equal(tape_log_prob, tape.distribution(40, mask).log_prob(tape_actions))


def entropy_and_value_rows(policy: Policy, rows: int, dtype: Any, rng: np.random.Generator) -> RowGradients:
    log_prob, entropy, values = rng.standard_normal((3, rows), np.float32).astype(dtype)
    return RowGradients(log_prob, entropy, values if policy.has_value_head else None)


@every_policy
def test_policy_gradient_and_scores_match_finite_differences(name: str, rng: np.random.Generator) -> None:
    policy, obs = make_policy(name), observations(name, 4)
    mask, rows, at = some_mask(policy, 4), entropy_and_value_rows(policy, 4, np.float64, rng), policy.parameters.copy()
    actions = some_actions(policy, obs, mask)

    def objective(parameters: NDArray[np.float64]) -> float:
        policy.parameters[:] = parameters
        p = policy.distribution(obs, mask)
        total = rows.log_prob @ p.log_prob(actions) + rows.entropy @ p.entropy()
        return float(total if rows.values is None else total + rows.values @ policy.values(obs))

    def log_prob(parameters: NDArray[np.float64]) -> NDArray[Any]:
        policy.parameters[:] = parameters
        return policy.distribution(obs, mask).log_prob(actions)

    gradient, scores = policy.gradient(obs, actions, rows, mask=mask), policy.scores(obs, actions, mask)
    check_gradient(objective, at, gradient)
    for direction in rng.standard_normal((3, at.size)):
        derivative = directional_derivative(log_prob, at, direction)
        np.testing.assert_allclose(scores @ direction, derivative, rtol=1e-6, atol=1e-7)


@every_policy
def test_policy_gradient_and_fisher_products_match_the_reference(
    name: str, rng: np.random.Generator, dtype: Any, assert_close: AssertClose
) -> None:
    policy, obs, entry = make_policy(name, dtype), observations(name, 300, dtype), ZOO[name]
    mask, rows = some_mask(policy, 300), entropy_and_value_rows(policy, 300, dtype, rng)
    actions, graph = some_actions(policy, obs, mask), reference_network(name, policy, obs)
    weights = [None if part is None else part.astype(np.float64) for part in rows]
    components, parts = entry.components(policy), reference_actions(policy, actions)
    expected = policy_gradient.gradient(*graph, components, parts, *weights, mask)  # type: ignore[arg-type]
    assert_close(policy.gradient(obs, actions, rows, mask=mask), expected)
    tape = PolicyTape(policy, 300)
    tape.record(obs)
    assert_close(policy.gradient(tape, actions, rows, mask=mask), expected)
    v = rng.standard_normal(policy.parameters.size, np.float32)
    product = fisher_operator.product(*graph, components, v.astype(np.float64), 0.25, mask)
    assert_close(policy.fisher_vector_product(obs, v.astype(dtype), 0.25, mask=mask), product)


@every_policy
def test_the_fisher_operator_is_the_expected_product_of_scores_of_allowed_actions(name: str) -> None:
    policy, obs = make_policy(name), observations(name, 9)
    mask, size = some_mask(policy, 9), policy.parameters.size
    explicit, expected_score = np.zeros((size, size)), np.zeros(size)
    for actions, weights in all_actions(policy, obs, mask):
        scores = policy.scores(obs, actions, mask)
        explicit += (weights[:, np.newaxis] * scores).T @ scores / len(obs)
        expected_score += weights @ scores
    operator = policy.fisher_operator(obs, mask=mask)
    implicit = np.stack([operator(unit) for unit in np.eye(size)], axis=1)
    np.testing.assert_allclose(implicit, explicit, rtol=0.0, atol=1e-10 * max(1e-2, np.abs(explicit).max()))
    np.testing.assert_allclose(expected_score, 0.0, rtol=0.0, atol=1e-11)
    assert np.abs(implicit - [policy.fisher_operator(obs)(unit) for unit in np.eye(size)]).max() > 1e-3


def test_a_logit_that_is_never_allowed_has_zero_gradient_and_fisher_entries(dtype: Any) -> None:
    policy = CategoricalPolicy(nn.mlp(3, 6, (), dtype=dtype), (2, 4), initialize=False)
    obs, forbidden = np.random.default_rng(0).standard_normal((50, 3)).astype(dtype), [1, 4]
    mask = np.tile(~np.isin(np.arange(6), forbidden), (50, 1))
    actions, ones = some_actions(policy, obs, mask), np.ones(50, dtype)
    touched = np.isin(np.arange(policy.parameters.size) % 6, forbidden)  # weight [3, 6], bias [6]
    gradient = policy.gradient(obs, actions, RowGradients(ones, ones), mask=mask)
    assert not gradient[touched].any()
    assert gradient[~touched].any()
    assert not policy.scores(obs, actions, mask)[:, touched].any()
    product = policy.fisher_operator(obs, mask=mask)(np.ones(policy.parameters.size, dtype) + touched)
    assert not product[touched].any()


@pytest.mark.parametrize("rows", [1, 5000])
def test_results_do_not_depend_on_thread_count(rows: int, dtype: Any, num_threads: Callable[[int], None]) -> None:
    policy, obs = make_policy("multi-categorical", dtype), observations("multi-categorical", rows, dtype)
    mask, v, ones = some_mask(policy, rows), np.ones(policy.parameters.size, dtype), np.ones(rows, dtype)
    found = []
    for threads in (1, 2, 3, 8):
        num_threads(threads)
        actions, log_prob = policy.act(obs, 1, mask)
        gradient = policy.gradient(obs, actions, RowGradients(ones, ones), mask=mask)
        product = policy.fisher_vector_product(obs, v, mask=mask)
        found.append([part.tobytes() for part in (actions, log_prob, gradient, product)])
    assert all(other == found[0] for other in found)
