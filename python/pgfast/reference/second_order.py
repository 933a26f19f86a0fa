"""The Fisher matrix, the natural gradient and its step size, and conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["conjugate_gradient", "fisher_matrix", "natural_gradient", "natural_gradient_woodbury", "natural_step_size"]


def fisher_matrix(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """F = (1/B) sum_b s_b s_b', ``[P, P]``."""
    fisher = np.zeros((scores.shape[1], scores.shape[1]))
    for score in scores:
        fisher += np.outer(score, score)
    return fisher / len(scores)


def natural_gradient(fisher: NDArray[np.float64], gradient: NDArray[np.float64], damping: float) -> NDArray[np.float64]:
    """x = (F + damping I)^-1 g, ``[P]``."""
    return np.asarray(np.linalg.solve(fisher + damping * np.eye(len(fisher)), gradient), np.float64)


def natural_gradient_woodbury(
    scores: NDArray[np.float64], gradient: NDArray[np.float64], damping: float
) -> NDArray[np.float64]:
    """x = (g - S'(SS' + B damping I)^-1 S g) / damping, ``[P]``."""
    batch = len(scores)
    among_scores = np.linalg.solve(scores @ scores.T + batch * damping * np.eye(batch), scores @ gradient)
    result: NDArray[np.float64] = (gradient - scores.T @ among_scores) / damping
    return result


def natural_step_size(fisher: NDArray[np.float64], natural_gradient: NDArray[np.float64], max_kl: float) -> float:
    """sqrt(2 max_kl / x'Fx)."""
    return float(np.sqrt(2.0 * max_kl / (natural_gradient @ fisher @ natural_gradient)))


def conjugate_gradient(
    matvec: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    b: NDArray[np.float64],
    max_iterations: int,
    tolerance: float,
    damping: float,
) -> tuple[NDArray[np.float64], int, float, str]:
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
