"""kernels.fisher_matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pgfast import kernels
from pgfast.reference import second_order as reference

Draw = Callable[..., NDArray[np.float64]]
AssertClose = Callable[[NDArray[Any], NDArray[np.float64]], None]

# Around tiles of 256 parameters, chunks of 256 rows, and blocks of 512 columns and 8192 terms of the products.
SHAPES = [(1, 1), (1, 7), (9, 1), (3, 3), (40, 10), (300, 255), (256, 256), (257, 257), (31, 600), (700, 520)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fisher_matrix_matches_the_reference(
    shape: tuple[int, int], draw: Draw, dtype: Any, assert_close: AssertClose
) -> None:
    scores = draw(*shape)
    assert_close(kernels.fisher_matrix(scores.astype(dtype)), reference.fisher_matrix(scores))


def test_parts_of_two_workers_sum_to_the_whole(draw: Draw, dtype: Any) -> None:
    scores = draw(70, 60).astype(dtype)
    whole = kernels.fisher_matrix(scores)
    halves = kernels.fisher_matrix(scores[:30], count=70) + kernels.fisher_matrix(scores[30:], count=70)
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(halves, whole, rtol=0.0, atol=tolerance * np.abs(whole).max())
    np.testing.assert_array_equal(kernels.fisher_matrix(scores, count=70), whole)
    np.testing.assert_array_equal(kernels.fisher_matrix(scores, count=140), whole / 2)


def test_fisher_matrix_equals_the_courses_loop_of_outer_products(draw: Draw) -> None:
    gradients = draw(50, 12)
    F = np.zeros((12, 12))
    for grad_logp in gradients:
        F += np.outer(grad_logp, grad_logp)
    F /= len(gradients)
    np.testing.assert_allclose(kernels.fisher_matrix(gradients), F, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("shape", [(50, 30), (400, 300), (300, 600)], ids=str)
def test_fisher_matrix_is_exactly_symmetric_and_semidefinite(shape: tuple[int, int], draw: Draw, dtype: Any) -> None:
    fisher = kernels.fisher_matrix(draw(*shape).astype(dtype))
    np.testing.assert_array_equal(fisher, fisher.T)
    smallest = np.linalg.eigvalsh(fisher.astype(np.float64))[0]
    assert smallest > -1e-6 * np.abs(fisher).max() * shape[1]


def test_fisher_matrix_of_a_softmax_policy_is_its_covariance(rng: np.random.Generator) -> None:
    # The score of the logits is e_a - p. Over actions in exact proportion to p, the mean of its outer products is
    # diag(p) - pp'.
    p = np.array([0.5, 0.3, 0.2])
    scores = np.eye(3)[np.repeat(np.arange(3), [50, 30, 20])] - p
    np.testing.assert_allclose(kernels.fisher_matrix(scores), np.diag(p) - np.outer(p, p), rtol=0, atol=1e-15)


def test_huge_and_tiny_scores_scale_exactly(draw: Draw, dtype: Any) -> None:
    scores = draw(30, 5).astype(dtype)
    plain = kernels.fisher_matrix(scores)
    for scale in (2.0**40, 2.0**-40):
        np.testing.assert_array_equal(kernels.fisher_matrix(dtype(scale) * scores), dtype(scale**2) * plain)


def test_non_finite_scores_propagate_to_their_rows_and_columns(draw: Draw) -> None:
    scores = draw(10, 4)
    scores[3, 1] = np.nan
    assert np.isnan(kernels.fisher_matrix(scores)[1]).all()
    assert np.isfinite(kernels.fisher_matrix(scores)[np.ix_([0, 2, 3], [0, 2, 3])]).all()


def test_results_depend_on_neither_thread_count_nor_alignment(
    draw: Draw, dtype: Any, num_threads: Callable[[int], None]
) -> None:
    scores = draw(1000, 530).astype(dtype)
    results = set()
    for threads in (1, 2, 3):
        num_threads(threads)
        for shift in (0, 1, 3):
            memory = np.empty(scores.size + shift, dtype)
            shifted = memory[shift:].reshape(scores.shape)
            shifted[...] = scores
            results.add(kernels.fisher_matrix(shifted).tobytes())
    assert len(results) == 1
