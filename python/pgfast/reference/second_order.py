"""The Fisher matrix, the natural gradient and its step size, and conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def fisher_matrix(scores: Array, count: int | None = None) -> Array:
    """F = (1/count) sum_b s_b s_b', ``[P, P]``; ``count`` None is B."""
    fisher = np.zeros((scores.shape[1], scores.shape[1]))
    for score in scores:
        fisher += np.outer(score, score)
    return fisher / (len(scores) if count is None else count)


def natural_gradient(fisher: Array, gradient: Array, damping: float) -> Array:
    """x = (F + damping I)^-1 g, ``[P]``."""
    return np.asarray(np.linalg.solve(fisher + damping * np.eye(len(fisher)), gradient), np.float64)


def natural_gradient_woodbury(scores: Array, gradient: Array, damping: float) -> Array:
    """x = (g - S'(SS' + B damping I)^-1 S g) / damping, ``[P]``."""
    batch = len(scores)
    among_scores = np.linalg.solve(scores @ scores.T + batch * damping * np.eye(batch), scores @ gradient)
    result: Array = (gradient - scores.T @ among_scores) / damping
    return result


def natural_step_size(fisher: Array, natural_gradient: Array, max_kl: float) -> float:
    """sqrt(2 max_kl / x'Fx)."""
    return float(np.sqrt(2.0 * max_kl / (natural_gradient @ fisher @ natural_gradient)))


def conjugate_gradient(
    matvec: Callable[[Array], Array], b: Array, max_iterations: int, tolerance: float, damping: float
) -> tuple[Array, int, float, str]:
    """Nocedal and Wright (2006), algorithm 5.2, on A + damping I: (x, iterations, ||r||, status)."""
    x, r, p = np.zeros_like(b), b, b
    for iteration in range(max_iterations + 1):
        if np.linalg.norm(r) <= tolerance * np.linalg.norm(b):
            return x, iteration, float(np.linalg.norm(r)), "converged"
        if iteration == max_iterations:
            break
        product = matvec(p) + damping * p
        curvature = p @ product
        if not curvature > 0.0:
            return x, iteration, float(np.linalg.norm(r)), "breakdown"
        alpha = (r @ r) / curvature
        x = x + alpha * p
        following = r - alpha * product
        p = following + (following @ following) / (r @ r) * p
        r = following
    return x, max_iterations, float(np.linalg.norm(r)), "max_iterations"
