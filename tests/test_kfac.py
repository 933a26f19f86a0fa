"""optim.KFAC: a chain of oracles from the definition of its factors to the exact natural gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pgfast
from pgfast import nn, optim
from pgfast.nn import Layer
from pgfast.reduce import Reduce
from pgfast.reference import kfac as reference
from pgfast.reference import network as reference_network
from two_workers import run_workers

Draw = Callable[..., Any]
CONV = (Layer("conv2d", 4, 3, 1, "relu"), Layer("conv2d", 5, 2, 2, "tanh"), Layer("dense", 6), Layer("dense", 3))
NORMALIZED = (Layer("dense", 7, activation="tanh"), Layer("layer_norm", activation="relu"), Layer("dense", 3))
DENSE = (Layer("dense", 8, activation="tanh"), Layer("dense", 3))
NETWORKS: dict[str, tuple[tuple[int, ...], tuple[Layer, ...]]] = {
    "dense": ((5,), DENSE),
    "convolutions": ((2, 9, 8), CONV),
    "normalized": ((5,), NORMALIZED),
    "wide": ((1100,), (Layer("dense", 130, activation="relu"), Layer("dense", 4))),
}


def recorded(network: nn.Network, rows: int, rng: np.random.Generator) -> tuple[nn.Tape, Any, Any]:
    """A tape of random inputs, these, and random gradients of the rows."""
    x = rng.standard_normal((rows, *network.input_shape)).astype(network.dtype)
    tape = nn.Tape(network, rows)
    tape.record(x)
    return tape, x, rng.standard_normal((rows, network.output_size)).astype(network.dtype)


def make(name: str, dtype: Any = np.float64) -> nn.Network:
    shape, layers = NETWORKS[name]
    return nn.Network.of_layers(shape, layers, dtype=dtype, seed=3)


def as_tuples(layers: tuple[Layer, ...]) -> list[Any]:
    return [(layer.kind, layer.outputs, layer.kernel, layer.stride, layer.activation) for layer in layers]


@pytest.mark.parametrize("position_stride", [1, 3])
@pytest.mark.parametrize("with_invalid_rows", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_everything_matches_the_reference(
    name: str, with_invalid_rows: bool, position_stride: int, dtype: Any, rng: np.random.Generator
) -> None:
    network = make(name, dtype)
    kfac = optim.KFAC(network, 0.1, decay=0.0, damping=0.03, position_stride=position_stride)
    tape, x, dy = recorded(network, 12, rng)
    valid = rng.random(12) < 0.7 if with_invalid_rows else None
    kfac.observe(tape, dy, valid=valid)
    layers, parameters = as_tuples(NETWORKS[name][1]), network.parameters.astype(np.float64)
    expected = reference.factors(
        layers, parameters, x.astype(np.float64), dy.astype(np.float64), valid, position_stride
    )
    tolerance = {"rtol": 1e-10, "atol": 1e-12} if dtype == np.float64 else {"rtol": 1e-4, "atol": 1e-5}
    found = kfac.factors()
    assert [each.parameters.start for each in found] == sorted(each.parameters.start for each in found)
    assert found[-1].parameters.stop == network.parameters.size
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.inputs, theirs[0], **tolerance)
        assert (ours.outputs is None) == (theirs[1] is None)
        if theirs[1] is not None:
            np.testing.assert_allclose(ours.outputs, theirs[1], **tolerance)
    gradient = rng.standard_normal(network.parameters.size).astype(dtype)
    x_expected = reference.natural_gradient(expected, gradient.astype(np.float64), 0.03)
    error = np.abs(kfac.natural_gradient(gradient) - x_expected).max() / np.abs(x_expected).max()
    assert error < (1e-10 if dtype == np.float64 else 1e-4)
    if name != "wide":  # whose Kronecker products are large
        curvature = reference.curvature(expected, gradient.astype(np.float64))
        assert kfac.curvature(gradient) == pytest.approx(curvature, rel=1e-10 if dtype == np.float64 else 1e-4)


def test_codes_are_one_hot_rows(dtype: Any, rng: np.random.Generator) -> None:
    leaf = nn.Leaf("codes", (2,), "codes", choices=(3, 4))
    network = nn.Network(nn.NetworkSpec(trunk=(Layer("dense", 5, activation="tanh"),)), [leaf], 2, dtype=dtype, seed=3)
    codes = rng.integers(0, (3, 4), (30, 2)).astype(dtype)
    tape = nn.Tape(network, 30)
    tape.record(codes)
    kfac = optim.KFAC(network, 0.1)
    kfac.observe(tape, rng.standard_normal((30, 2)).astype(dtype))
    rows = np.hstack([reference_network.one_hot(codes, (3, 4)), np.ones((30, 1))])
    np.testing.assert_allclose(kfac.factors()[0].inputs, rows.T @ rows / 30, rtol=1e-5)


def test_bytes_are_scaled(rng: np.random.Generator) -> None:
    network = nn.Network.of_layers((2, 9, 8), CONV, dtype=np.float64, seed=3)
    pixels = rng.integers(0, 256, (12, 2, 9, 8), np.uint8)
    dy = rng.standard_normal((12, 3))
    found = []
    for x in (pixels, pixels / 255.0):
        tape = nn.Tape(network, 12)
        tape.record(x)
        kfac = optim.KFAC(network, 0.1)
        kfac.observe(tape, dy)
        found.append(kfac.factors())
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one.inputs, other.inputs, rtol=1e-10)
        np.testing.assert_allclose(one.outputs, other.outputs, rtol=1e-10)


def test_each_network_of_actor_and_critic_has_factors(rng: np.random.Generator) -> None:
    """The critic's outputs have no gradient in the actor's network, and the other way round."""
    spec = nn.NetworkSpec(
        trunk=(Layer("dense", 5, activation="tanh"),), value=nn.NetworkSpec(trunk=(Layer("dense", 4),))
    )
    network = nn.Network(spec, [3], (2, 1), dtype=np.float64, seed=3)
    x, dy = rng.standard_normal((20, 3)), rng.standard_normal((20, 3))
    tape = nn.Tape(network, 20)
    tape.record(x)
    kfac = optim.KFAC(network, 0.1)
    kfac.observe(tape, dy)
    layers = tape.layer_gradients(dy)
    assert len(layers) == len(kfac.factors()) == 4
    for layer, factors in zip(layers, kfac.factors(), strict=True):
        np.testing.assert_allclose(factors.outputs, layer.outputs.T @ layer.outputs / 20, rtol=1e-10)
        inputs = np.hstack([layer.inputs, np.ones((20, 1))])
        np.testing.assert_allclose(factors.inputs, inputs.T @ inputs / 20, rtol=1e-10)


def enumerated(policy: pgfast.policies.Policy, obs: Any, rng: np.random.Generator) -> tuple[optim.KFAC, Any]:
    """The factors of a categorical policy at one observation, with every action by its probability, and all scores."""
    actions = np.arange(policy.family.num_outputs)
    rows = np.repeat(obs, len(actions), axis=0)
    probabilities = np.exp(policy.distribution(rows).log_prob(actions))
    tape = nn.Tape(policy.network, len(rows))
    tape.record(rows)
    scores_of_outputs = np.eye(len(actions)) - probabilities
    kfac = optim.KFAC(policy.network, 0.1, decay=0.0)
    kfac.observe(tape, np.ascontiguousarray(scores_of_outputs * np.sqrt(len(actions) * probabilities)[:, None]))
    return kfac, np.sqrt(probabilities)[:, None] * policy.scores(rows, actions)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_at_one_observation_each_block_is_exact(activation: Any, rng: np.random.Generator) -> None:
    """One row has one input of each layer, so the expectation of the product is the product of the expectations."""
    layers = (Layer("dense", 6, activation=activation), Layer("dense", 5, activation=activation), Layer("dense", 4))
    policy = pgfast.policies.CategoricalPolicy(nn.Network.of_layers((3,), layers, dtype=np.float64, seed=1))
    policy.parameters[:] += 0.1 * rng.standard_normal(policy.parameters.size)
    kfac, scores = enumerated(policy, rng.standard_normal((1, 3)), rng)
    fisher = scores.T @ scores
    for inputs, outputs, block in kfac.factors():
        np.testing.assert_allclose(np.kron(inputs, outputs), fisher[block, block], rtol=1e-10, atol=1e-14)


def test_in_a_linear_network_with_a_gaussian_head_each_block_is_exact(rng: np.random.Generator) -> None:
    """There the gradients of a layer do not depend on its inputs (Martens and Grosse, 2015, section 3)."""
    layers = (Layer("dense", 6), Layer("dense", 5), Layer("dense", 3))
    network = nn.Network.of_layers((4,), layers, dtype=np.float64, seed=1)
    x = np.repeat(rng.standard_normal((10, 4)), 3, axis=0)
    dy = np.tile(np.eye(3) * np.sqrt(3.0), (10, 1))  # E[dy dy'] = I, as of unit Gaussians
    tape = nn.Tape(network, 30)
    tape.record(x)
    kfac = optim.KFAC(network, 0.1, decay=0.0)
    kfac.observe(tape, dy)
    jacobians = network.per_sample_vjp(x, dy)
    fisher = jacobians.T @ jacobians / 30
    for inputs, outputs, block in kfac.factors():
        np.testing.assert_allclose(np.kron(inputs, outputs), fisher[block, block], rtol=1e-10, atol=1e-12)


def test_of_one_layer_the_curvature_is_exact(rng: np.random.Generator) -> None:
    """A Gaussian with a linear mean: its Fisher matrix is the same in every row, and 2 I for log_std."""
    network = nn.Network.of_layers((4,), (Layer("dense", 3),), dtype=np.float64, seed=1)
    policy = pgfast.policies.GaussianPolicy(network)
    obs = rng.standard_normal((10, 4))
    tape = nn.Tape(network, 30)
    tape.record(np.repeat(obs, 3, axis=0))
    kfac = optim.KFAC(network, 0.1, decay=0.0, damping=1e-14)
    kfac.observe(tape, np.tile(np.eye(3) * np.sqrt(3.0), (10, 1)))
    operator = policy.fisher_operator(obs)
    v = rng.standard_normal(policy.parameters.size)
    assert kfac.curvature(v) == pytest.approx(v @ operator(v), rel=1e-10)
    np.testing.assert_allclose(kfac.natural_gradient(operator(v)), v, rtol=1e-5)  # the damping is there, too


@pytest.mark.parametrize("used", ["some", "all", "of one half all"])
@pytest.mark.parametrize("name", NETWORKS)
def test_halves_of_a_batch_make_the_factors_of_the_whole(name: str, used: str, rng: np.random.Generator) -> None:
    network = make(name)
    tape, x, dy = recorded(network, 20, rng)
    valid = rng.random(20) < 0.8
    if used != "some":
        valid[:] = True
        valid[:7] = used == "all"
    whole = optim.KFAC(network, 0.1)
    whole.observe(tape, dy, valid=valid)

    def observe(half: slice) -> Callable[[Reduce], optim.KFAC]:
        def work(reduce: Reduce) -> optim.KFAC:
            kfac, own = optim.KFAC(network, 0.1), nn.Tape(network, 20)
            own.record(x[half])
            kfac.observe(own, dy[half], valid=None if valid[half].all() else valid[half], reduce=reduce)
            return kfac

        return work

    first, second = run_workers([observe(slice(0, 7)), observe(slice(7, 20))])
    for one, other, both in zip(first.factors(), second.factors(), whole.factors(), strict=True):
        np.testing.assert_array_equal(one.inputs, other.inputs)
        np.testing.assert_allclose(one.inputs, both.inputs, rtol=1e-10, atol=1e-12)
        if both.outputs is not None:
            np.testing.assert_array_equal(one.outputs, other.outputs)
            np.testing.assert_allclose(one.outputs, both.outputs, rtol=1e-10, atol=1e-12)


def test_damping_leads_from_the_natural_gradient_to_the_gradient(rng: np.random.Generator) -> None:
    network = make("dense")
    tape, _, dy = recorded(network, 200, rng)
    gradient = rng.standard_normal(network.parameters.size)

    def cosine(damping: float, direction: Any) -> float:
        kfac = optim.KFAC(network, 0.1, damping=damping)
        kfac.observe(tape, dy)
        x = kfac.natural_gradient(gradient)
        return float(x @ direction / np.linalg.norm(x) / np.linalg.norm(direction))

    kfac = optim.KFAC(network, 0.1)
    kfac.observe(tape, dy)
    natural = [np.linalg.solve(np.kron(inputs, outputs), gradient[block]) for inputs, outputs, block in kfac.factors()]
    assert cosine(1e-16, np.concatenate(natural)) == pytest.approx(1.0, abs=1e-8)
    assert cosine(1e12, gradient) == pytest.approx(1.0, abs=1e-8)
    assert cosine(1e12, np.concatenate(natural)) < 0.95
