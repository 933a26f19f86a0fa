"""policies.Policy.gradient and scores: from the gradients of rows to the gradient of the parameters."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from gradcheck import check_gradient, directional_derivative
from pgfast import nn
from pgfast.losses import RowGradients
from pgfast.policies import ActorCritic, CategoricalPolicy, Policy, PolicyTape
from pgfast.reference import policy_gradient as reference
from policy_zoo import (
    ZOO,
    all_actions,
    make_policy,
    observations,
    reference_actions,
    reference_network,
    some_actions,
)

AssertClose = Callable[[NDArray[Any], NDArray[np.float64]], None]

every_policy = pytest.mark.parametrize("name", ZOO)


@every_policy
def test_scores_are_the_gradients_of_log_prob(name: str, rng: np.random.Generator) -> None:
    policy, obs = make_policy(name), observations(name, 6)
    actions, at = some_actions(policy, obs), policy.parameters.copy()

    def log_prob(parameters: NDArray[np.float64]) -> NDArray[Any]:
        policy.parameters[:] = parameters
        return policy.distribution(obs).log_prob(actions)

    scores = policy.scores(obs, actions)
    assert scores.shape == (6, at.size)
    for direction in rng.standard_normal((5, at.size)):
        derivative = directional_derivative(log_prob, at, direction)
        np.testing.assert_allclose(scores @ direction, derivative, rtol=1e-6, atol=1e-7)


def row_gradients(policy: Policy, rows: int, dtype: Any, rng: np.random.Generator) -> RowGradients:
    """Draws row gradients that float32 represents exactly; every seventh row is zero, as an invalid row is."""
    log_prob, entropy, values = rng.standard_normal((3, rows), np.float32).astype(dtype)
    for numbers in (log_prob, entropy, values):
        numbers[3::7] = 0.0
    return RowGradients(log_prob, entropy, values if policy.has_value_head else None)


@every_policy
def test_output_gradients_lead_to_the_gradient(name: str, rng: np.random.Generator, dtype: Any) -> None:
    policy, obs = make_policy(name, dtype), observations(name, 40, dtype)
    actions, rows = some_actions(policy, obs), row_gradients(policy, 40, dtype, rng)
    expected = policy.gradient(obs, actions, rows)[: policy.network.parameters.size]
    tape = PolicyTape(policy, 50)
    tape.record(obs)
    for at in (obs, tape):
        found = policy.output_gradients(at, actions, rows)
        assert found.shape == (40, policy.network.output_size)
        np.testing.assert_array_equal(policy.network.vjp(obs, found), expected)


@every_policy
@pytest.mark.parametrize("parts", ["log_prob", "entropy", "all"])
def test_gradient_matches_finite_differences(name: str, parts: str, rng: np.random.Generator) -> None:
    policy, obs = make_policy(name), observations(name, 4)
    actions, at = some_actions(policy, obs), policy.parameters.copy()
    rows = row_gradients(policy, 4, np.float64, rng)
    if parts != "all":
        rows = RowGradients(rows.log_prob, rows.entropy if parts == "entropy" else None)

    def objective(parameters: NDArray[np.float64]) -> float:
        policy.parameters[:] = parameters
        distribution = policy.distribution(obs)
        total = rows.log_prob @ distribution.log_prob(actions)
        if rows.entropy is not None:
            total += rows.entropy @ distribution.entropy()
        if rows.values is not None:
            total += rows.values @ policy.values(obs)
        return float(total)

    check_gradient(objective, at, policy.gradient(obs, actions, rows))


@every_policy
def test_gradient_matches_the_reference(
    name: str, rng: np.random.Generator, dtype: Any, assert_close: AssertClose
) -> None:
    policy, obs, entry = make_policy(name, dtype), observations(name, 300, dtype), ZOO[name]
    actions, rows = some_actions(policy, obs), row_gradients(policy, 300, dtype, rng)
    weights = [None if part is None else part.astype(np.float64) for part in rows]
    expected = reference.gradient(
        *reference_network(name, policy, obs),
        entry.components(policy),
        reference_actions(policy, actions),
        *weights,  # type: ignore[arg-type]
    )
    assert_close(policy.gradient(obs, actions, rows), expected)


@every_policy
def test_gradient_is_the_weighted_sum_of_scores(name: str, rng: np.random.Generator, dtype: Any) -> None:
    policy, obs = make_policy(name, dtype), observations(name, 90, dtype)
    actions, weights = some_actions(policy, obs), rng.standard_normal(90).astype(dtype)
    gradient, scores = policy.gradient(obs, actions, RowGradients(weights)), policy.scores(obs, actions)
    assert gradient.dtype == scores.dtype == dtype
    tolerance = (2e-4 if dtype == np.float32 else 1e-11) * max(1.0, float(np.abs(scores).max()))
    np.testing.assert_allclose(gradient, weights @ scores, rtol=0.0, atol=tolerance)


@every_policy
def test_the_expected_score_is_zero(name: str) -> None:
    policy, obs = make_policy(name), observations(name, 9)
    expected, largest = np.zeros((9, policy.parameters.size)), 0.0
    for actions, weights in all_actions(policy, obs):
        scores = policy.scores(obs, actions)
        expected += weights[:, np.newaxis] * scores
        largest = max(largest, float(np.abs(scores).max()))
    np.testing.assert_allclose(expected, 0.0, rtol=0.0, atol=1e-12 * largest)


@every_policy
def test_two_halves_sum_to_the_whole(name: str, rng: np.random.Generator) -> None:
    policy, obs = make_policy(name), observations(name, 60)
    actions, rows = some_actions(policy, obs), row_gradients(policy, 60, np.float64, rng)
    whole = policy.gradient(obs, actions, rows)
    halves = [
        policy.gradient(obs[part], actions[part], RowGradients(*(None if row is None else row[part] for row in rows)))  # type: ignore[arg-type]
        for part in (slice(0, 25), slice(25, 60))
    ]
    np.testing.assert_allclose(sum(halves), whole, rtol=0.0, atol=1e-13 * max(1.0, float(np.abs(whole).max())))


@every_policy
def test_a_tape_computes_the_gradient_without_the_observations(name: str, rng: np.random.Generator, dtype: Any) -> None:
    policy, obs = make_policy(name, dtype), observations(name, 40, dtype)
    tape, actions = PolicyTape(policy, 44), some_actions(policy, obs)
    rows = row_gradients(policy, 40, dtype, rng)
    expected = policy.gradient(obs, actions, rows)
    first = RowGradients(*(None if part is None else part[:7] for part in rows))  # type: ignore[arg-type]
    expected_first = policy.gradient(obs[:7], actions[:7], first)
    tape.record(obs[:13])
    tape.record(obs[13:], 13)
    obs[:] = 0
    out = np.full_like(policy.parameters, np.nan)
    assert policy.gradient(tape, actions, rows, out=out) is out
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(policy.gradient(tape, actions[:7], first), expected_first)


@pytest.mark.parametrize("name", ["actor-critic-discrete", "actor-critic-multi-discrete", "actor-critic-box"])
def test_rows_of_zeros_do_not_contribute_to_the_gradient(name: str, rng: np.random.Generator, dtype: Any) -> None:
    policy, obs = make_policy(name, dtype), observations(name, 50, dtype)
    actions, rows = some_actions(policy, obs), row_gradients(policy, 50, dtype, rng)
    expected = policy.gradient(obs, actions, rows)
    actions[3::7] = 1
    np.testing.assert_array_equal(policy.gradient(obs, actions, rows), expected)
    nothing = RowGradients(*np.zeros((3, 50), dtype))
    assert not policy.gradient(obs, actions, nothing).any()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"actions": np.array([0, 3])}, ValueError, "actions must be in [0, 3), got 3 at row 1"),
        ({"actions": np.zeros(2)}, TypeError, "actions must be int64, got float64"),
        ({"actions": np.zeros((2, 1), np.int64)}, ValueError, "actions must have shape (B,) = (2,), got (2, 1)"),
        ({"log_prob": np.zeros(2)}, TypeError, "rows.log_prob must be float32, got float64"),
        ({"entropy": np.zeros(3, np.float32)}, ValueError, "rows.entropy must have shape (B,) = (2,), got (3,)"),
        ({"values": np.full(2, np.nan, np.float32)}, ValueError, "rows.values must be finite, got nan at flat index 0"),
        ({"out": np.zeros(19, np.float32)}, ValueError, "out must have shape (P,) = (20,), got (19,)"),
        ({"out": np.zeros(20)}, TypeError, "out must be float32, got float64"),
        ({"at": None}, TypeError, "x must be a NumPy array, got NoneType"),
        ({"at": np.zeros((2, 5), np.float32)}, ValueError, "x must have shape (B, 4), got (2, 5)"),
        ({"at": PolicyTape(CategoricalPolicy(nn.mlp(4, 4, ())), 2)}, ValueError, "tape was made for another network"),
        (
            {"at": nn.Tape(nn.mlp(4, 4, (), dtype=np.float64), 2)},
            ValueError,
            "tape was made for another network",
        ),
    ],
)
def test_gradient_refuses_arguments_that_do_not_fit(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    policy = ActorCritic(nn.mlp(4, 4, ()), spaces.Discrete(3))
    valid = {"at": np.zeros((2, 4), np.float32), "actions": np.array([0, 2]), "log_prob": np.ones(2, np.float32)}
    arguments = valid | arguments
    rows = RowGradients(arguments["log_prob"], arguments.get("entropy"), arguments.get("values"))
    with pytest.raises(error, match=rf"^Policy.gradient: {re.escape(text)}$"):
        policy.gradient(arguments["at"], arguments["actions"], rows, out=arguments.get("out"))


def test_gradient_needs_recorded_rows_and_a_value_head_for_values() -> None:
    policy, ones = CategoricalPolicy(nn.mlp(4, 3, ())), np.ones(3, np.float32)
    tape, obs, actions = PolicyTape(policy, 4), np.zeros((2, 4), np.float32), np.zeros(3, np.int64)
    tape.record(obs)
    with pytest.raises(ValueError, match=r"^Policy.gradient: actions has 3 rows, but the tape has recorded 2$"):
        policy.gradient(tape, actions, RowGradients(ones))
    with pytest.raises(ValueError, match=r"^Policy.gradient: rows.values must be None: the policy has no value head$"):
        policy.gradient(tape, actions[:2], RowGradients(ones[:2], None, ones[:2]))
    with pytest.raises(ValueError, match=r"^Policy.gradient: out must not share memory with parameters$"):
        policy.gradient(tape, actions[:2], RowGradients(ones[:2]), out=policy.parameters)
    with pytest.raises(ValueError, match=r"^Policy.values: the policy has no value head$"):
        policy.values(obs)
