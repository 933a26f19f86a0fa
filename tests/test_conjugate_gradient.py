"""kernels.conjugate_gradient with callables and with native operators."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pgfast import kernels, nn
from pgfast.policies import CategoricalPolicy
from pgfast.reference import second_order as reference

Draw = Callable[..., NDArray[np.float64]]
AssertClose = Callable[[NDArray[Any], NDArray[np.float64]], None]
BLOCK = 1 << 13  # entries that one thread sums at a time


def positive_definite(draw: Draw, n: int) -> NDArray[np.float64]:
    half = draw(n, n)
    matrix: NDArray[np.float64] = (half @ half.T / n + np.eye(n)).astype(np.float32).astype(np.float64)
    return matrix


@pytest.mark.parametrize("damping", [0.0, 0.5])
@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 50])
def test_matches_the_reference(n: int, damping: float, draw: Draw, dtype: Any, assert_close: AssertClose) -> None:
    matrix, b = positive_definite(draw, n), draw(n)
    native = matrix.astype(dtype)
    for iterations in (0, 1, 3):
        got = kernels.conjugate_gradient(
            lambda v: native @ v, b.astype(dtype), max_iterations=iterations, tolerance=1e-3, damping=damping
        )
        x, count, residual_norm, status = reference.conjugate_gradient(
            lambda v: matrix @ v, b, iterations, 1e-3, damping
        )
        assert_close(got.solution, x)
        assert (got.iterations, got.status) == (count, status)
        assert got.residual_norm == pytest.approx(residual_norm, rel=1e-2, abs=1e-5)


def test_n_equations_are_solved_in_n_iterations(draw: Draw) -> None:
    for n in (1, 3, 12):
        matrix, b = positive_definite(draw, n), draw(n)
        got = kernels.conjugate_gradient(lambda v, matrix=matrix: matrix @ v, b, max_iterations=n, tolerance=1e-9)
        assert got.status == "converged"
        assert got.iterations <= n
        np.testing.assert_allclose(got.solution, np.linalg.solve(matrix, b), rtol=1e-8, atol=1e-10)


def test_the_iterations_are_as_many_as_the_distinct_eigenvalues() -> None:
    diagonal = np.repeat([1.0, 2.0, 5.0], 40)
    got = kernels.conjugate_gradient(lambda v: diagonal * v, np.ones(120), tolerance=1e-12)
    assert (got.iterations, got.status) == (3, "converged")
    np.testing.assert_allclose(got.solution, 1.0 / diagonal, rtol=1e-12)


@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, 2 * BLOCK + 5])
def test_systems_of_several_blocks_are_solved(size: int, draw: Draw, dtype: Any, assert_close: AssertClose) -> None:
    diagonal, b = np.linspace(1.0, 3.0, size), draw(size)
    native = diagonal.astype(dtype)
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    got = kernels.conjugate_gradient(lambda v: native * v, b.astype(dtype), max_iterations=40, tolerance=tolerance)
    assert got.status == "converged"
    assert_close(got.solution, b / diagonal)


def test_the_residual_norm_is_that_of_the_solution(draw: Draw) -> None:
    matrix, b = positive_definite(draw, 30), draw(30)
    got = kernels.conjugate_gradient(lambda v: matrix @ v, b, max_iterations=4, tolerance=0.0, damping=0.3)
    assert got.status == "max_iterations"
    expected = np.linalg.norm(b - matrix @ got.solution - 0.3 * got.solution)
    assert got.residual_norm == pytest.approx(expected, rel=1e-10)


def test_damping_is_added_to_the_map(draw: Draw) -> None:
    matrix, b = positive_definite(draw, 10), draw(10)
    damped = kernels.conjugate_gradient(lambda v: matrix @ v, b, max_iterations=20, tolerance=1e-10, damping=2.0)
    np.testing.assert_allclose(damped.solution, np.linalg.solve(matrix + 2.0 * np.eye(10), b), rtol=1e-8)


def test_a_native_operator_and_its_product_as_a_callable_agree_bit_for_bit(draw: Draw, dtype: Any) -> None:
    policy = CategoricalPolicy(nn.mlp(9, 3, (), dtype=dtype))
    operator, b = policy.fisher_operator(draw(40, 9).astype(dtype)), draw(30).astype(dtype)
    native = kernels.conjugate_gradient(operator, b, damping=0.1, max_iterations=7)
    called = kernels.conjugate_gradient(lambda v: operator(v), b, damping=0.1, max_iterations=7)
    np.testing.assert_array_equal(native.solution, called.solution)
    assert native[1:] == called[1:]


def test_a_zero_right_hand_side_needs_no_product() -> None:
    def refuse(v: NDArray[Any]) -> NDArray[Any]:
        raise AssertionError(v)

    got = kernels.conjugate_gradient(refuse, np.zeros(3))
    assert got.solution.tolist() == [0.0, 0.0, 0.0]
    assert got[1:] == (0, 0.0, "converged")


def test_the_first_product_is_with_the_right_hand_side(draw: Draw, dtype: Any) -> None:
    b = draw(5).astype(dtype)
    seen: list[NDArray[Any]] = []

    def identity(v: NDArray[Any]) -> NDArray[Any]:
        seen.append(v)
        return v

    got = kernels.conjugate_gradient(identity, b)
    np.testing.assert_array_equal(got.solution, b)
    assert len(seen) == 1
    np.testing.assert_array_equal(seen[0], b)


def test_indefinite_maps_break_down(dtype: Any) -> None:
    got = kernels.conjugate_gradient(lambda v: -v, np.ones(3, dtype))
    assert got.solution.tolist() == [0.0, 0.0, 0.0]
    assert got[1:] == (0, pytest.approx(np.sqrt(3.0)), "breakdown")
    # The curvature along the second search direction is negative: the first iterate is kept.
    diagonal = np.array([1.0, 2.0, -0.5], dtype)
    got = kernels.conjugate_gradient(lambda v: diagonal * v, np.ones(3, dtype))
    assert (got.iterations, got.status) == (1, "breakdown")
    np.testing.assert_allclose(got.solution, np.full(3, 3.0 / 2.5), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_numbers_break_down_and_keep_the_last_iterate(bad: float, dtype: Any) -> None:
    diagonal = np.arange(1, 6).astype(dtype)
    calls = 0

    def fail_at_the_third_call(v: NDArray[Any]) -> NDArray[Any]:
        nonlocal calls
        calls += 1
        product = diagonal * v
        product[2] = bad if calls == 3 else product[2]
        return product

    got = kernels.conjugate_gradient(fail_at_the_third_call, np.ones(5, dtype), tolerance=0.0)
    assert (got.iterations, got.status) == (2, "breakdown")
    two = kernels.conjugate_gradient(lambda v: diagonal * v, np.ones(5, dtype), tolerance=0.0, max_iterations=2)
    np.testing.assert_array_equal(got.solution, two.solution)
    assert got.residual_norm == two.residual_norm
    b = np.array([1.0, bad], dtype)
    assert kernels.conjugate_gradient(lambda v: v, b).status == "breakdown"
    assert kernels.conjugate_gradient(lambda v: v, b).solution.tolist() == [0.0, 0.0]


def test_a_solution_that_overflows_breaks_down(dtype: Any) -> None:
    tiny = np.finfo(dtype).tiny
    got = kernels.conjugate_gradient(lambda v: tiny * v, np.full(3, np.finfo(dtype).max))
    assert got.status == "breakdown"
    assert got.solution.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("exponent", [-1000, -300, -20, 0, 20, 300, 1000])
def test_the_solution_scales_with_the_right_hand_side(exponent: int, draw: Draw) -> None:
    matrix, b = positive_definite(draw, 12), draw(12)
    plain = kernels.conjugate_gradient(lambda v: matrix @ v, b, max_iterations=5)
    scaled = kernels.conjugate_gradient(lambda v: matrix @ v, np.ldexp(b, exponent), max_iterations=5)
    # Scaling by a power of two commutes with rounding if nothing is subnormal.
    np.testing.assert_array_equal(scaled.solution, np.ldexp(plain.solution, exponent))
    assert scaled.residual_norm == np.ldexp(plain.residual_norm, exponent)


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e8, 1e30])
def test_the_solution_scales_with_the_map(scale: float, draw: Draw, dtype: Any, assert_close: AssertClose) -> None:
    matrix, b = positive_definite(draw, 6), draw(6)
    native = (scale * matrix).astype(dtype)
    got = kernels.conjugate_gradient(lambda v: native @ v, b.astype(dtype))
    assert_close((scale * got.solution.astype(np.float64)).astype(dtype), np.linalg.solve(matrix, b))


def test_an_ill_conditioned_system_converges_in_single_precision(draw: Draw) -> None:
    diagonal = np.logspace(0, 3, 20)
    b = draw(20)
    got = kernels.conjugate_gradient(
        lambda v: diagonal.astype(np.float32) * v, b.astype(np.float32), max_iterations=60, tolerance=1e-5
    )
    assert got.status == "converged"
    assert np.linalg.norm(diagonal * got.solution - b) <= 3e-5 * np.linalg.norm(b)


def test_a_callable_may_keep_and_overwrite_its_argument(draw: Draw) -> None:
    matrix, b = positive_definite(draw, 8), draw(8)
    kept: list[NDArray[Any]] = []

    def overwrite(v: NDArray[Any]) -> NDArray[Any]:
        product: NDArray[Any] = matrix @ v
        kept.append(v)
        v[:] = np.nan
        return product

    got = kernels.conjugate_gradient(overwrite, b)
    expected = kernels.conjugate_gradient(lambda v: matrix @ v, b)
    np.testing.assert_array_equal(got.solution, expected.solution)
    assert len({array.ctypes.data for array in kept}) == got.iterations > 3


def test_exceptions_of_the_callable_pass_through() -> None:
    class CallableError(BaseException):
        pass

    error = CallableError("raised by the callable")

    def raises(v: NDArray[Any]) -> NDArray[Any]:
        raise error

    with pytest.raises(CallableError) as caught:
        kernels.conjugate_gradient(raises, np.ones(3))
    assert caught.value is error


def test_a_callable_may_solve_a_system_itself(draw: Draw) -> None:
    matrix, b = positive_definite(draw, 6), draw(6)

    def inverse(v: NDArray[Any]) -> NDArray[Any]:
        return kernels.conjugate_gradient(lambda u: matrix @ u, v, max_iterations=20, tolerance=1e-12).solution

    got = kernels.conjugate_gradient(inverse, b, tolerance=1e-10)
    np.testing.assert_allclose(got.solution, matrix @ b, rtol=1e-7, atol=1e-9)


def test_results_depend_on_neither_thread_count_nor_alignment(
    draw: Draw, dtype: Any, num_threads: Callable[[int], None]
) -> None:
    size = 3 * BLOCK + 12
    policy = CategoricalPolicy(nn.mlp(size // 2 - 1, 2, (), dtype=dtype))
    operator = policy.fisher_operator(draw(5, size // 2 - 1).astype(dtype))
    b = draw(size).astype(dtype)
    results = set()
    for threads in (1, 2, 3):
        num_threads(threads)
        for shift in (0, 1, 3):
            shifted = np.empty(size + shift, dtype)[shift:]
            shifted[:] = b
            got = kernels.conjugate_gradient(operator, shifted, damping=1e-2)
            results.add((got.solution.tobytes(), *got[1:]))
    assert len(results) == 1


def test_python_threads_may_share_an_operator(draw: Draw, num_threads: Callable[[int], None]) -> None:
    num_threads(2)
    policy = CategoricalPolicy(nn.mlp(30, 10, (), dtype=np.float64))
    operator, vectors = policy.fisher_operator(draw(400, 30)), draw(40, policy.parameters.size)
    expected = [operator(v) for v in vectors]
    solved = kernels.conjugate_gradient(operator, vectors[0], damping=0.1).solution
    with ThreadPoolExecutor(4) as executor:
        products = [executor.submit(operator, v) for v in vectors]
        solutions = [executor.submit(kernels.conjugate_gradient, operator, vectors[0], damping=0.1) for _ in range(10)]
        for product, vector in zip(products, expected, strict=True):
            np.testing.assert_array_equal(product.result(timeout=60), vector)
        for solution in solutions:
            np.testing.assert_array_equal(solution.result(timeout=60).solution, solved)
