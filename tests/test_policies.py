"""policies: CategoricalPolicy, GaussianPolicy and ActorCritic, and the tape that keeps their forward passes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

import pgfast
from gradcheck import check_gradient, directional_derivative
from pgfast import nn
from pgfast.distributions import Categorical, DiagGaussian, MultiCategorical
from pgfast.nn import Network
from pgfast.policies import ActorCritic, CategoricalPolicy, GaussianPolicy, Policy, PolicyTape, family_of
from policy_zoo import ZOO, make_policy, observations, some_actions

name_of_policy = pytest.mark.parametrize("name", ZOO)


@name_of_policy
def test_the_distribution_takes_the_first_outputs(name: str, dtype: Any) -> None:
    policy, obs, entry = make_policy(name, dtype), observations(name, 7, dtype), ZOO[name]
    outputs, distribution = policy.network.forward(obs), policy.distribution(obs)
    if isinstance(distribution, DiagGaussian):
        np.testing.assert_array_equal(distribution.mean, outputs[:, : entry.components])
        own = policy.parameters[policy.network.parameters.size :]
        log_std = own if own.size else outputs[:, entry.components : 2 * entry.components]
        np.testing.assert_array_equal(distribution.log_std, log_std)
    else:
        assert isinstance(distribution, Categorical | MultiCategorical)
        np.testing.assert_array_equal(distribution.logits, outputs[:, : sum(entry.sizes)])
        if isinstance(distribution, MultiCategorical):
            assert distribution.sizes == entry.sizes


@name_of_policy
def test_the_parameters_are_one_vector(name: str, dtype: Any) -> None:
    policy, obs = make_policy(name, dtype), observations(name, 3, dtype)
    network = policy.network
    assert np.shares_memory(policy.parameters, network.parameters)
    assert policy.parameters.dtype == dtype
    assert policy.parameters.flags.c_contiguous
    np.testing.assert_array_equal(policy.parameters[: network.parameters.size], network.parameters)
    size = 0
    for block in policy.layout:
        assert block.slice == slice(size, size + np.prod(block.shape))
        size = block.slice.stop
    assert size == policy.parameters.size == network.parameters.size + policy.family.own_parameters
    old = policy.distribution(obs)
    before = old.entropy()
    policy.parameters[:] = policy.parameters * 0.5 + 1.0
    np.testing.assert_array_equal(old.entropy(), before)
    assert (policy.distribution(obs).kl(old) > 0.0).all()


@name_of_policy
def test_actions_and_their_log_probabilities(name: str, dtype: Any) -> None:
    policy, obs = make_policy(name, dtype), observations(name, 5, dtype)
    rng = pgfast.Rng(3)
    actions, log_prob = policy.act(obs, rng)
    assert rng.position == 1
    assert actions.dtype == policy.family.action_dtype(dtype)
    assert actions.shape == (5, *policy.family.action_shape)
    np.testing.assert_array_equal(log_prob, policy.distribution(obs).log_prob(actions))
    again, _ = policy.act(obs, 3)
    np.testing.assert_array_equal(actions, again)


@name_of_policy
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


@name_of_policy
@pytest.mark.parametrize("with_entropy", [False, True], ids=["log_prob", "and-entropy"])
def test_gradient_by_finite_differences(name: str, with_entropy: bool, rng: np.random.Generator) -> None:
    policy, obs = make_policy(name), observations(name, 4)
    actions, at = some_actions(policy, obs), policy.parameters.copy()
    weights = rng.standard_normal(4)
    weight_entropy = rng.standard_normal(4) if with_entropy else None

    def objective(parameters: NDArray[np.float64]) -> float:
        policy.parameters[:] = parameters
        distribution = policy.distribution(obs)
        entropy = 0.0 if weight_entropy is None else weight_entropy @ distribution.entropy()
        return float(weights @ distribution.log_prob(actions) + entropy)

    check_gradient(objective, at, policy.gradient(obs, actions, weights, weight_entropy))


@name_of_policy
def test_gradient_is_the_weighted_sum_of_scores(name: str, rng: np.random.Generator, dtype: Any) -> None:
    policy, obs = make_policy(name, dtype), observations(name, 90, dtype)
    actions, weights = some_actions(policy, obs), rng.standard_normal(90).astype(dtype)
    gradient, scores = policy.gradient(obs, actions, weights), policy.scores(obs, actions)
    assert gradient.dtype == scores.dtype == dtype
    tolerance = (2e-4 if dtype == np.float32 else 1e-11) * max(1.0, float(np.abs(scores).max()))
    np.testing.assert_allclose(gradient, weights @ scores, rtol=0.0, atol=tolerance)


@name_of_policy
def test_the_tape_acts_and_goes_back(name: str, rng: np.random.Generator, dtype: Any) -> None:
    policy, obs = make_policy(name, dtype), observations(name, 40, dtype)
    tape = PolicyTape(policy, 44)
    actions = np.zeros((40, *policy.family.action_shape), policy.family.action_dtype(dtype))
    for rows in (slice(0, 13), slice(13, 40)):
        tape.act(obs[rows], rows.start, actions[rows], seed=5, stream=2, environment=rows.start, step=1 << 40)
    np.testing.assert_array_equal(tape.outputs[:40], policy.network.forward(obs))
    np.testing.assert_array_equal(actions, policy.distribution(obs).sample_at(5, 2, 0, 1 << 40)[0])

    doutputs = rng.standard_normal((40, policy.network.output_size)).astype(dtype)
    own = rng.standard_normal(policy.family.own_parameters).astype(dtype)
    gradient, size = np.full_like(policy.parameters, np.nan), policy.network.parameters.size
    tape.vjp(obs, doutputs, gradient, own)
    np.testing.assert_array_equal(gradient, np.concatenate([policy.network.vjp(obs, doutputs), own]))
    tape.vjp(obs, doutputs, gradient)
    assert not gradient[size:].any()

    tape.record(obs[:2], 42)
    np.testing.assert_array_equal(tape.outputs[42:], tape.outputs[:2])


def test_the_tape_refuses_what_does_not_fit() -> None:
    policy = GaussianPolicy(nn.mlp(3, 2, (4,)))
    tape, obs = PolicyTape(policy, 4), np.zeros((4, 3), np.float32)
    names = {"seed": 0, "stream": 2, "environment": 0, "step": 0}
    with pytest.raises(ValueError, match=r"^Policy.act: actions must have shape \(B, A\) = \(4, 2\), got \(4, 3\)$"):
        tape.act(obs, 0, np.zeros((4, 3), np.float32), **names)
    with pytest.raises(TypeError, match=r"^Policy.act: actions must be float32, got int64$"):
        tape.act(obs, 0, np.zeros((4, 2), np.int64), **names)
    with pytest.raises(ValueError, match=r"^PolicyTape.vjp: gradient must have shape \(P,\) = \(28,\), got \(26,\)$"):
        tape.vjp(obs, np.zeros((4, 2), np.float32), np.zeros(26, np.float32))
    policy.parameters[-1] = 200.0
    with pytest.raises(ValueError, match=r"^Policy.act: sampled actions must be finite, got -?inf at flat index "):
        tape.act(obs, 0, np.zeros((4, 2), np.float32), **names)
    policy.parameters[-1] = np.nan
    with pytest.raises(ValueError, match=r"^Policy.act: log_std must be finite, got nan at flat index 1$"):
        tape.act(obs, 0, np.zeros((4, 2), np.float32), **names)


def weight_and_bias(network: Network) -> tuple[NDArray[Any], NDArray[Any]]:
    weight, bias = network.layout[-2:]
    return network.parameters[weight.slice].reshape(weight.shape), network.parameters[bias.slice]


@pytest.mark.parametrize(
    ("make", "outputs", "columns"),
    [
        (CategoricalPolicy, 5, 5),
        (lambda n, **k: CategoricalPolicy(n, (2, 3), **k), 5, 5),
        (GaussianPolicy, 3, 3),
        (lambda n, **k: GaussianPolicy(n, -0.7, state_dependent_std=True, **k), 4, 4),
        (lambda n, **k: ActorCritic(n, spaces.Discrete(4), **k), 5, 4),
        (lambda n, **k: ActorCritic(n, spaces.MultiBinary(2), **k), 5, 4),
        (lambda n, **k: ActorCritic(n, spaces.Box(-1, 1, (2, 2)), log_std_init=-0.7, **k), 5, 4),
    ],
    ids=["categorical", "multi", "gaussian", "state-std", "critic", "critic-binary", "critic-box"],
)
def test_a_new_policy_is_nearly_uniform(make: Callable[..., Policy], outputs: int, columns: int, dtype: Any) -> None:
    plain = nn.mlp(3, outputs, (8,), dtype=dtype, seed=4)
    policy = make(nn.mlp(3, outputs, (8,), dtype=dtype, seed=4))
    before, _ = weight_and_bias(plain)
    weight, bias = weight_and_bias(policy.network)
    scale = np.ones(outputs, dtype)
    scale[:columns] = 0.01
    np.testing.assert_allclose(weight, before * scale, rtol=1e-6)
    expected = np.zeros(outputs, dtype)
    if getattr(policy.family, "state_dependent_std", False):
        expected[2:] = -0.7
    np.testing.assert_array_equal(bias, expected)
    kept = make(nn.mlp(3, outputs, (8,), dtype=dtype, seed=4), initialize=False)
    np.testing.assert_array_equal(kept.network.parameters, plain.parameters)
    if kept.family.own_parameters:
        initial = dtype(-0.7) if isinstance(kept, ActorCritic) else dtype(0.0)
        assert (kept.parameters[plain.parameters.size :] == initial).all()


def test_the_log_std_of_a_gaussian_policy() -> None:
    policy = GaussianPolicy(nn.mlp(3, 2, dtype=np.float64), 0.25)
    np.testing.assert_array_equal(policy.log_std, [0.25, 0.25])
    policy.log_std[1] = -1.0
    assert policy.parameters[-1] == -1.0
    obs = np.zeros((2, 3))
    log_std = policy.distribution(obs).log_std
    np.testing.assert_array_equal(log_std, [0.25, -1.0])
    policy.parameters[-2:] = 3.0
    np.testing.assert_array_equal(log_std, [0.25, -1.0])
    assert GaussianPolicy(nn.mlp(3, 2), state_dependent_std=True).log_std.size == 0


def test_the_family_of_a_space() -> None:
    for space, columns, shape in (
        (spaces.Discrete(3, start=1), 3, ()),
        (spaces.MultiDiscrete([2, 4]), 6, (2,)),
        (spaces.MultiDiscrete([[2, 4], [3, 1]]), 10, (4,)),
        (spaces.MultiBinary(3), 6, (3,)),
        (spaces.MultiBinary([2, 2]), 8, (4,)),
        (spaces.Box(-1.0, 1.0, (2, 3)), 6, (6,)),
    ):
        family = family_of(space)
        assert (family.columns, family.action_shape) == (columns, shape)
    assert family_of(spaces.Box(-1.0, 1.0, (3,)), state_dependent_std=True).columns == 6
    for other in (spaces.Box(0, 255, (3,), np.uint8), spaces.Text(3), spaces.Dict({})):
        with pytest.raises(
            ValueError, match=r"^the action space must be Discrete, MultiDiscrete, MultiBinary or a Box "
        ):
            family_of(other)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: CategoricalPolicy(nn.mlp(3, 4), (2, 3)),
            "CategoricalPolicy: the network must have sum(sizes) = 5 outputs, got 4",
        ),
        (lambda: CategoricalPolicy(nn.mlp(3, 4), (5, 0)), "Family: sizes must be at least 1, and their sum at most "),
        (lambda: CategoricalPolicy(nn.mlp(3, 4), ()), "Family: sizes must not be empty"),
        (
            lambda: GaussianPolicy(nn.mlp(3, 3), state_dependent_std=True),
            "GaussianPolicy: with state_dependent_std the network must have 2 A outputs (means, then log_std), got 3",
        ),
        (lambda: GaussianPolicy(nn.mlp(3, 3), np.nan), "GaussianPolicy: log_std_init must be finite, got nan"),
        (
            lambda: ActorCritic(nn.mlp(3, 3), spaces.Discrete(3)),
            "ActorCritic: the network must have A + 1 = 4 outputs (the policy's, then the value), got 3",
        ),
        (
            lambda: ActorCritic(nn.mlp(3, 3), spaces.Box(-1, 1, (2,)), log_std_init=np.inf),
            "ActorCritic: log_std_init must be finite, got inf",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make: Callable[[], Policy], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}"):
        make()


def test_the_value_of_an_actor_critic_over_real_actions(dtype: Any) -> None:
    policy, obs = make_policy("actor-critic-box", dtype), observations("actor-critic-box", 6, dtype)
    assert isinstance(policy, ActorCritic)
    np.testing.assert_array_equal(policy.values(obs), policy.network.forward(obs)[:, 2])


def test_moved_parameters_are_a_view() -> None:
    network = nn.mlp(3, 2, (4,), dtype=np.float64)
    before, memory = network.parameters.copy(), np.zeros(30)
    network.move_parameters(memory[2:28])
    np.testing.assert_array_equal(memory[2:28], before)
    memory[27] += 1.0
    assert network.forward(np.zeros((1, 3)))[0, 1] == before[25] + 1.0
    with pytest.raises(TypeError, match=r"^Network.move_parameters: memory must be float64, got float32$"):
        network.move_parameters(np.zeros(26, np.float32))
    with pytest.raises(
        ValueError, match=r"^Network.move_parameters: memory must have shape \(P,\) = \(26,\), got \(27,\)$"
    ):
        network.move_parameters(np.zeros(27))
    with pytest.raises(ValueError, match=r"^Network.move_parameters: memory must be C-contiguous, "):
        network.move_parameters(np.zeros(52)[::2])
