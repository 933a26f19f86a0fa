"""kernels.natural_gradient, natural_gradient_from_scores and natural_step_size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from pgfast import kernels, nn
from pgfast.policies import CategoricalPolicy
from pgfast.reference import second_order as reference

Draw = Callable[..., NDArray[np.float64]]
AssertClose = Callable[[NDArray[Any], NDArray[np.float64]], None]
Method = Literal["auto", "cholesky", "woodbury"]

METHODS: list[Method] = ["auto", "cholesky", "woodbury"]
SIZES = [1, 2, 63, 64, 65, 127, 128, 129, 200, 320]  # around panels of 128 columns and chunks of 64 rows


def as_both_dtypes(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the matrix rounded to float32's numbers and exactly symmetric."""
    rounded: NDArray[np.float64] = np.tril(matrix).astype(np.float32).astype(np.float64)
    return rounded + np.tril(rounded, -1).T


@pytest.mark.parametrize("size", SIZES)
def test_natural_gradient_matches_the_reference(size: int, draw: Draw, dtype: Any, assert_close: AssertClose) -> None:
    fisher, gradient = as_both_dtypes(reference.fisher_matrix(draw(size + 20, size))), draw(size)
    got = kernels.natural_gradient(fisher.astype(dtype), gradient.astype(dtype), 0.1)
    assert_close(got, reference.natural_gradient(fisher, gradient, 0.1))


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (20, 30), (30, 20), (130, 300), (270, 140)], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_natural_gradient_from_scores_matches_the_reference(
    shape: tuple[int, int], method: Method, draw: Draw, dtype: Any, assert_close: AssertClose
) -> None:
    scores, gradient = draw(*shape), draw(shape[1])
    got = kernels.natural_gradient_from_scores(scores.astype(dtype), gradient.astype(dtype), 0.1, method=method)
    expected = reference.natural_gradient(reference.fisher_matrix(scores), gradient, 0.1)
    np.testing.assert_allclose(reference.natural_gradient_woodbury(scores, gradient, 0.1), expected, rtol=1e-9)
    assert_close(got, expected)


@pytest.mark.parametrize("shape", [(40, 100), (100, 40)], ids=str)
def test_auto_takes_the_smaller_system(shape: tuple[int, int], draw: Draw, dtype: Any) -> None:
    scores, gradient = draw(*shape).astype(dtype), draw(shape[1]).astype(dtype)
    smaller: Method = "woodbury" if shape[0] < shape[1] else "cholesky"
    chosen = kernels.natural_gradient_from_scores(scores, gradient, 0.01)
    np.testing.assert_array_equal(chosen, kernels.natural_gradient_from_scores(scores, gradient, 0.01, method=smaller))


@pytest.mark.parametrize("damping", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("among_scores", [False, True])
def test_woodbury_does_not_lose_accuracy_to_cancellation(
    damping: float, among_scores: bool, draw: Draw, dtype: Any
) -> None:
    # If g is a combination of the scores, almost all of it cancels in g - S'(...)^-1 S g.
    scores = draw(50, 80)
    gradient = scores.T @ draw(50) if among_scores else draw(80)
    gradient = gradient.astype(np.float32).astype(np.float64)
    expected = reference.natural_gradient(reference.fisher_matrix(scores), gradient, damping)
    errors = {
        method: np.linalg.norm(
            kernels.natural_gradient_from_scores(scores.astype(dtype), gradient.astype(dtype), damping, method=method)
            - expected
        )
        / np.linalg.norm(expected)
        for method in METHODS
    }
    assert errors["woodbury"] <= (1e-6 if dtype == np.float32 else 1e-15 / damping + 1e-13)
    if dtype == np.float32:
        assert errors["woodbury"] <= errors["cholesky"] + 1e-7


def test_single_precision_is_refined(draw: Draw) -> None:
    fisher = as_both_dtypes(reference.fisher_matrix(draw(300, 100) * np.logspace(0, -2, 100)))
    gradient = draw(100)
    got = kernels.natural_gradient(fisher.astype(np.float32), gradient.astype(np.float32), 1e-4)
    expected = reference.natural_gradient(fisher, gradient, 1e-4)
    assert np.linalg.norm(got - expected) <= 1e-6 * np.linalg.norm(expected)


def test_direction_and_step_size_equal_the_courses_explicit_inverse(draw: Draw) -> None:
    F, grad, reg = reference.fisher_matrix(draw(200, 15)), draw(15), 1e-3
    F_inv = np.linalg.inv(F + reg * np.eye(F.shape[0]))
    natural_grad = F_inv.dot(grad.flatten())
    np.testing.assert_allclose(kernels.natural_gradient(F, grad, reg), natural_grad, rtol=1e-10)
    step_size = np.sqrt((2 * 0.01) / (natural_grad.T.dot(F.dot(natural_grad))))
    assert kernels.natural_step_size(F, natural_grad, 0.01) == pytest.approx(step_size, rel=1e-12)


def test_conjugate_gradient_finds_the_same_solution(draw: Draw) -> None:
    scores, gradient = draw(60, 20), draw(20)
    exact = kernels.natural_gradient_from_scores(scores, gradient, 0.01)

    def product(v: NDArray[np.float64]) -> NDArray[np.float64]:
        return scores.T @ (scores @ v) / len(scores)

    got = kernels.conjugate_gradient(product, gradient, damping=0.01, max_iterations=60, tolerance=1e-12)
    assert got.status == "converged"
    np.testing.assert_allclose(got.solution, exact, rtol=1e-9)


def test_the_default_damping_is_1e_minus_4(draw: Draw) -> None:
    scores, gradient = draw(60, 20), draw(20)
    fisher = kernels.fisher_matrix(scores)
    np.testing.assert_array_equal(
        kernels.natural_gradient(fisher, gradient), kernels.natural_gradient(fisher, gradient, 1e-4)
    )
    np.testing.assert_array_equal(
        kernels.natural_gradient_from_scores(scores, gradient),
        kernels.natural_gradient_from_scores(scores, gradient, 1e-4),
    )


@pytest.mark.parametrize("exponent", [-100, -30, 30, 100])
def test_the_natural_gradient_scales_exactly_with_its_arguments(exponent: int, draw: Draw, dtype: Any) -> None:
    fisher = as_both_dtypes(reference.fisher_matrix(draw(50, 20))).astype(dtype)
    gradient = draw(20).astype(dtype)
    x = kernels.natural_gradient(fisher, gradient, 0.125)
    np.testing.assert_array_equal(
        kernels.natural_gradient(fisher, np.ldexp(gradient, exponent), 0.125), np.ldexp(x, exponent)
    )
    # Cholesky's square root commutes with scaling by an even power of two.
    scaled = kernels.natural_gradient(np.ldexp(fisher, exponent), gradient, float(np.ldexp(0.125, exponent)))
    np.testing.assert_array_equal(scaled, np.ldexp(x, -exponent))


def test_a_rank_deficient_matrix_needs_damping(draw: Draw, dtype: Any) -> None:
    scores, gradient = draw(5, 20), draw(20)
    fisher = as_both_dtypes(reference.fisher_matrix(scores))
    with pytest.raises(
        np.linalg.LinAlgError, match=r"^natural_gradient: fisher \+ damping I must be positive definite"
    ):
        kernels.natural_gradient(np.diag(np.arange(20)).astype(dtype), gradient.astype(dtype), 0.0)
    got = kernels.natural_gradient(fisher.astype(dtype), gradient.astype(dtype), 0.1)
    np.testing.assert_allclose(got, reference.natural_gradient(fisher, gradient, 0.1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("at", [0, 100, 129, 199])
def test_an_indefinite_matrix_is_refused(at: int, dtype: Any) -> None:
    fisher = np.eye(200, dtype=dtype)
    fisher[at, at] = -1.0
    with pytest.raises(np.linalg.LinAlgError):
        kernels.natural_gradient(fisher, np.ones(200, dtype))
    np.testing.assert_allclose(kernels.natural_gradient(fisher, np.ones(200, dtype), 3.0)[at], 0.5, rtol=1e-6)


@pytest.mark.parametrize("at", [(0, 1), (150, 20), (20, 150), (199, 198)])
def test_an_asymmetric_matrix_is_refused(at: tuple[int, int], dtype: Any) -> None:
    tolerance = 1e-5 if dtype == np.float32 else 1e-10
    fisher = 4.0 * np.eye(200, dtype=dtype)
    fisher[at] = 3.0 * tolerance
    kernels.natural_gradient(fisher, np.ones(200, dtype))
    fisher[at] = 5.0 * tolerance
    i, j = max(at), min(at)
    with pytest.raises(ValueError, match=rf"but \[{i}, {j}\] and \[{j}, {i}\] differ by"):
        kernels.natural_gradient(fisher, np.ones(200, dtype))


def test_a_zero_gradient_has_a_zero_natural_gradient(draw: Draw, dtype: Any) -> None:
    scores = draw(30, 10).astype(dtype)
    assert not kernels.natural_gradient(kernels.fisher_matrix(scores), np.zeros(10, dtype)).any()
    for method in METHODS:
        assert not kernels.natural_gradient_from_scores(scores, np.zeros(10, dtype), method=method).any()


def test_a_solution_that_overflows_is_refused(dtype: Any) -> None:
    tiny, huge = np.finfo(dtype).tiny, np.finfo(dtype).max
    with pytest.raises(ValueError, match=r"^natural_gradient: the solution overflows$"):
        kernels.natural_gradient(np.eye(3, dtype=dtype) * tiny, np.full(3, huge), 0.0)


def test_the_step_size_reaches_max_kl(draw: Draw, dtype: Any) -> None:
    fisher = as_both_dtypes(reference.fisher_matrix(draw(300, 150)))
    x = draw(150)
    step = kernels.natural_step_size(fisher.astype(dtype), x.astype(dtype), 0.02)
    assert step == pytest.approx(reference.natural_step_size(fisher, x, 0.02), rel=1e-12)
    assert step**2 * (x @ fisher @ x) / 2.0 == pytest.approx(0.02, rel=1e-12)
    assert kernels.natural_step_size(fisher.astype(dtype), 4 * x.astype(dtype), 0.02) == pytest.approx(step / 4)


def test_the_step_size_of_a_product_equals_that_of_its_matrix(draw: Draw, dtype: Any) -> None:
    fisher = as_both_dtypes(reference.fisher_matrix(draw(300, 150)))
    x = draw(150).astype(dtype)
    step = kernels.natural_step_size(lambda v: (fisher @ v).astype(dtype), x, 0.02)
    expected = reference.natural_step_size(fisher, x.astype(np.float64), 0.02)
    assert step == pytest.approx(expected, rel=1e-6 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("rows", [1, 100])
def test_the_step_size_of_an_operator_equals_that_of_its_product(rows: int, draw: Draw, dtype: Any) -> None:
    policy = CategoricalPolicy(nn.mlp(4, 3, (8,), dtype=dtype))
    operator, x = policy.fisher_operator(draw(rows, 4).astype(dtype)), draw(policy.parameters.size).astype(dtype)
    step = kernels.natural_step_size(operator, x, 0.02)
    assert step == kernels.natural_step_size(lambda v: operator(v), x, 0.02)
    curvature = float(np.multiply(x, operator(x), dtype=np.float64).sum())
    assert step == pytest.approx(np.sqrt(2.0 * 0.02 / curvature), rel=1e-14)


def test_exceptions_of_a_product_pass_through() -> None:
    def refuse(v: NDArray[Any]) -> NDArray[Any]:
        raise KeyError(len(v))

    with pytest.raises(KeyError, match="5"):
        kernels.natural_step_size(refuse, np.ones(5), 0.01)


@pytest.mark.parametrize("fisher", [np.zeros((2, 2)), -np.eye(2), np.full((2, 2), np.nan), np.full((2, 2), np.inf)])
def test_a_direction_without_curvature_is_refused(fisher: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match=r"^natural_step_size: x'Fx must be positive and finite, got "):
        kernels.natural_step_size(fisher, np.ones(2), 0.01)
    with pytest.raises(ValueError, match=r"^natural_step_size: x'Fx must be positive and finite, got "):
        kernels.natural_step_size(lambda v: fisher[0], np.ones(2), 0.01)


def test_results_depend_on_neither_thread_count_nor_alignment(
    draw: Draw, dtype: Any, num_threads: Callable[[int], None]
) -> None:
    size = 333
    scores, gradient = draw(400, size).astype(dtype), draw(size).astype(dtype)
    fisher = kernels.fisher_matrix(scores)
    results = set()
    for threads in (1, 2, 3):
        num_threads(threads)
        for shift in (0, 1, 3):
            memory = np.empty(fisher.size + shift, dtype)
            shifted = memory[shift:].reshape(fisher.shape)
            shifted[...] = fisher
            x = kernels.natural_gradient(shifted, gradient)
            woodbury = kernels.natural_gradient_from_scores(scores, gradient, method="woodbury")
            step = kernels.natural_step_size(shifted, x, 0.01)
            results.add((x.tobytes(), woodbury.tobytes(), step))
    assert len(results) == 1
