"""Policies of every family, and the tape that records their forward passes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

import pgfast
from pgfast import nn
from pgfast.distributions import Categorical, DiagGaussian, Joint, MultiCategorical
from pgfast.envs.actions import ActionInfo
from pgfast.nn import Network
from pgfast.policies import ActorCritic, CategoricalPolicy, Family, GaussianPolicy, Policy, PolicyTape, family_of
from pgfast.reference.family import places
from policy_zoo import ZOO, make_policy, observations, some_actions, some_mask

every_policy = pytest.mark.parametrize("name", ZOO)


@every_policy
def test_the_distribution_takes_the_first_outputs(name: str, dtype: Any) -> None:
    policy, obs, entry = make_policy(name, dtype), observations(name, 7, dtype), ZOO[name]
    outputs, distribution = policy.network.forward(obs), policy.distribution(obs)
    parts = distribution.components if isinstance(distribution, Joint) else (distribution,)
    components = entry.components(policy)
    for part, (sizes, log_std), place in zip(parts, components, places(components), strict=True):
        if isinstance(part, DiagGaussian):
            np.testing.assert_array_equal(part.mean, outputs[:, place.outputs])
            np.testing.assert_array_equal(part.log_std, outputs[:, place.log_std] if log_std is None else log_std)
        else:
            assert isinstance(part, Categorical | MultiCategorical)
            np.testing.assert_array_equal(part.logits, outputs[:, place.outputs])
            assert not isinstance(part, MultiCategorical) or part.sizes == sizes


@every_policy
def test_network_and_log_std_share_one_parameter_vector(name: str, dtype: Any) -> None:
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
    assert size == policy.parameters.size == network.parameters.size + policy.family.log_std_parameters
    old = policy.distribution(obs)
    before = old.entropy()
    policy.parameters[:] = policy.parameters * 0.5 + 1.0
    np.testing.assert_array_equal(old.entropy(), before)
    assert (policy.distribution(obs).kl(old) > 0.0).all()


@every_policy
def test_act_samples_from_the_distribution(name: str, dtype: Any) -> None:
    policy, obs = make_policy(name, dtype), observations(name, 5, dtype)
    rng = pgfast.Rng(3)
    actions, log_prob = policy.act(obs, rng)
    assert rng.position == 1
    assert actions.dtype == policy.family.action_dtype(dtype)
    assert actions.shape == (5, *policy.family.action_shape)
    np.testing.assert_array_equal(log_prob, policy.distribution(obs).log_prob(actions))
    again, _ = policy.act(obs, 3)
    np.testing.assert_array_equal(actions, again)


@every_policy
def test_the_tape_acts_as_the_policy_does(name: str, dtype: Any) -> None:
    policy, obs = make_policy(name, dtype), observations(name, 40, dtype)
    tape = PolicyTape(policy, 44)
    actions = np.zeros((40, *policy.family.action_shape), policy.family.action_dtype(dtype))
    log_prob = np.zeros(40, dtype)
    for rows in (slice(0, 13), slice(13, 40)):
        tape.act(obs[rows], rows.start, actions[rows], log_prob[rows], key=(5, 2, rows.start, 1 << 40))
    np.testing.assert_array_equal(tape.outputs[:40], policy.network.forward(obs))
    expected_actions, expected_log_prob = policy.distribution(obs).sample_at(5, 2, 0, 1 << 40)
    np.testing.assert_array_equal(actions, expected_actions)
    np.testing.assert_array_equal(log_prob, expected_log_prob)
    np.testing.assert_array_equal(log_prob, tape.distribution(40).log_prob(actions))
    tape.record(obs[:2], 42)
    np.testing.assert_array_equal(tape.outputs[42:], tape.outputs[:2])


@every_policy
def test_the_tape_evaluates_as_its_distributions_do(name: str, dtype: Any) -> None:
    policy, obs = make_policy(name, dtype), observations(name, 40, dtype)
    tape = PolicyTape(policy, 40)
    tape.record(obs)
    for mask in [None, some_mask(policy, 30)] if policy.family.mask_columns else [None]:
        actions = some_actions(policy, obs[:30], mask)
        log_prob, entropy = tape.evaluate(actions, mask)
        distribution = tape.distribution(30, mask)
        np.testing.assert_array_equal(log_prob, distribution.log_prob(actions))
        np.testing.assert_array_equal(entropy, distribution.entropy())


def test_the_tape_refuses_arrays_that_do_not_fit() -> None:
    policy = GaussianPolicy(nn.mlp(3, 2, (4,)))
    tape, obs, log_prob = PolicyTape(policy, 4), np.zeros((4, 3), np.float32), np.zeros(4, np.float32)
    key = (0, 2, 0, 0)
    with pytest.raises(ValueError, match=r"^Policy.act: actions must have shape \(B, A\) = \(4, 2\), got \(4, 3\)$"):
        tape.act(obs, 0, np.zeros((4, 3), np.float32), log_prob, key=key)
    with pytest.raises(TypeError, match=r"^Policy.act: actions must be float32, got int64$"):
        tape.act(obs, 0, np.zeros((4, 2), np.int64), log_prob, key=key)
    with pytest.raises(TypeError, match=r"^Policy.act: log_prob must be float32, got float64$"):
        tape.act(obs, 0, np.zeros((4, 2), np.float32), np.zeros(4), key=key)
    with pytest.raises(ValueError, match=r"^Policy.act: x has 4 rows from row 1, but the tape holds 4$"):
        tape.act(obs, 1, np.zeros((4, 2), np.float32), log_prob, key=key)
    with pytest.raises(ValueError, match=r"^PolicyTape.evaluate: actions has 4 rows, but the tape has recorded 0$"):
        PolicyTape(policy, 4).evaluate(np.zeros((4, 2), np.float32))
    policy.parameters[-1] = 200.0
    with pytest.raises(ValueError, match=r"^Policy.act: sampled actions must be finite, got -?inf at flat index "):
        tape.act(obs, 0, np.zeros((4, 2), np.float32), log_prob, key=key)
    policy.parameters[-1] = np.nan
    with pytest.raises(ValueError, match=r"^Policy.act: log_std must be finite, got nan at flat index 1$"):
        tape.act(obs, 0, np.zeros((4, 2), np.float32), log_prob, key=key)
    policy.parameters[-3] = np.nan
    with pytest.raises(ValueError, match=r"^Policy.act: network outputs must be finite, got nan at flat index 1$"):
        tape.act(obs, 0, np.zeros((4, 2), np.float32), log_prob, key=key)


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
    if policy.family.state_dependent_std:
        expected[2:] = -0.7
    np.testing.assert_array_equal(bias, expected)
    kept = make(nn.mlp(3, outputs, (8,), dtype=dtype, seed=4), initialize=False)
    np.testing.assert_array_equal(kept.network.parameters, plain.parameters)
    if kept.family.log_std_parameters:
        initial = dtype(-0.7) if kept.has_value_head else dtype(0.0)
        assert (kept.parameters[plain.parameters.size :] == initial).all()


def test_log_std_is_a_view_that_distributions_copy() -> None:
    policy = GaussianPolicy(nn.mlp(3, 2, dtype=np.float64), 0.25)
    np.testing.assert_array_equal(policy.log_std, [0.25, 0.25])
    policy.log_std[1] = -1.0
    assert policy.parameters[-1] == -1.0
    obs = np.zeros((2, 3))
    distribution = policy.distribution(obs)
    assert isinstance(distribution, DiagGaussian)
    log_std = distribution.log_std
    np.testing.assert_array_equal(log_std, [0.25, -1.0])
    policy.parameters[-2:] = 3.0
    np.testing.assert_array_equal(log_std, [0.25, -1.0])
    assert GaussianPolicy(nn.mlp(3, 2), state_dependent_std=True).log_std.size == 0


def test_the_action_space_determines_the_family() -> None:
    for space, columns, shape in (
        (spaces.Discrete(3, start=1), 3, ()),
        (spaces.MultiDiscrete([2, 4]), 6, (2,)),
        (spaces.MultiDiscrete([[2, 4], [3, 1]]), 10, (4,)),
        (spaces.MultiBinary(3), 6, (3,)),
        (spaces.MultiBinary([2, 2]), 8, (4,)),
        (spaces.Box(-1.0, 1.0, (2, 3)), 6, (6,)),
        (spaces.Dict(a=spaces.Tuple([spaces.Discrete(3), spaces.Box(-1.0, 1.0, (2,))])), 5, ()),
    ):
        family = family_of(ActionInfo.of(space))
        assert (family.num_outputs, family.action_shape) == (columns, shape)
        assert ActorCritic(nn.mlp(2, columns + 1, ()), space).family.num_outputs == columns
    box = spaces.Box(-1.0, 1.0, (3,))
    assert ActorCritic(nn.mlp(2, 7, ()), box, state_dependent_std=True).family.num_outputs == 6
    for other in (spaces.Box(0, 255, (3,), np.uint8), spaces.Text(3), spaces.Dict({})):
        with pytest.raises(
            ValueError, match=r"^the action space must (be Discrete, MultiDiscrete, MultiBinary, a Box |not be a)"
        ):
            ActorCritic(nn.mlp(2, 4), other)


@every_policy
def test_the_parameters_are_the_whole_state(name: str, dtype: Any) -> None:
    policy, other = make_policy(name, dtype), make_policy(name, dtype, seed=1)
    assert policy.parameters.tobytes() != other.parameters.tobytes()
    state = {key: array.copy() for key, array in policy.state().items()}
    other.load_state(state)
    assert policy.parameters.tobytes() == other.parameters.tobytes()
    obs = observations(name, 3, dtype)
    np.testing.assert_array_equal(policy.network.forward(obs), other.network.forward(obs))
    wrong = np.float64 if dtype == np.float32 else np.float32
    for refused in (state["parameters"].astype(wrong), state["parameters"][1:]):
        with pytest.raises(ValueError, match=r"^the policy's parameters must be "):
            other.load_state({"parameters": refused})
    assert policy.parameters.tobytes() == other.parameters.tobytes()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: CategoricalPolicy(nn.mlp(3, 4), (2, 3)),
            "Policy: the network must have A = 5 outputs, got 4",
        ),
        (lambda: CategoricalPolicy(nn.mlp(3, 4), (5, 0)), "Family: sizes must be at least 1, and their sum at most "),
        (lambda: CategoricalPolicy(nn.mlp(3, 4), ()), "Family: sizes must not be empty"),
        (
            lambda: GaussianPolicy(nn.mlp(3, 3), state_dependent_std=True),
            "GaussianPolicy: with state_dependent_std the network must have 2 A outputs (means, then log_std), got 3",
        ),
        (lambda: GaussianPolicy(nn.mlp(3, 3), np.nan), "Policy: log_std_init must be finite, got nan"),
        (
            lambda: Policy(nn.mlp(3, 3), Family("categorical", [3]), value_head=True),
            "Policy: the network must have A + 1 = 4 outputs (the policy's, then the value), got 3",
        ),
        (
            lambda: ActorCritic(nn.mlp(3, 3), spaces.Discrete(3)),
            "Policy: the network must have A + 1 = 4 outputs (the policy's, then the value), got 3",
        ),
        (
            lambda: ActorCritic(nn.mlp(3, 3), spaces.Box(-1, 1, (2,)), log_std_init=np.inf),
            "Policy: log_std_init must be finite, got inf",
        ),
    ],
)
def test_networks_and_settings_that_do_not_fit_are_refused(make: Callable[[], Policy], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}"):
        make()


def test_the_value_is_the_output_after_the_means(dtype: Any) -> None:
    policy, obs = make_policy("actor-critic-box", dtype), observations("actor-critic-box", 6, dtype)
    np.testing.assert_array_equal(policy.values(obs), policy.network.forward(obs)[:, 2])


def test_moved_parameters_are_a_view_of_the_given_memory() -> None:
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
