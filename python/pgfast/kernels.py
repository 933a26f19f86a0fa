"""Update kernels on NumPy arrays.

Arrays are C-contiguous, one float dtype per call (float32 or float64), flags are bool. A wrong dtype raises
``TypeError``, a wrong shape, an empty or a strided array ``ValueError``; nothing is cast or copied behind your back.
Inputs are not modified unless the docstring says so.
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

LinearOperator: TypeAlias = core.LinearOperator
LinearMap: TypeAlias = Callable[[FloatArray], FloatArray] | LinearOperator


def discounted_returns(rewards: FloatArray, dones: BoolArray, next_values: FloatArray, discount: float) -> FloatArray:
    """Discounted returns of a rollout.

    R_t = r_t + discount (1 - d_t) R_{t+1},  R_T = next_values

    Args:
        rewards: ``[T, N]``, reward of each step.
        dones: ``[T, N]`` bool, True where the episode ends with the step.
        next_values: ``[N]``, value of the state after the last row.
        discount: in [0, 1].

    Returns: ``[T, N]``, newly allocated.

    Raises: ``TypeError`` (dtype), ``ValueError`` (shape, range).

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
    """Generalized advantage estimation.

    delta_t = r_t + discount (1 - terminated_t) V(s_{t+1}) - V(s_t)
    A_t = delta_t + discount gae_lambda (1 - terminated_t) (1 - truncated_t) A_{t+1}

    A terminated step is not bootstrapped; the recursion is cut at either flag. It runs over rows that are not valid:
    the row before them has cut it off.

    Args:
        rewards: ``[T, N]``.
        values: ``[T, N]``, V of each row's state.
        next_values: ``[N]``, V of the state after the last row, each other row's successor being the next row; or
            ``[T, N]``, V of each row's true successor, needed where a truncated row is followed by a new game.
        terminated: ``[T, N]`` bool, the episode ended in a terminal state.
        truncated: ``[T, N]`` bool, the episode was cut off; or None.
        discount: in [0, 1].
        gae_lambda: in [0, 1]; 0 gives one-step, 1 Monte Carlo advantages.
        out: ``(advantages, returns)``, ``[T, N]`` each, written in place; None for new ones.

    Returns: ``(advantages, returns)``, both ``[T, N]``; returns = advantages + values.

    Raises: ``TypeError`` (dtype), ``ValueError`` (shape, range, an out that shares memory with another argument).

    Source: Schulman et al. (2016), equations 11 to 16, with truncation told from termination.
    """
    return core.gae(rewards, values, next_values, terminated, truncated, discount, gae_lambda, out)


def clip_by_global_norm(gradient: FloatArray, max_norm: float) -> float:
    """Scales a gradient down, in place, so that its Euclidean norm is at most ``max_norm``.

    g <- g min(1, max_norm / ||g||)

    Args:
        gradient: ``[P]``, written in place.
        max_norm: positive.

    Returns: the norm before clipping (accumulated in float64).

    Raises: ``TypeError`` (dtype), ``ValueError`` (shape; a gradient that is not finite is left as it is).

    Source: Pascanu et al. (2013), algorithm 1.
    """
    return core.clip_by_global_norm(gradient, max_norm)


def fisher_matrix(scores: FloatArray, *, count: int | None = None) -> FloatArray:
    """The empirical Fisher information matrix.

    F = (1/B) sum_b s_b s_b' = S'S / B

    Args:
        scores: ``[B, P]``, a row for each sample: grad log pi(a_b | s_b).
        count: divisor of the mean, at least 1, instead of B: with the rows of all workers the matrices of several add
            up to that of all scores.

    Returns: ``[P, P]``, newly allocated and exactly symmetric. The scores are not copied.

    Raises: ``TypeError`` (dtype), ``ValueError`` (shape, count). Numbers that are not finite go through.

    Source: Kakade (2001), equation 2, with the mean over the policy's own samples.
    """
    return core.fisher_matrix(scores, count)


def natural_gradient(fisher: FloatArray, gradient: FloatArray, damping: float = 1e-4) -> FloatArray:
    """The natural gradient, by Cholesky's factorization.

    x = (F + damping I)^-1 g

    Args:
        fisher: ``[P, P]``, symmetric to 1e-5 (float32) or 1e-10 (float64) of its largest entry; the entries on and
            below the diagonal are used.
        gradient: ``[P]``.
        damping: at least 0.

    Returns: x, ``[P]``, newly allocated. The factorization works in one copy of F; a float32 solution is refined with
    residuals in float64.

    Raises: ``numpy.linalg.LinAlgError`` where F + damping I is not positive definite in the precision of F,
    ``TypeError`` (dtype), ``ValueError`` (shape, range; not symmetric; not finite; a solution that overflows).

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
    """The natural gradient from the scores whose mean outer product is F = S'S / B.

    "cholesky": x = (S'S / B + damping I)^-1 g, in the dtype of the scores
    "woodbury": x = (g - S'(SS' + B damping I)^-1 S g) / damping, a system of B instead of P equations, in float64

    Args:
        scores: ``[B, P]``, rows of grad log pi.
        gradient: ``[P]``.
        damping: at least 0; positive with "woodbury".
        method: "auto" takes "woodbury" where B < P, else "cholesky".

    Returns: x, ``[P]``, newly allocated. Works in two ``[P, P]`` matrices of the scores' dtype, or one ``[B, B]`` of
    float64.

    Raises: as :func:`natural_gradient`.

    Source: Kakade (2001), section 2; Woodbury (1950), equation 1.
    """
    return core.natural_gradient_from_scores(scores, gradient, damping, method)


def natural_step_size(fisher: FloatArray | LinearMap, natural_gradient: FloatArray, max_kl: float) -> float:
    """The step along the natural gradient that spends ``max_kl``, to second order.

    sqrt(2 max_kl / x'Fx),  as KL(theta, theta + step x) is about step^2 x'Fx / 2

    Args:
        fisher: F without damping: ``[P, P]``, or v ``[P]`` -> F v ``[P]``, a callable or a native operator, which is
            applied to x once.
        natural_gradient: x, ``[P]``.
        max_kl: positive, in nats.

    Returns: the step size; x'Fx is accumulated in float64.

    Raises: ``TypeError`` (dtype), ``ValueError`` (shape, range; where x'Fx is not positive and finite). Exceptions of a
    callable pass through.

    Source: Peters and Schaal (2008), section 3; Schulman et al. (2015), appendix C.
    """
    return core.natural_step_size(fisher, natural_gradient, max_kl)


class ConjugateGradientResult(NamedTuple):
    """What :func:`conjugate_gradient` gives; ``status`` is "converged", "max_iterations" or "breakdown"."""

    solution: FloatArray
    iterations: int
    residual_norm: float
    status: Literal["converged", "max_iterations", "breakdown"]


def conjugate_gradient(
    matvec: LinearMap, b: FloatArray, *, max_iterations: int = 10, tolerance: float = 1e-5, damping: float = 0.0
) -> ConjugateGradientResult:
    """Solves a symmetric positive definite system that is known by its products, with conjugate gradients from zero.

    (A + damping I) x = b,  until ||b - (A + damping I) x|| <= tolerance ||b||

    Args:
        matvec: v ``[P]`` -> A v ``[P]`` of the dtype of ``b``: a callable, which gets a new array in every iteration
            and whose exceptions pass through; or a native operator, applied without the interpreter. An operator
            serves one thread at a time, others wait for it.
        b: ``[P]``. ``b = 0`` gives 0, "converged", without a product.
        max_iterations: at least 0; one product each.
        tolerance: at least 0, relative to ||b||.
        damping: at least 0.

    Returns: ``(solution, iterations, residual_norm, status)``. ``solution`` is ``[P]`` and newly allocated.
    ``residual_norm`` is ||b - (A + damping I) x|| as the recursion r <- r - alpha (A + damping I) p has it, absolute,
    not relative to ||b||. "breakdown": p'(A + damping I)p <= 0, so that the map is not positive definite, or a number
    that is not finite came up; ``solution`` is then the last finite iterate. Sums are accumulated in float64. It works
    in five vectors of ``P``.

    Raises: ``TypeError`` (dtype, not callable), ``ValueError`` (shape, range; also of what ``matvec`` returns).

    Source: Hestenes and Stiefel (1952), section 3; Nocedal and Wright (2006), algorithm 5.2.
    """
    return ConjugateGradientResult(*core.conjugate_gradient(matvec, b, max_iterations, tolerance, damping))
