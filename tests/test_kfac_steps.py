"""optim.KFAC as an optimizer: its averages, its steps and its state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pgfast
from pgfast import nn, optim
from test_kfac import NETWORKS, make, recorded


def test_averages_are_corrected_for_their_start(rng: np.random.Generator) -> None:
    network = make("dense")
    averaged, latest = optim.KFAC(network, 0.1, decay=0.9), optim.KFAC(network, 0.1, decay=0.0)
    weights, found = [], []
    for step in range(5):
        tape, _, dy = recorded(network, 20, rng)
        for kfac in (averaged, latest):
            kfac.observe(tape, dy)
        found.append(latest.factors()[0].inputs.copy())
        weights.append(0.9 ** (4 - step))
    np.testing.assert_allclose(averaged.factors()[0].inputs, np.average(found, axis=0, weights=weights), rtol=1e-12)


def test_factors_are_kept_for_some_observations(rng: np.random.Generator) -> None:
    network = make("dense")
    kfac = optim.KFAC(network, 0.1, inverse_every=3)
    gradient = rng.standard_normal(network.parameters.size)
    found = []
    for _ in range(4):
        tape, _, dy = recorded(network, 20, rng)
        kfac.observe(tape, dy)
        found.append(kfac.natural_gradient(gradient))
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])
    assert (found[3] != found[0]).any()


def test_a_step_is_a_mean_of_bounded_natural_gradients(rng: np.random.Generator) -> None:
    network = make("dense")
    kfac = optim.KFAC(network, 0.1, momentum=0.5, max_kl=0.02)
    parameters, velocity = network.parameters.copy(), np.zeros_like(network.parameters)
    for size in (1.0, 1e3):
        tape, _, dy = recorded(network, 20, rng)
        kfac.observe(tape, dy)
        gradient = size * 1e-3 * rng.standard_normal(network.parameters.size)
        x = kfac.natural_gradient(gradient)
        scale = min(1.0, np.sqrt(2 * 0.02 / (0.1**2 * (x @ gradient))))
        velocity = 0.5 * velocity + 0.5 * scale * x
        parameters = parameters - 0.1 * velocity
        assert kfac.step(network.parameters, gradient) == pytest.approx(scale)
        assert (scale < 1.0) == (size > 1.0)
        np.testing.assert_allclose(network.parameters, parameters, rtol=1e-12)
    assert kfac.steps == 2


def test_statistics_of_a_step_are_those_of_an_observation_before_it(rng: np.random.Generator) -> None:
    networks = [make("dense") for _ in range(2)]
    gradient = rng.standard_normal(networks[0].parameters.size)
    first, second = (optim.KFAC(network, 0.1) for network in networks)
    _, x, dy = recorded(networks[0], 20, rng)
    for kfac in (first, second):
        tape = nn.Tape(kfac.network, 20)
        tape.record(x)
        statistics = kfac.measure(tape, dy)
        if kfac is first:
            kfac.step(kfac.network.parameters, gradient, statistics=statistics)
        else:
            kfac.observe(tape, dy)
            kfac.step(kfac.network.parameters, gradient)
    np.testing.assert_array_equal(networks[0].parameters, networks[1].parameters)
    assert first.observations == second.observations == 1


def test_a_step_that_raises_leaves_the_averages(rng: np.random.Generator) -> None:
    network = make("dense")
    kfac = optim.KFAC(network, 0.1)
    tape, _, dy = recorded(network, 20, rng)
    kfac.observe(tape, dy)
    before = kfac.state()
    with pytest.raises(pgfast.NonFiniteError, match="gradient must be finite"):
        kfac.step(network.parameters, np.full_like(network.parameters, np.nan), statistics=kfac.measure(tape, 2.0 * dy))
    assert kfac.observations == 1
    np.testing.assert_array_equal(kfac.state()["averages"], before["averages"])


def test_no_step_is_longer_than_the_radius(rng: np.random.Generator) -> None:
    """With momentum, too, if the gradient is always the same."""
    network = make("dense")
    kfac = optim.KFAC(network, 10.0, max_kl=1e-3, damping=1e-8)
    tape, _, dy = recorded(network, 200, rng)
    kfac.observe(tape, dy)
    gradient = rng.standard_normal(network.parameters.size)
    lengths = []
    for _ in range(60):
        before = network.parameters.copy()
        kfac.step(network.parameters, gradient)
        lengths.append(kfac.curvature(network.parameters - before) / 2.0)
    assert max(lengths) <= 1e-3
    assert lengths[-1] > 0.95e-3


def test_a_restored_state_continues_bit_for_bit(dtype: Any, rng: np.random.Generator) -> None:
    networks = [make("convolutions", dtype) for _ in range(2)]
    first, second = (optim.KFAC(network, 0.1, inverse_every=3) for network in networks)
    for step in range(7):
        _, x, dy = recorded(networks[0], 20, rng)
        gradient = rng.standard_normal(networks[0].parameters.size).astype(dtype)
        if step == 4:
            second.load_state(first.state())
            networks[1].parameters[:] = networks[0].parameters
        for kfac, network in ((first, networks[0]), (second, networks[1])):
            own = nn.Tape(network, 20)
            own.record(x)
            kfac.observe(own, dy)
            kfac.step(network.parameters, gradient)
    np.testing.assert_array_equal(networks[1].parameters, networks[0].parameters)


@pytest.mark.parametrize("name", NETWORKS)
def test_bits_do_not_depend_on_threads(name: str, dtype: Any, num_threads: Callable[[int], None]) -> None:
    found = []
    for threads in (1, 2, 3, 8):
        num_threads(threads)
        rng = np.random.default_rng(5)
        network = make(name, dtype)
        kfac = optim.KFAC(network, 0.1)
        tape, _, dy = recorded(network, 90, rng)
        kfac.observe(tape, dy)
        gradient = rng.standard_normal(network.parameters.size).astype(dtype)
        kfac.step(network.parameters, gradient)
        found.append((network.parameters, kfac.curvature(gradient)))
    for parameters, curvature in found[1:]:
        np.testing.assert_array_equal(parameters, found[0][0])
        assert curvature == found[0][1]


def test_a_singular_average_is_damped_more(rng: np.random.Generator) -> None:
    network = make("dense", np.float32)
    kfac = optim.KFAC(network, 0.1, damping=1e-15)
    tape, _, dy = recorded(network, 2, rng)  # of rank 2
    kfac.observe(tape, dy)
    assert np.isfinite(kfac.natural_gradient(np.ones_like(network.parameters))).all()
    assert kfac.raised_dampings > 0


def test_numbers_that_are_not_finite_change_nothing(rng: np.random.Generator) -> None:
    network = make("dense", np.float32)
    kfac = optim.KFAC(network, 0.1)
    tape, _, dy = recorded(network, 20, rng)
    kfac.observe(tape, dy)
    before = [np.array(value) for value in kfac.state().values() if isinstance(value, np.ndarray)]
    with pytest.raises(pgfast.NonFiniteError, match=r"^KFAC\.observe: row_gradients must be finite, got nan"):
        kfac.observe(tape, np.full_like(dy, np.nan))
    with pytest.raises(FloatingPointError, match=r"^KFAC\.observe: the statistics are not finite"):
        kfac.observe(tape, dy * np.float32(1e25))
    with pytest.raises(pgfast.NonFiniteError, match="gradient must be finite"):
        kfac.step(network.parameters, np.full_like(network.parameters, np.inf))
    after = [np.array(value) for value in kfac.state().values() if isinstance(value, np.ndarray)]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (kfac.observations, kfac.steps) == (1, 0)


def test_without_gradients_only_the_damping_is_left(rng: np.random.Generator) -> None:
    network = make("dense")
    tape, _, dy = recorded(network, 20, rng)
    kfac = optim.KFAC(network, 0.1, damping=0.01)
    kfac.observe(tape, np.zeros_like(dy))
    gradient = rng.standard_normal(network.parameters.size)
    x = kfac.natural_gradient(gradient)
    assert np.isfinite(x).all()
    assert x @ gradient > 0.0


def test_a_state_that_does_not_fit_changes_nothing(rng: np.random.Generator) -> None:
    network = make("dense")
    kfac = optim.KFAC(network, 0.1)
    tape, _, dy = recorded(network, 20, rng)
    kfac.observe(tape, dy)
    kfac.step(network.parameters, rng.standard_normal(network.parameters.size))
    state = kfac.state()
    wrong: list[dict[str, Any]] = [
        {**state, "observations": -1},
        {**state, "factored_at": 2},
        {**state, "averages": state["averages"][1:]},
        {**state, "factors": state["factors"] * np.nan},
        {**state, "raised_dampings": 0.5},
        {**state, "descent": {}},
    ]
    for each in wrong:
        with pytest.raises(ValueError, match=r"must|expected|shape"):
            kfac.load_state(each)
    np.testing.assert_array_equal(kfac.state()["averages"], state["averages"])
    np.testing.assert_array_equal(kfac.state()["descent"]["velocity"], state["descent"]["velocity"])
    kfac.load_state(
        {
            **{key: value for key, value in state.items() if key not in ("averages", "factors")},
            "descent": {"steps": 0, "learning_rate": 0.1},
        }
    )
    assert (kfac.observations, kfac.steps) == (0, 0)


def test_arguments(rng: np.random.Generator) -> None:
    network = make("dense")
    for wrong in ({"decay": 1.0}, {"damping": 0.0}, {"max_kl": 0.0}, {"inverse_every": 0}, {"position_stride": 0}):
        with pytest.raises(ValueError, match=rf"^KFAC: {next(iter(wrong))} must be "):
            optim.KFAC(network, 0.1, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs a network without memory"):
        optim.KFAC(nn.Network(nn.NetworkSpec(memory="gru", memory_size=3), (4,), 2), 0.1)
    kfac = optim.KFAC(network, 0.1)
    with pytest.raises(ValueError, match="observe comes first"):
        kfac.natural_gradient(np.zeros_like(network.parameters))
    tape, _, dy = recorded(make("dense"), 20, rng)
    with pytest.raises(ValueError, match="tape must be one of this network"):
        kfac.observe(tape, dy)
    tape, _, dy = recorded(network, 20, rng)
    with pytest.raises(ValueError, match="valid must be true for at least one row"):
        kfac.observe(tape, dy, valid=np.zeros(20, np.bool_))
