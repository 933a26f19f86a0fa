"""distributions.DiagGaussian."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcheck import check_gradient
from pgfast import Rng
from pgfast.distributions import DiagGaussian
from pgfast.reference import diag_gaussian as reference
from pgfast.reference import random

Draw = Callable[..., NDArray[np.float64]]
AssertClose = Callable[[NDArray[Any], NDArray[np.float64]], None]
Parameters = tuple[NDArray[np.float64], NDArray[np.float64]]

USER_STREAM = 16  # pgfast.Rng(seed, stream) draws from stream 16 + stream
SHAPES = [(1, 1), (1, 6), (7, 2), (33, 17), (2047, 3), (4097, 5)]
EXTREMES = [-1e38, -1000.0, -400.0, -50.0, 0.0, 50.0, 400.0, 1000.0, 1e38]


@pytest.fixture(params=["shared", "per row"])
def shared(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "shared")


@pytest.fixture(params=SHAPES, ids=str)
def parameters(request: pytest.FixtureRequest, draw: Draw, shared: bool) -> Parameters:
    rows, size = request.param
    return draw(rows, size), 0.5 * draw(size) if shared else 0.5 * draw(rows, size)


def native(parameters: Parameters, dtype: Any) -> DiagGaussian:
    return DiagGaussian(parameters[0].astype(dtype), parameters[1].astype(dtype))


def test_log_prob_and_entropy_match_the_reference(
    parameters: Parameters, draw: Draw, dtype: Any, assert_close: AssertClose
) -> None:
    actions = draw(*parameters[0].shape)
    distribution = native(parameters, dtype)
    assert_close(distribution.log_prob(actions.astype(dtype)), reference.log_prob(*parameters, actions))
    assert_close(distribution.entropy(), reference.entropy(*parameters))


@pytest.mark.parametrize("other_shared", [True, False])
def test_kl_matches_the_reference(
    parameters: Parameters, draw: Draw, other_shared: bool, dtype: Any, assert_close: AssertClose
) -> None:
    shape = parameters[0].shape
    other = draw(*shape), 0.5 * draw(*shape[1:] if other_shared else shape)
    got = native(parameters, dtype).kl(native(other, dtype))
    assert_close(got, reference.kl(*parameters, *other))


def test_likelihood_ratio_is_the_ratio_of_densities(parameters: Parameters, draw: Draw, dtype: Any) -> None:
    old = draw(*parameters[0].shape), 0.5 * draw(*parameters[1].shape)
    actions = draw(*parameters[0].shape)
    log_ratio = reference.log_prob(*parameters, actions) - reference.log_prob(*old, actions)
    new = native(parameters, dtype)
    ratio = new.likelihood_ratio(native(old, dtype), actions.astype(dtype))
    assert ratio.dtype == dtype
    np.testing.assert_allclose(
        ratio, np.exp(np.clip(log_ratio, -80.0, 80.0)), rtol=1e-6 if dtype == np.float32 else 1e-11
    )
    assert new.likelihood_ratio(new, actions.astype(dtype)).tolist() == [1.0] * len(actions)


def test_gradient_matches_the_reference(
    parameters: Parameters, draw: Draw, dtype: Any, assert_close: AssertClose
) -> None:
    shape = parameters[0].shape
    actions, weights = draw(*shape), draw(2, shape[0])
    distribution, rows = native(parameters, dtype), actions.astype(dtype)
    both = distribution.gradient(rows, *weights.astype(dtype))
    for got, expected in zip(both, reference.gradient(*parameters, actions, *weights), strict=True):
        assert_close(got, expected)
    weights[1] = 0.0
    without = distribution.gradient(rows, weights[0].astype(dtype))
    for got, expected in zip(without, reference.gradient(*parameters, actions, *weights), strict=True):
        assert_close(got, expected)


def test_gradient_is_the_derivative_of_log_prob_and_entropy(draw: Draw, shared: bool) -> None:
    mean, log_std, actions, weights = draw(4, 3), draw(3) if shared else draw(4, 3), draw(4, 3), draw(2, 4)

    def weighted_sum(mean: NDArray[np.float64], log_std: NDArray[np.float64]) -> float:
        distribution = DiagGaussian(mean, log_std)
        return float(weights[0] @ distribution.log_prob(actions) + weights[1] @ distribution.entropy())

    dmean, dlog_std = DiagGaussian(mean, log_std).gradient(actions, *weights)
    check_gradient(lambda at: weighted_sum(at, log_std), mean, dmean.astype(np.float64))
    check_gradient(lambda at: weighted_sum(mean, at), log_std, dlog_std.astype(np.float64))


def test_unit_gaussians_have_closed_forms(dtype: Any) -> None:
    for size in (1, 2, 17):
        zeros = np.zeros((3, size), dtype)
        distribution = DiagGaussian(zeros, np.zeros(size, dtype))
        np.testing.assert_allclose(distribution.entropy(), size / 2.0 * math.log(2.0 * math.pi * math.e), rtol=1e-6)
        np.testing.assert_allclose(distribution.log_prob(zeros), -size / 2.0 * math.log(2.0 * math.pi), rtol=1e-6)
        shifted = DiagGaussian(zeros + dtype(2.0), np.zeros(size, dtype))
        assert distribution.kl(shifted).tolist() == [2.0 * size] * 3
        assert distribution.kl(distribution).tolist() == [0.0] * 3


def test_kl_and_entropy_are_integrals(draw: Draw) -> None:
    # Gauss-Hermite quadrature is exact for the quadratic log-densities.
    mean, log_std, other_mean, other_log_std = draw(2), draw(2), draw(2), draw(2)
    nodes, weights = np.polynomial.hermite_e.hermegauss(6)
    e = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    weight = np.outer(weights, weights).reshape(-1) / (2.0 * math.pi)
    actions = mean + np.exp(log_std) * e
    p, q = (DiagGaussian(np.tile(m, (len(e), 1)), s) for m, s in ((mean, log_std), (other_mean, other_log_std)))
    log_p, log_q = p.log_prob(actions), q.log_prob(actions)
    np.testing.assert_allclose(p.kl(q)[0], weight @ (log_p - log_q), rtol=1e-12)
    np.testing.assert_allclose(p.entropy()[0], -weight @ log_p, rtol=1e-12)
    # The expected score is zero; its expected square is the Fisher information, 1 / std^2 at the mean, 2 at log_std.
    each = DiagGaussian(p.mean, np.tile(log_std, (len(e), 1)))
    for score, information in zip(each.gradient(actions, np.ones(len(e))), (np.exp(-2.0 * log_std), 2.0), strict=True):
        np.testing.assert_allclose(weight @ score, 0.0, atol=1e-12)
        np.testing.assert_allclose(weight @ score**2, information, rtol=1e-12)


def test_a_shared_log_std_equals_its_copies_per_row(draw: Draw, dtype: Any) -> None:
    mean, log_std, actions, weights = (
        array.astype(dtype) for array in (draw(60, 4), draw(4), draw(60, 4), draw(2, 60))
    )
    one, many = DiagGaussian(mean, log_std), DiagGaussian(mean, np.tile(log_std, (60, 1)))
    np.testing.assert_array_equal(one.log_prob(actions), many.log_prob(actions))
    np.testing.assert_array_equal(one.entropy(), many.entropy())
    np.testing.assert_array_equal(one.sample(3), many.sample(3))
    assert one.kl(many).tolist() == [0.0] * 60
    (dmean, dlog_std), (dmean_many, dlog_std_many) = (each.gradient(actions, *weights) for each in (one, many))
    np.testing.assert_array_equal(dmean, dmean_many)
    assert dlog_std.shape == (4,)
    np.testing.assert_allclose(
        dlog_std, dlog_std_many.astype(np.float64).sum(axis=0), rtol=1e-4 if dtype == np.float32 else 1e-11
    )


def test_the_gradient_of_a_shared_log_std_does_not_depend_on_thread_count(
    draw: Draw, dtype: Any, num_threads: Callable[[int], None]
) -> None:
    mean, log_std, actions, weights = (
        array.astype(dtype) for array in (draw(9000, 3), draw(3), draw(9000, 3), draw(2, 9000))
    )
    results = []
    for threads in (1, 2, 8):
        num_threads(threads)
        results.append(DiagGaussian(mean, log_std).gradient(actions, *weights))
    for dmean, dlog_std in results[1:]:
        np.testing.assert_array_equal(dmean, results[0][0])
        np.testing.assert_array_equal(dlog_std, results[0][1])


def test_kl_of_nearly_equal_rows_is_not_negative(draw: Draw, dtype: Any) -> None:
    mean, log_std = draw(2000, 3).astype(dtype), draw(2000, 3).astype(dtype)
    epsilon = np.finfo(dtype).eps
    near = DiagGaussian(mean + epsilon * mean, log_std + epsilon * draw(2000, 3).astype(dtype))
    assert (DiagGaussian(mean, log_std).kl(near) >= 0.0).all()


def test_mode_is_a_copy_of_the_mean(draw: Draw, dtype: Any) -> None:
    mean = draw(5, 2).astype(dtype)
    mode = DiagGaussian(mean, np.zeros(2, dtype)).mode()
    np.testing.assert_array_equal(mode, mean)
    assert mode.dtype == dtype
    assert not np.may_share_memory(mode, mean)


def test_sample_matches_the_reference(parameters: Parameters, dtype: Any, assert_close: AssertClose) -> None:
    mean, log_std = parameters[0][:100], parameters[1] if parameters[1].ndim == 1 else parameters[1][:100]
    generator = Rng(77, stream=3)
    generator.position = 5
    actions, log_prob = native((mean, log_std), dtype).sample_with_log_prob(generator)
    normals = [
        [random.normal_pair(random.block_of(77, USER_STREAM + 3, row, 5, j // 2))[j % 2] for j in range(mean.shape[1])]
        for row in range(len(mean))
    ]
    assert_close(actions, reference.sample(mean, log_std, np.array(normals)))
    np.testing.assert_array_equal(log_prob, native((mean, log_std), dtype).log_prob(actions))


def test_sample_has_the_moments_of_the_distribution(dtype: Any) -> None:
    rows, mean, log_std = 100_000, np.array([1.0, -2.0, 0.5]), np.array([0.0, 1.0, -1.0])
    actions = DiagGaussian(np.tile(mean, (rows, 1)).astype(dtype), log_std.astype(dtype)).sample(3)
    e = (actions.astype(np.float64) - mean) / np.exp(log_std)
    assert np.abs(e.mean(axis=0)).max() < 4.0 / math.sqrt(rows)
    assert np.abs((e**2).mean(axis=0) - 1.0).max() < 4.0 * math.sqrt(2.0 / rows)
    assert np.abs((e**4).mean(axis=0) - 3.0).max() < 4.0 * math.sqrt(96.0 / rows)
    assert np.abs(np.corrcoef(e.T) - np.eye(3)).max() < 4.0 / math.sqrt(rows)


def test_sample_at_depends_on_seed_stream_row_and_step(draw: Draw) -> None:
    distribution = DiagGaussian(draw(200, 3), draw(3))
    actions, log_prob = distribution.sample_at(4, USER_STREAM, 0, 0)
    np.testing.assert_array_equal(distribution.sample(4), actions)
    np.testing.assert_array_equal(distribution.log_prob(actions), log_prob)
    # Row b of a later group of environments equals row 50 + b of all environments.
    later = DiagGaussian(distribution.mean[50:], distribution.log_std)
    np.testing.assert_array_equal(later.sample_at(4, USER_STREAM, 50, 0)[0], actions[50:])
    for other in (
        distribution.sample_at(5, USER_STREAM, 0, 0),
        distribution.sample_at(4, USER_STREAM + 1, 0, 0),
        distribution.sample_at(4, USER_STREAM, 0, 1),
    ):
        assert not (other[0] == actions).any()


def extreme(dtype: Any, mean: float, log_std: float) -> DiagGaussian:
    return DiagGaussian(np.array([[mean]], dtype), np.array([log_std], dtype))


@pytest.mark.parametrize(
    ("action", "log_std", "log_prob"),
    [
        (0.0, -1e38, 1e38),  # at the mean of a spike
        (1e-30, -1e38, -math.inf),  # beside it
        (1.0, -400.0, -math.inf),
        (0.0, -1000.0, 1000.0 - math.log(2.0 * math.pi) / 2.0),
        (0.0, 1e38, -1e38),
        (1e38, 1e38, -1e38),
        (1e38, 87.0, -0.5 * (1e38 / math.exp(87.0)) ** 2 - 87.0 - math.log(2.0 * math.pi) / 2.0),
        (1e-36, -82.0, -0.5 * (1e-36 * math.exp(82.0)) ** 2 + 82.0 - math.log(2.0 * math.pi) / 2.0),
    ],
)
def test_log_prob_and_entropy_of_an_extreme_log_std(action: float, log_std: float, log_prob: float, dtype: Any) -> None:
    distribution = extreme(dtype, 0.0, log_std)
    np.testing.assert_allclose(distribution.log_prob(np.array([[action]], dtype)), log_prob, rtol=1e-5)
    np.testing.assert_allclose(distribution.entropy(), np.array(log_std + 0.5 * math.log(2 * math.pi * math.e)), 1e-6)


@pytest.mark.parametrize(
    ("p", "q", "kl"),
    [
        ((0.0, -1e38), (0.0, -1e38), 0.0),
        ((0.0, -1e38), (0.0, 0.0), 1e38),
        ((0.0, 0.0), (0.0, 1e38), 1e38),
        ((0.0, 1e38), (0.0, 0.0), math.inf),
        ((0.0, -1e38), (1e-30, -1e38), math.inf),
        ((0.0, 0.0), (1e38, 1e38), 1e38),
        ((0.0, 0.0), (1e19, 0.0), 0.5e38),
    ],
)
def test_kl_of_extreme_parameters(p: tuple[float, float], q: tuple[float, float], kl: float, dtype: Any) -> None:
    np.testing.assert_allclose(extreme(dtype, *p).kl(extreme(dtype, *q)), kl, rtol=1e-6)


def test_a_factor_that_overflows_does_not_make_its_product_overflow(dtype: Any) -> None:
    # 1 / std = e^800 overflows, but (a - m) / std = e^-690 e^800 = e^110 does not.
    got = extreme(np.float64, 0.0, -800.0).log_prob(np.array([[math.exp(-690.0)]]))
    np.testing.assert_allclose(got, -0.5 * math.exp(220.0), rtol=1e-9)
    dmean, dlog_std = extreme(dtype, 0.0, 1e38).gradient(np.array([[1e38]], dtype), np.ones(1, dtype))
    assert dmean.tolist() == [[0.0]]
    assert dlog_std.tolist() == [-1.0]


def test_the_likelihood_ratio_of_extremes_is_finite(dtype: Any) -> None:
    at = np.array([[0.0]], dtype)
    narrow, unit, off_center = extreme(dtype, 0.0, -1e38), extreme(dtype, 0.0, 0.0), extreme(dtype, 1.0, -1e38)
    np.testing.assert_allclose(narrow.likelihood_ratio(unit, at), math.exp(80.0), rtol=1e-6)
    np.testing.assert_allclose(unit.likelihood_ratio(narrow, at), math.exp(-80.0), rtol=1e-6)
    np.testing.assert_allclose(off_center.likelihood_ratio(unit, at), math.exp(-80.0), rtol=1e-6)
    assert off_center.likelihood_ratio(extreme(dtype, 2.0, -1e38), at).tolist() == [1.0]


def test_finite_parameters_never_produce_nan(dtype: Any, shared: bool) -> None:
    values = np.array([0.0, 1e-30, 1.0, -1.0, 1e38, -1e38], dtype)
    mean = np.stack(np.meshgrid(values, values), axis=-1).reshape(-1, 2)
    actions, rows = mean[::-1].copy(), len(mean)
    weights = np.linspace(-1.0, 1.0, rows).astype(dtype)
    weights[::3] = 0.0
    for first in EXTREMES:
        for second in EXTREMES:
            log_std = np.array([first, second], dtype)
            swapped = log_std[::-1].copy()
            if not shared:
                log_std, swapped = np.tile(log_std, (rows, 1)), np.tile(swapped, (rows, 1))
            p, q = DiagGaussian(mean, log_std), DiagGaussian(actions, swapped)
            for result in (
                *(p.log_prob(actions), p.log_prob(mean), p.entropy(), p.kl(q), q.kl(p)),
                *(p.likelihood_ratio(q, actions), *p.sample_with_log_prob(1)),
                *(*p.gradient(actions, weights, weights), *p.gradient(mean, weights)),
            ):
                assert not np.isnan(result).any()
            assert (p.kl(q) >= 0.0).all()
            assert p.kl(p).tolist() == [0.0] * rows


def test_rows_of_opposite_weight_cancel_before_their_common_factor_overflows(dtype: Any) -> None:
    # Alone, either row has an infinite derivative. Their squares are summed before the common factor is applied.
    mean, log_std = np.zeros((2, 1), dtype), np.array([-1e38], dtype)
    weights = np.array([1.0, -1.0], dtype)
    assert DiagGaussian(mean, log_std).gradient(np.array([[1.0], [2.0]], dtype), weights)[1].tolist() == [-math.inf]
    assert DiagGaussian(mean, log_std).gradient(np.array([[1.0], [-1.0]], dtype), weights)[1].tolist() == [0.0]


def test_rows_of_weight_zero_have_no_gradient(dtype: Any, shared: bool) -> None:
    mean, log_std = np.zeros((2, 1), dtype), np.full((1,) if shared else (2, 1), -1e38, dtype)
    actions, weights = np.full((2, 1), 1e38, dtype), np.zeros(2, dtype)
    for array in DiagGaussian(mean, log_std).gradient(actions, weights):
        assert not array.any()


def test_a_sampled_action_that_overflows_is_infinite() -> None:
    actions, log_prob = extreme(np.float32, 0.0, 1000.0).sample_with_log_prob(1)
    assert np.isinf(actions).all()
    assert log_prob.tolist() == [-math.inf]
