"""Update kernels on NumPy arrays.

Arrays are C-contiguous. Floats are of one dtype per call, float32 or float64; flags are bool. A wrong dtype raises
``TypeError``; a wrong shape, an empty array or a strided one raises ``ValueError``. Nothing is cast or copied silently,
and inputs are not modified unless the docstring says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from pgfast._native import core
from pgfast._typing import BoolArray, FloatArray

__all__ = [
    "ConjugateGradientResult",
    "clip_by_global_norm",
    "conjugate_gradient",
    "discounted_returns",
    "fisher_matrix",
    "gae",
    "natural_gradient",
    "natural_gradient_from_scores",
    "natural_step_size",
]


def __dir__() -> list[str]:
    return __all__


LinearOperator: TypeAlias = core.LinearOperator
LinearMap: TypeAlias = Callable[[FloatArray], FloatArray] | LinearOperator


def discounted_returns(rewards: FloatArray, dones: BoolArray, next_values: FloatArray, discount: float) -> FloatArray:
    """Computes the discounted returns of a rollout.

    R_t = r_t + discount (1 - d_t) R_{t+1},  R_T = next_values

    Args:
        rewards: ``[T, N]``, reward of each step.
        dones: ``[T, N]`` bool, True where the episode ends with the step.
        next_values: ``[N]``, value of the state after the last row.
        discount: in [0, 1].

    Returns:
        R, ``[T, N]``, newly allocated.

    Raises:
        TypeError: if a dtype is wrong.
        ValueError: if a shape is wrong or ``discount`` is out of range.

    Source: Sutton and Barto (2018), equation 3.9, bootstrapped after the last row.
    """
    return core.discounted_returns(rewards, dones, next_values, discount)


def gae(
    rewards: FloatArray,
    values: FloatArray,
    next_values: FloatArray,
    terminated: BoolArray,
    truncated: BoolArray | None,
    discount: float,
    gae_lambda: float,
    *,
    out: tuple[FloatArray, FloatArray] | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Computes generalized advantage estimates and the returns that belong to them.

    delta_t = r_t + discount (1 - terminated_t) V(s_{t+1}) - V(s_t)
    A_t = delta_t + discount gae_lambda (1 - terminated_t) (1 - truncated_t) A_{t+1}

    A terminated step is not bootstrapped; either flag stops the recursion. Invalid rows need no special treatment: the
    row before them ends an episode.

    Args:
        rewards: ``[T, N]``, reward of each step.
        values: ``[T, N]``, V of each row's state.
        next_values: ``[N]``, V of the state after the last row; the successor of any other row is then the next row.
            Or ``[T, N]``, V of each row's true successor, needed if a new episode follows a truncated row.
        terminated: ``[T, N]`` bool, True where the episode ends in a terminal state.
        truncated: ``[T, N]`` bool, True where the episode is cut off; None if none is.
        discount: in [0, 1].
        gae_lambda: in [0, 1]; 0 for one-step advantages, 1 for Monte Carlo advantages.
        out: ``(advantages, returns)``, ``[T, N]`` each, written in place; None for new arrays.

    Returns:
        ``(advantages, returns)``, both ``[T, N]``; returns = advantages + values.

    Raises:
        TypeError: if a dtype is wrong.
        ValueError: if a shape is wrong, a number is out of range, or ``out`` shares memory with another argument.

    Source: Schulman et al. (2016), equations 11 to 16, with truncation distinguished from termination.
    """
    return core.gae(rewards, values, next_values, terminated, truncated, discount, gae_lambda, out)


def clip_by_global_norm(gradient: FloatArray, max_norm: float) -> float:
    """Scales a gradient down in place to a Euclidean norm of at most ``max_norm``.

    g <- g min(1, max_norm / ||g||)

    Args:
        gradient: ``[P]``, written in place.
        max_norm: positive.

    Returns:
        The norm before clipping, accumulated in float64.

    Raises:
        TypeError: if the dtype is wrong.
        ValueError: if the shape is wrong, ``max_norm`` is not positive, or the gradient is not finite. The gradient is
            then unchanged.

    Source: Pascanu et al. (2013), algorithm 1.
    """
    return core.clip_by_global_norm(gradient, max_norm)


def fisher_matrix(scores: FloatArray, *, count: int | None = None) -> FloatArray:
    """Computes the empirical Fisher information matrix.

    F = (1/B) sum_b s_b s_b' = S'S / B

    Args:
        scores: ``[B, P]``, one row per sample: grad log pi(a_b | s_b). They are not copied.
        count: divisor of the mean, at least 1; None for B. If ``count`` is the number of rows of all workers, the
            workers' matrices add up to the Fisher matrix of all rows.

    Returns:
        F, ``[P, P]``, newly allocated and exactly symmetric. Scores that are not finite lead to entries that are not
        finite.

    Raises:
        TypeError: if a dtype is wrong.
        ValueError: if the shape is wrong or ``count`` is below 1.

    Source: Kakade (2001), equation 2, with the mean over samples from the policy.
    """
    return core.fisher_matrix(scores, count)


def natural_gradient(fisher: FloatArray, gradient: FloatArray, damping: float = 1e-4) -> FloatArray:
    """Computes the natural gradient by Cholesky factorization.

    x = (F + damping I)^-1 g

    Args:
        fisher: F, ``[P, P]``, symmetric to 1e-5 (float32) or 1e-10 (float64) of its largest entry. Only the entries on
            and below the diagonal are used.
        gradient: g, ``[P]``.
        damping: at least 0.

    Returns:
        x, ``[P]``, newly allocated. The factorization works in one copy of F; a float32 solution is refined with
        residuals in float64.

    Raises:
        numpy.linalg.LinAlgError: if F + damping I is not positive definite in the precision of F.
        TypeError: if a dtype is wrong.
        ValueError: if a shape is wrong, ``damping`` is negative, F is not symmetric, a number is not finite, or the
            solution overflows.

    Source: Amari (1998), theorem 1; Kakade (2001), section 2.
    """
    return core.natural_gradient(fisher, gradient, damping)


def natural_gradient_from_scores(
    scores: FloatArray,
    gradient: FloatArray,
    damping: float = 1e-4,
    *,
    method: Literal["auto", "cholesky", "woodbury"] = "auto",
) -> FloatArray:
    """Computes the natural gradient from scores S, for the Fisher matrix F = S'S / B.

    "cholesky": x = (S'S / B + damping I)^-1 g, in the dtype of the scores
    "woodbury": x = (g - S'(SS' + B damping I)^-1 S g) / damping, a system of B instead of P equations, in float64

    Args:
        scores: S, ``[B, P]``, rows of grad log pi.
        gradient: g, ``[P]``.
        damping: at least 0; positive with "woodbury".
        method: "auto" takes "woodbury" if B < P, else "cholesky".

    Returns:
        x, ``[P]``, newly allocated. "cholesky" works in two ``[P, P]`` matrices of the scores' dtype, "woodbury" in one
        ``[B, B]`` matrix of float64.

    Raises:
        numpy.linalg.LinAlgError: if the matrix of the chosen method is not positive definite.
        TypeError: if a dtype is wrong.
        ValueError: if a shape is wrong, ``damping`` or ``method`` is out of range, a number is not finite, or the
            solution overflows.

    Source: Kakade (2001), section 2; Woodbury (1950), equation 1.
    """
    return core.natural_gradient_from_scores(scores, gradient, damping, method)


def natural_step_size(fisher: FloatArray | LinearMap, natural_gradient: FloatArray, max_kl: float) -> float:
    """Computes the step along the natural gradient whose KL divergence is ``max_kl`` to second order.

    sqrt(2 max_kl / x'Fx),  as KL(theta, theta + step x) is about step^2 x'Fx / 2

    Args:
        fisher: F without damping: a matrix ``[P, P]``, or the map v ``[P]`` -> F v ``[P]`` as a callable or a native
            operator, which is applied to x once. Exceptions of a callable propagate.
        natural_gradient: x, ``[P]``.
        max_kl: positive, in nats.

    Returns:
        The step size; x'Fx is accumulated in float64.

    Raises:
        TypeError: if a dtype is wrong.
        ValueError: if a shape is wrong, ``max_kl`` is not positive, or x'Fx is not positive and finite.

    Source: Peters and Schaal (2008), section 3; Schulman et al. (2015), appendix C.
    """
    return core.natural_step_size(fisher, natural_gradient, max_kl)


class ConjugateGradientResult(NamedTuple):
    """The result of :func:`conjugate_gradient`, which describes each field."""

    solution: FloatArray
    iterations: int
    residual_norm: float
    status: Literal["converged", "max_iterations", "breakdown"]


def conjugate_gradient(
    matvec: LinearMap, b: FloatArray, *, max_iterations: int = 10, tolerance: float = 1e-5, damping: float = 0.0
) -> ConjugateGradientResult:
    """Solves a symmetric positive definite system by conjugate gradients from zero, given only products with A.

    (A + damping I) x = b,  until ||b - (A + damping I) x|| <= tolerance ||b||

    Args:
        matvec: the map v ``[P]`` -> A v ``[P]`` in the dtype of ``b``. A callable receives a new array in every
            iteration, and its exceptions propagate. A native operator is applied without the interpreter; it serves
            one thread at a time, and other threads wait.
        b: ``[P]``. For ``b = 0`` the result is 0, "converged", without a product.
        max_iterations: at least 0; each takes one product.
        tolerance: at least 0, relative to ||b||.
        damping: at least 0.

    Returns:
        ``(solution, iterations, residual_norm, status)``. ``solution`` is x, ``[P]``, newly allocated.
        ``residual_norm`` is ||b - (A + damping I) x||, absolute, as updated by the recursion
        r <- r - alpha (A + damping I) p. ``status`` is "converged", "max_iterations" or "breakdown". Breakdown means
        that p'(A + damping I)p <= 0, where the map is not positive definite, or that a number was not finite;
        ``solution`` is then the last finite iterate. Sums are accumulated in float64. The solver works in five vectors
        of ``P``.

    Raises:
        TypeError: if a dtype is wrong, also that of a product, or ``matvec`` is not callable.
        ValueError: if a shape is wrong, also that of a product, or a number is out of range.

    Source: Hestenes and Stiefel (1952), section 3; Nocedal and Wright (2006), algorithm 5.2.
    """
    return ConjugateGradientResult(*core.conjugate_gradient(matvec, b, max_iterations, tolerance, damping))
