"""distributions.Joint and policies.JointFamily: independent components, such as those of a Dict or Tuple space."""

from __future__ import annotations

import copy
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcheck import check_gradient
from pgfast import nn
from pgfast.distributions import Categorical, DiagGaussian, Joint, MultiCategorical
from pgfast.losses import RowGradients
from pgfast.policies import CategoricalPolicy, GaussianPolicy, JointFamily, Policy, PolicyTape
from pgfast.reference import categorical, diag_gaussian, random
from policy_zoo import make_policy, mixed_family, observations, some_actions, some_mask

Draw = Callable[..., NDArray[np.float64]]
AssertClose = Callable[[NDArray[Any], NDArray[np.float64]], None]

SIZES = (2, 3)
ROWS = 40


class Parameters:
    """Arrays of a choice, three numbers and grouped choices, with a mask for both kinds of choices."""

    def __init__(self, draw: Draw, dtype: Any) -> None:
        self.logits, self.mean, self.log_std, self.grouped = (
            draw(*shape).astype(dtype) for shape in ((ROWS, 4), (ROWS, 3), (3,), (ROWS, 5))
        )
        self.mask, self.grouped_mask = np.ones((ROWS, 4), bool), np.ones((ROWS, 5), bool)
        self.mask[::2, 1] = self.grouped_mask[::3, 2] = False

    def joint(self) -> Joint:
        numbers = DiagGaussian(self.mean, self.log_std)
        return Joint(
            [Categorical(self.logits, self.mask), numbers, MultiCategorical(self.grouped, SIZES, self.grouped_mask)]
        )


def fields(actions: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    return tuple(np.ascontiguousarray(actions[name]) for name in actions.dtype.names or ())


def test_results_are_sums_over_the_components(draw: Draw, dtype: Any, assert_close: AssertClose) -> None:
    x, y = Parameters(draw, dtype), Parameters(draw, dtype)
    p, q = x.joint(), y.joint()
    actions, weights = p.sample(3), draw(2, ROWS).astype(dtype)
    choice, numbers, choices = fields(actions)
    a = {name: value.astype(np.float64) for name, value in vars(x).items() if value.dtype.kind == "f"}
    b = {name: value.astype(np.float64) for name, value in vars(y).items() if value.dtype.kind == "f"}

    def log_prob(z: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        return (
            categorical.log_prob(z["logits"], choice, None, x.mask)
            + diag_gaussian.log_prob(z["mean"], z["log_std"], numbers.astype(np.float64))
            + categorical.log_prob(z["grouped"], choices, SIZES, x.grouped_mask)
        )

    assert_close(p.log_prob(actions), log_prob(a))
    assert_close(
        p.entropy(),
        categorical.entropy(a["logits"], None, x.mask)
        + diag_gaussian.entropy(a["mean"], a["log_std"])
        + categorical.entropy(a["grouped"], SIZES, x.grouped_mask),
    )
    assert_close(
        p.kl(q),
        categorical.kl(a["logits"], b["logits"], None, x.mask, x.mask)
        + diag_gaussian.kl(a["mean"], a["log_std"], b["mean"], b["log_std"])
        + categorical.kl(a["grouped"], b["grouped"], SIZES, x.grouped_mask, x.grouped_mask),
    )
    ratio = p.likelihood_ratio(q, actions)
    np.testing.assert_allclose(np.log(ratio), np.clip(log_prob(a) - log_prob(b), -80, 80), rtol=1e-4, atol=1e-4)
    assert p.likelihood_ratio(p, actions).tolist() == [1.0] * ROWS
    dlogits, dmean, dlog_std, dgrouped = p.gradient(actions, *weights)
    for ours, expected in (
        (dlogits, p.components[0].gradient(choice, *weights)[0]),
        (dmean, p.components[1].gradient(numbers, *weights)[0]),
        (dlog_std, p.components[1].gradient(numbers, *weights)[1]),
        (dgrouped, p.components[2].gradient(choices, *weights)[0]),
    ):
        np.testing.assert_array_equal(ours, expected)
    for ours, part in zip(fields(p.mode()), p.components, strict=True):
        np.testing.assert_array_equal(ours, part.mode())


def test_gradient_is_the_derivative_of_log_prob_and_entropy(draw: Draw) -> None:
    x, weights = Parameters(draw, np.float64), draw(2, ROWS)
    actions = x.joint().sample(0)
    names = ("logits", "mean", "log_std", "grouped")
    gradients = dict(zip(names, x.joint().gradient(actions, *weights), strict=True))
    for name in names:

        def weighted_sum(at: NDArray[np.float64], name: str = name) -> float:
            moved = copy.copy(x)
            setattr(moved, name, at)
            p = moved.joint()
            return float(weights[0] @ p.log_prob(actions) + weights[1] @ p.entropy())

        check_gradient(weighted_sum, getattr(x, name), gradients[name].astype(np.float64))


def test_components_draw_numbers_of_their_own(draw: Draw, dtype: Any) -> None:
    p = Parameters(draw, dtype).joint()
    assert [part.draws for part in p.components] == [1, 2, 2]
    assert p.draws == 5
    actions, log_prob = p.sample_at(7, 3, 11, 5)
    first = 0
    for ours, part in zip(fields(actions), p.components, strict=True):
        alone, _ = part.sample_at(7, 3, 11, 5, first)
        assert ours.tobytes() == alone.tobytes()
        first += part.draws
    assert log_prob.tobytes() == p.log_prob(actions).tobytes()
    # The numbers of a component that comes first are those that it draws alone.
    np.testing.assert_array_equal(actions["f0"], p.components[0].sample_at(7, 3, 11, 5)[0])
    number = random.uniform(random.block_of(7, 3, 11 + 6, 5, 4))
    group = p.components[2]
    assert isinstance(group, MultiCategorical)
    expected = categorical.sample(
        group.logits[6:7, 2:].astype(np.float64), np.array([number]), None, group.mask[6:7, 2:]
    )
    assert actions["f2"][6, 1] == expected[0]


def test_equal_components_are_drawn_independently() -> None:
    rows, p = 100_000, np.array([0.5, 0.3, 0.2])
    logits = np.tile(np.log(p), (rows, 1))
    actions = Joint([Categorical(logits), Categorical(logits)]).sample(3)
    counts = np.bincount(actions["f0"] * 3 + actions["f1"], minlength=9)
    expected = rows * np.outer(p, p).reshape(-1)
    assert np.sum((counts - expected) ** 2 / expected) < 26.1  # the 99.9 % quantile of 8 degrees of freedom


def test_actions_are_rows_or_a_tuple(draw: Draw, dtype: Any) -> None:
    p, weights = Parameters(draw, dtype).joint(), draw(2, ROWS).astype(dtype)
    actions = p.sample(1)
    assert actions.shape == (ROWS,)
    assert [actions.dtype[name].base for name in ("f0", "f1", "f2")] == [np.int64, dtype, np.int64]
    assert [actions.dtype[name].shape for name in ("f0", "f1", "f2")] == [(), (3,), (2,)]
    for method in (p.log_prob, lambda a: p.likelihood_ratio(p, a), lambda a: p.gradient(a, *weights)[2]):
        assert method(actions).tobytes() == method(fields(actions)).tobytes()
    with pytest.raises(TypeError, match=r"^Joint.log_prob: actions must be a tuple of 3 arrays, or an array with 3 fi"):
        p.log_prob(fields(actions)[:2])
    with pytest.raises(TypeError, match=r"fields, got ndarray$"):
        p.gradient(actions["f0"], weights[0])
    with pytest.raises(TypeError, match=r"fields, got list$"):
        p.log_prob(list(fields(actions)))  # type: ignore[arg-type]


def test_likelihood_ratio_stays_finite(dtype: Any) -> None:
    logits, choices = np.array([[500.0, -500.0]] * 3, dtype), np.array([0, 1, 0])
    new, old = Joint([Categorical(logits)] * 12), Joint([Categorical(-logits)] * 12)
    actions = (choices,) * 11
    np.testing.assert_allclose(new.likelihood_ratio(old, (*actions, choices)), np.exp([80.0, -80.0, 80.0]), rtol=1e-5)
    # The logarithm of each factor is clamped first: 80 - 80 = 0.
    pair, old_pair = Joint([Categorical(logits)] * 2), Joint([Categorical(-logits)] * 2)
    np.testing.assert_allclose(pair.likelihood_ratio(old_pair, (choices, 1 - choices)), 1.0, rtol=1e-5)


def test_components_that_do_not_fit_are_refused() -> None:
    one, two = Categorical(np.zeros((1, 2))), Categorical(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"^Joint: components must not be empty$"):
        Joint([])
    for call in (Joint([one, two]).entropy, Joint([one, two]).mode, lambda: Joint([one, two]).sample(0)):
        with pytest.raises(ValueError, match=r": components must have the same number of rows, got \[1, 2\]$"):
            call()
    with pytest.raises(ValueError, match=r"^Joint.kl: other must have 2 components, got 1$"):
        Joint([one, one]).kl(Joint([one]))
    with pytest.raises(TypeError, match=r"^Joint.kl: other must be a Joint, got Categorical$"):
        Joint([one]).kl(one)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^Categorical.kl: other must be a Categorical, got DiagGaussian$"):
        Joint([one]).kl(Joint([DiagGaussian(np.zeros((1, 1)), np.zeros(1))]))


def test_the_family_counts_what_its_components_use() -> None:
    family = mixed_family(state_dependent_std=True)
    assert (family.num_outputs, family.log_std_parameters, family.mask_columns) == (3 + 4 + 5 + 1, 1, 8)
    assert family.group_sizes() == [3, 2, 3]
    assert family.log_std_outputs() == [5, 6]
    assert family.action_shape == ()
    actions = np.zeros(4, family.action_dtype(np.float32))
    assert [part.shape for part in fields(actions)] == [(4,), (4, 2), (4, 2), (4, 1)]
    nested = JointFamily([JointFamily(family.components[:2]), *family.components[2:]])
    assert nested.action_dtype(np.float32) == family.action_dtype(np.float32)
    with pytest.raises(ValueError, match=r"^Family: must have at least one component$"):
        JointFamily([])


def test_log_std_blocks_follow_each_other_and_start_alike() -> None:
    policy = Policy(nn.mlp(3, 11), mixed_family(), log_std_init=-0.5)
    assert policy.layout[-1].name == "log_std"
    assert policy.log_std.tolist() == [-0.5] * 3
    policy.log_std[:] = [1.0, 2.0, 3.0]
    p = policy.distribution(np.zeros((2, 3), np.float32))
    assert isinstance(p, Joint)
    assert [p.components[c].log_std.tolist() for c in (1, 3)] == [[1.0, 2.0], [3.0]]  # type: ignore[attr-defined]
    policy = Policy(nn.mlp(3, 13), mixed_family(state_dependent_std=True), log_std_init=-0.5)
    bias = policy.network.parameters[policy.network.layout[-1].slice]
    assert bias.tolist() == [-0.5 if column in (5, 6) else 0.0 for column in range(13)]


@pytest.mark.parametrize(
    "policy",
    [
        lambda network, dtype: CategoricalPolicy(network),
        lambda network, dtype: CategoricalPolicy(network, (1, 3)),
        lambda network, dtype: GaussianPolicy(network, 0.3),
        lambda network, dtype: GaussianPolicy(network, 0.3, state_dependent_std=True),
    ],
    ids=["categorical", "grouped", "gaussian", "state-std"],
)
def test_one_component_has_the_bits_of_its_family(policy: Any, dtype: Any) -> None:
    single = policy(nn.mlp(3, 4, dtype=dtype), dtype)
    joint = Policy(nn.mlp(3, 4, dtype=dtype), JointFamily([single.family]), log_std_init=0.3)
    np.testing.assert_array_equal(joint.parameters, single.parameters)
    obs = np.random.default_rng(0).standard_normal((70, 3)).astype(dtype)
    actions, log_prob = single.act(obs, 4)
    joint_actions, joint_log_prob = joint.act(obs, 4)
    rows, v = RowGradients(log_prob, log_prob), np.ones_like(single.parameters)
    for ours, theirs in (
        (np.ascontiguousarray(joint_actions["f0"]), actions),
        (joint_log_prob, log_prob),
        (joint.gradient(obs, joint_actions, rows), single.gradient(obs, actions, rows)),
        (joint.scores(obs, joint_actions), single.scores(obs, actions)),
        (joint.fisher_vector_product(obs, v), single.fisher_vector_product(obs, v)),
    ):
        assert ours.tobytes() == theirs.tobytes()


def test_the_tape_writes_rows_or_a_tuple(dtype: Any) -> None:
    policy, obs = make_policy("joint", dtype), observations("joint", 9, dtype)
    tape, log_prob, key = PolicyTape(policy, 9), np.zeros(9, dtype), (5, 2, 0, 7)
    buffer = np.zeros((9, 2), policy.family.action_dtype(dtype))  # rows of two environments, one after the other
    mask = some_mask(policy, 9)
    tape.act(obs, 0, buffer[:, 1], log_prob, key=key, mask=mask)
    expected, expected_log_prob = policy.distribution(obs, mask).sample_at(*key)
    np.testing.assert_array_equal(buffer[:, 1], expected)
    np.testing.assert_array_equal(log_prob, expected_log_prob)
    assert not any(part.any() for part in fields(buffer[:, 0].copy()))
    parts = tuple(np.zeros_like(part) for part in fields(expected))
    tape.act(obs, 0, parts, log_prob, key=key, mask=mask)
    for ours, theirs in zip(parts, fields(expected), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    buffer.flags.writeable = False
    with pytest.raises(ValueError, match=r"^Policy.act: actions must be writable, got a read-only array$"):
        tape.act(obs, 0, buffer[:, 0], log_prob, key=key)
    with pytest.raises(ValueError, match=r"^Policy.act: actions\[3\] must not share memory with actions\[1\]$"):
        tape.act(obs, 0, (*parts[:3], parts[1].reshape(-1)[:9].reshape(9, 1)), log_prob, key=key)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"f0": np.full(6, 3)}, ValueError, "actions[0] must be in [0, 3), got 3 at row 0"),
        ({"f2": np.full((6, 2), 2)}, ValueError, "actions[2] must be in [0, 2), got 2 at row 0, column 0"),
        ({"f1": np.full((6, 2), np.nan)}, ValueError, "actions[1] must be finite, got nan at flat index 0"),
        ({"f3": np.zeros((6, 2))}, ValueError, "actions[3] must have shape (B, A) = (6, 1), got (6, 2)"),
        ({"f3": np.zeros((6, 1), np.int64)}, TypeError, "actions[3] must be float64, got int64"),
    ],
)
def test_actions_that_do_not_fit_are_refused(change: dict[str, Any], error: type[Exception], text: str) -> None:
    policy, obs = make_policy("joint"), observations("joint", 6)
    actions = some_actions(policy, obs)
    parts = tuple(change.get(name, np.ascontiguousarray(actions[name])) for name in actions.dtype.names or ())
    rows = RowGradients(np.ones(6))
    for name, call in (
        ("scores", lambda: policy.scores(obs, parts)),
        ("gradient", lambda: policy.gradient(obs, parts, rows)),
    ):
        with pytest.raises(error, match=rf"^Policy.{name}: {re.escape(text)}$"):
            call()
    with pytest.raises(TypeError, match=r"^Policy.scores: actions must be a tuple of 4 arrays, or an array with 4 fi"):
        policy.scores(obs, parts[:3])


def test_a_mask_covers_the_choices_of_all_components() -> None:
    policy, obs = make_policy("joint"), observations("joint", 6)
    mask = np.ones((6, 8), bool)
    mask[4, 3:5] = False
    text = r"mask must allow at least one action in every group, row 4 group 1 allows none$"
    with pytest.raises(ValueError, match=rf"^Policy.act: {text}"):
        policy.act(obs, 0, mask)
    with pytest.raises(ValueError, match=r"^MultiCategorical.entropy: mask must allow .*, row 4 group 0 allows none$"):
        policy.distribution(obs, mask).entropy()
    for wrong in (mask[:, :7], mask[:5], np.ones(8, bool)):
        with pytest.raises(ValueError, match=r"mask must have shape \(B, M\) = \(6, 8\), got "):
            policy.act(obs, 0, np.ascontiguousarray(wrong))
        with pytest.raises(ValueError, match=r"^Family.distribution: mask must have shape \(B, M\) = \(6, 8\), got "):
            policy.distribution(obs, wrong)


@pytest.mark.parametrize("name", ["joint", "joint-critic", "joint-choices"])
def test_copies_and_pickles_act_alike(name: str) -> None:
    policy, obs = make_policy(name), observations(name, 6)
    for other in (copy.deepcopy(policy), pickle.loads(pickle.dumps(policy))):
        np.testing.assert_array_equal(other.act(obs, 3)[0], policy.act(obs, 3)[0])


@pytest.mark.parametrize("rows", [1, 5000])
@pytest.mark.parametrize("name", ["joint", "joint-critic"])
def test_results_do_not_depend_on_thread_count(
    name: str, rows: int, dtype: Any, num_threads: Callable[[int], None]
) -> None:
    policy, obs = make_policy(name, dtype), observations(name, rows, dtype)
    v, ones, mask = np.ones(policy.parameters.size, dtype), np.ones(rows, dtype), some_mask(policy, rows)
    found = []
    for threads in (1, 2, 3, 8):
        num_threads(threads)
        actions, log_prob = policy.act(obs, 1, mask)
        gradient = policy.gradient(obs, actions, RowGradients(ones, ones), mask=mask)
        product = policy.fisher_vector_product(obs, v, mask=mask)
        parts = [part.tobytes() for part in fields(actions)]
        found.append([*parts, log_prob.tobytes(), gradient.tobytes(), product.tobytes()])
    assert all(other == found[0] for other in found)


def test_infinite_log_probabilities_are_not_nan(dtype: Any) -> None:
    mask = np.array([[True, False]])
    p = Joint([Categorical(np.zeros((1, 2), dtype), mask), Categorical(np.zeros((1, 2), dtype))])
    forbidden = (np.array([1]), np.array([0]))
    assert p.log_prob(forbidden).tolist() == [-math.inf]
    assert p.likelihood_ratio(p, forbidden).tolist() == [1.0]
    assert p.kl(p).tolist() == [0.0]
