"""policies.Policy.fisher_operator: exact products with the Fisher information."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from gradcheck import directional_derivative
from pgfast import kernels, nn
from pgfast.losses import RowGradients
from pgfast.nn import Layer, Network
from pgfast.policies import ActorCritic, CategoricalPolicy, GaussianPolicy, Policy
from pgfast.reference import fisher_operator as reference
from pgfast.reference.family import Component
from policy_zoo import ZOO, all_actions, make_policy, observations, reference_network, some_actions

AssertClose = Callable[[NDArray[Any], NDArray[np.float64]], None]

ROWS = 9
every_policy = pytest.mark.parametrize("name", ZOO)


def explicit_fisher(policy: Policy, obs: NDArray[Any]) -> NDArray[np.float64]:
    """Returns (1/B) sum_b sum_a pi(a | s_b) s s', from the scores of all actions."""
    fisher = np.zeros((policy.parameters.size, policy.parameters.size))
    for actions, weights in all_actions(policy, obs):
        scores = policy.scores(obs, actions)
        fisher += (weights[:, np.newaxis] * scores).T @ scores / len(obs)
    return fisher


def implicit_fisher(policy: Policy, obs: NDArray[Any], damping: float = 0.0) -> NDArray[Any]:
    """Returns the products of the operator with every unit vector, as columns."""
    operator = policy.fisher_operator(obs, damping)
    return np.stack([operator(unit) for unit in np.eye(operator.size, dtype=policy.network.dtype)], axis=1)


def reference_product(name: str, policy: Policy, obs: Any, v: NDArray[np.float64], damping: float) -> NDArray[Any]:
    return reference.product(*reference_network(name, policy, obs), ZOO[name].components(policy), v, damping)


@every_policy
def test_the_operator_is_the_expected_product_of_scores(name: str) -> None:
    policy, obs = make_policy(name), observations(name, ROWS)
    explicit, implicit = explicit_fisher(policy, obs), implicit_fisher(policy, obs)
    assert np.abs(explicit).max() > 0.01
    np.testing.assert_allclose(implicit, explicit, rtol=0.0, atol=1e-10 * np.abs(explicit).max())


@every_policy
def test_products_match_the_reference(
    name: str, rng: np.random.Generator, dtype: Any, assert_close: AssertClose
) -> None:
    policy, obs = make_policy(name, dtype), observations(name, 300, dtype)
    v = rng.standard_normal(policy.parameters.size, np.float32)
    expected = reference_product(name, policy, obs, v.astype(np.float64), 0.25)
    assert_close(policy.fisher_operator(obs, 0.25)(v.astype(dtype)), expected)
    assert_close(policy.fisher_vector_product(obs, v.astype(dtype), 0.25), expected)


@pytest.mark.parametrize("layers", ["first", "middle", "conv"])
def test_products_of_layers_split_by_columns_match_the_reference(
    layers: str, rng: np.random.Generator, dtype: Any, assert_close: AssertClose
) -> None:
    shape, body = {
        "first": ((1100,), [Layer("dense", 130, activation="tanh")]),
        "middle": ((20,), [Layer("dense", 301, activation="relu"), Layer("dense", 450, activation="tanh")]),
        "conv": ((2, 19, 18), [Layer("conv2d", 9, 3, 1, "relu"), Layer("dense", 61, activation="tanh")]),
    }[layers]
    network = Network.of_layers(shape, [*body, Layer("dense", 5)], dtype=dtype)
    policy = CategoricalPolicy(network, (2, 3), initialize=False)
    obs = rng.integers(0, 256, (130, *shape), np.uint8)
    v = rng.standard_normal(policy.parameters.size, np.float32) / 32
    expected = reference.product(
        network.graph.nodes,
        policy.parameters.astype(np.float64),
        [obs / 255.0],
        [Component((2, 3))],
        v.astype(np.float64),
        0.0,
    )
    assert_close(policy.fisher_vector_product(obs, v.astype(dtype)), expected)


@every_policy
def test_the_operator_is_symmetric_and_positive_semidefinite(name: str, rng: np.random.Generator) -> None:
    policy, obs = make_policy(name), observations(name, ROWS)
    operator = policy.fisher_operator(obs)
    u, v = rng.standard_normal((2, operator.size))
    assert u @ operator(v) == pytest.approx(v @ operator(u), rel=1e-11, abs=1e-12)
    fisher = implicit_fisher(policy, obs)
    np.testing.assert_allclose(fisher, fisher.T, rtol=0.0, atol=1e-13 * np.abs(fisher).max())
    assert np.linalg.eigvalsh(fisher).min() > -1e-13 * np.abs(fisher).max()


@every_policy
def test_damping_is_added_to_the_diagonal(name: str) -> None:
    policy, obs = make_policy(name), observations(name, ROWS)
    plain, damped = implicit_fisher(policy, obs), implicit_fisher(policy, obs, 0.125)
    np.testing.assert_allclose(damped, plain + 0.125 * np.eye(len(plain)), rtol=0.0, atol=1e-15)


@every_policy
def test_the_operator_is_the_hessian_of_the_kl_divergence(name: str, rng: np.random.Generator) -> None:
    policy, obs = make_policy(name), observations(name, ROWS)
    at = policy.parameters.copy()
    nodes = list(all_actions(policy, obs))

    def kl_gradient(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns grad KL(pi_old, pi) = -E_old[grad log pi], averaged over the rows."""
        policy.parameters[:] = parameters
        return sum(policy.gradient(obs, actions, RowGradients(-weights / ROWS)) for actions, weights in nodes)  # type: ignore[return-value]

    old, operator = policy.distribution(obs), policy.fisher_operator(obs)
    for direction in rng.standard_normal((3, at.size)):
        product = operator(direction)
        tolerance = 1e-7 * max(1.0, float(np.abs(product).max()))
        derivative = directional_derivative(kl_gradient, at, direction)
        np.testing.assert_allclose(product, derivative, rtol=0.0, atol=tolerance)

        def kl(step: float, direction: NDArray[np.float64] = direction) -> float:
            policy.parameters[:] = at + step * direction
            return float(old.kl(policy.distribution(obs)).mean())

        curvature = (kl(1e-4) + kl(-1e-4)) / 1e-8
        assert curvature == pytest.approx(direction @ product, rel=1e-5)


@every_policy
def test_the_operator_keeps_its_forward_pass(name: str, rng: np.random.Generator) -> None:
    policy, obs = make_policy(name), observations(name, ROWS)
    operator, v = policy.fisher_operator(obs, 0.1), rng.standard_normal(policy.parameters.size)
    before = operator(v)
    policy.parameters[:] *= 1.5
    policy.fisher_vector_product(obs, v)
    np.testing.assert_array_equal(operator(v), before)
    assert np.abs(policy.fisher_vector_product(obs, v, 0.1) - before).max() > 1e-3
    obs[:] = 3
    np.testing.assert_array_equal(operator(v), before)


@every_policy
def test_two_halves_with_a_common_count_sum_to_the_whole(name: str, rng: np.random.Generator, dtype: Any) -> None:
    policy, obs = make_policy(name, dtype), observations(name, 50, dtype)
    v = rng.standard_normal(policy.parameters.size).astype(dtype)
    whole = policy.fisher_operator(obs)(v)
    assert policy.fisher_operator(obs, count=50)(v).tobytes() == whole.tobytes()
    halves = [policy.fisher_operator(obs[part], count=50)(v) for part in (slice(0, 20), slice(20, 50))]
    tolerance = (2e-5 if dtype == np.float32 else 1e-13) * max(1.0, float(np.abs(whole).max()))
    np.testing.assert_allclose(halves[0] + halves[1], whole, rtol=0.0, atol=tolerance)
    damped = policy.fisher_operator(obs[:20], 0.5, count=50)(v)
    np.testing.assert_allclose(damped, halves[0] + v / 2, rtol=0.0, atol=tolerance)
    with pytest.raises(ValueError, match=r"^Policy.fisher_operator: count must be at least 1, got 0$"):
        policy.fisher_operator(obs, count=0)


def test_the_operator_outlives_its_policy_and_observations(rng: np.random.Generator) -> None:
    policy, obs = make_policy("gaussian-tanh"), observations("gaussian-tanh", 50)
    operator, v = policy.fisher_operator(obs), rng.standard_normal(policy.parameters.size)
    before = operator(v)
    del policy, obs
    gc.collect()
    scratch = [np.full((50, 4), np.nan) for _ in range(100)]
    np.testing.assert_array_equal(operator(v), before)
    assert len(scratch) == 100


@pytest.mark.parametrize("rows", [1, 700])
@pytest.mark.parametrize("name", ["multi-categorical", "gaussian-tanh", "state-std-tanh", "categorical-cnn"])
def test_results_do_not_depend_on_thread_count(
    name: str, rows: int, rng: np.random.Generator, dtype: Any, num_threads: Callable[[int], None]
) -> None:
    policy, obs = make_policy(name, dtype), observations(name, rows, dtype)
    actions, weights = some_actions(policy, obs), rng.standard_normal(rows).astype(dtype)
    v = rng.standard_normal(policy.parameters.size).astype(dtype)
    results = []
    for threads in (1, 2, 3):
        num_threads(threads)
        operator = policy.fisher_operator(obs, 0.01)
        solution = kernels.conjugate_gradient(operator, v).solution
        gradient = policy.gradient(obs, actions, RowGradients(weights))
        results.append((operator(v), solution, gradient, policy.scores(obs, actions)))
    for other in results[1:]:
        for ours, first in zip(other, results[0], strict=True):
            assert ours.tobytes() == first.tobytes()


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 129, 2048])
def test_the_product_of_a_batch_is_the_mean_over_its_rows(rows: int, rng: np.random.Generator) -> None:
    policy, obs = make_policy("gaussian-tanh"), observations("gaussian-tanh", rows)
    v = rng.standard_normal(policy.parameters.size)
    row_by_row = sum(policy.fisher_vector_product(obs[b : b + 1], v) for b in range(rows)) / rows
    np.testing.assert_allclose(policy.fisher_vector_product(obs, v), row_by_row, rtol=0.0, atol=1e-12)


@every_policy
def test_conjugate_gradient_solves_alike_with_the_operator_and_its_product(name: str, rng: np.random.Generator) -> None:
    policy, obs = make_policy(name), observations(name, 40)
    b = rng.standard_normal(policy.parameters.size)
    native = kernels.conjugate_gradient(policy.fisher_operator(obs), b, max_iterations=8, damping=0.1)
    python = kernels.conjugate_gradient(
        lambda v: policy.fisher_vector_product(obs, v), b, max_iterations=8, damping=0.1
    )
    np.testing.assert_allclose(native.solution, python.solution, rtol=1e-9, atol=1e-12)
    assert native.iterations == python.iterations


def test_the_value_head_does_not_enter_the_fisher_information() -> None:
    network = nn.mlp(4, 4, (6,), dtype=np.float64)
    policy = ActorCritic(network, spaces.Discrete(3))
    fisher = implicit_fisher(policy, observations("categorical-tanh", ROWS))
    value = np.zeros(policy.parameters.size, bool)
    value[network.layout[-2].slice] = np.arange(24) % 4 == 3
    value[-1] = True
    assert not fisher[value].any()
    assert not fisher[:, value].any()
    assert fisher[~value].any()


def test_non_finite_parameters_and_observations_are_refused() -> None:
    policy = GaussianPolicy(nn.mlp(3, 2, (4,)), -50.0)
    obs = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"^Policy.fisher_operator: log_std must be finite, and so must exp\(-2"):
        policy.fisher_operator(obs)
    policy.parameters[-1] = np.nan
    with pytest.raises(ValueError, match=r"^Policy.fisher_operator: log_std must be finite"):
        policy.fisher_operator(obs)
    policy = GaussianPolicy(nn.mlp(3, 2, (4,)))
    policy.parameters[-3] = np.inf
    with pytest.raises(ValueError, match=r"^Policy.fisher_operator: network outputs must be finite, got inf at "):
        policy.fisher_operator(obs)
    obs[1, 1] = np.inf  # the tanh would hide it
    with pytest.raises(ValueError, match=r"^Policy.fisher_operator: x must be finite, got inf at flat index 4$"):
        policy.fisher_operator(obs)
