"""Kernel calls that must be refused, each with its exception and message, for test_error_texts.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pgfast import kernels, nn
from pgfast.policies import CategoricalPolicy

F4, F8 = np.float32, np.float64
WIDE, NARROW, LAST, FLAGS = np.zeros((128, 8)), np.zeros((128, 9)), np.zeros(8), np.zeros((128, 8), bool)
ROW = np.zeros(5)
NETWORK = nn.mlp(3, 2, (4,))
X = np.zeros((6, 3), F4)
OPERATOR = CategoricalPolicy(NETWORK).fisher_operator(X)
SHIFTED = np.zeros(41, np.uint8)[1:].view(F8)


def gae(values: Any = WIDE, next_values: Any = LAST, terminated: Any = FLAGS, truncated: Any = None) -> Any:
    return kernels.gae(WIDE, values, next_values, terminated, truncated, 0.99, 0.95)


def fisher_operator(obs: Any = X, damping: Any = 0.0) -> Any:
    return CategoricalPolicy(NETWORK, initialize=False).fisher_operator(obs, damping)


KERNEL_CASES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: fisher_operator(damping=-1.0),
        ValueError,
        "Policy.fisher_operator: damping must be at least 0 and finite, got -1.0",
    ),
    (
        lambda: fisher_operator(np.zeros((6, 4), F4)),
        ValueError,
        "Policy.fisher_operator: x must have shape (B, 3), got (6, 4)",
    ),
    (
        lambda: fisher_operator(np.full((1, 3), np.nan, F4)),
        ValueError,
        "Policy.fisher_operator: x must be finite, got nan at flat index 0",
    ),
    (
        lambda: fisher_operator()(np.zeros(26)),
        TypeError,
        "LinearOperator: v must be float32, got float64",
    ),
    (
        lambda: fisher_operator()(np.zeros(25, F4)),
        ValueError,
        "LinearOperator: v must have shape (P,) = (26,), got (25,)",
    ),
    (lambda: gae(NARROW), ValueError, "gae: values must have shape (T, N) = (128, 8), got (128, 9)"),
    (lambda: gae(WIDE[0]), ValueError, "gae: values must have shape (T, N) = (128, 8), got (8,)"),
    (lambda: gae(next_values=np.zeros(9)), ValueError, "gae: next_values must have shape (N,) = (8,), got (9,)"),
    (
        lambda: gae(next_values=NARROW),
        ValueError,
        "gae: next_values must have shape (T, N) = (128, 8), got (128, 9)",
    ),
    (lambda: gae(WIDE.astype(F4)), TypeError, "gae: values must be float64 like rewards, got float32"),
    (lambda: gae(terminated=WIDE), TypeError, "gae: terminated must be bool, got float64"),
    (lambda: gae(truncated=[True]), TypeError, "gae: truncated must be a NumPy array, got list"),
    (lambda: gae(np.asfortranarray(WIDE)), ValueError, "gae: values must be C-contiguous; use np.ascontiguousarray"),
    (lambda: gae(WIDE[::-1]), ValueError, "gae: values must be C-contiguous; use np.ascontiguousarray"),
    (
        lambda: kernels.gae(WIDE, WIDE, LAST, FLAGS, None, 0.99, 1.5),
        ValueError,
        "gae: gae_lambda must be in [0.0, 1.0], got 1.5",
    ),
    (
        lambda: kernels.discounted_returns(WIDE, FLAGS, LAST, float("nan")),
        ValueError,
        "discounted_returns: discount must be in [0.0, 1.0], got nan",
    ),
    (
        lambda: kernels.discounted_returns(WIDE[:0], FLAGS[:0], LAST, 0.9),
        ValueError,
        "discounted_returns: rewards must not be empty, got shape (0, 8)",
    ),
    (
        lambda: kernels.discounted_returns(FLAGS, FLAGS, LAST, 0.9),
        TypeError,
        "discounted_returns: rewards must be float32 or float64, got bool",
    ),
    (
        lambda: kernels.clip_by_global_norm(SHIFTED, 1.0),
        ValueError,
        'clip_by_global_norm: gradient must be aligned in memory; use np.require(..., requirements="CA")',
    ),
    (
        lambda: kernels.clip_by_global_norm(np.array([1.0, np.inf]), 1.0),
        ValueError,
        "clip_by_global_norm: gradient must be finite, got inf at flat index 1",
    ),
    (
        lambda: kernels.clip_by_global_norm(np.full(2, 1e200), 1.0),
        ValueError,
        "clip_by_global_norm: gradient has a norm that overflows",
    ),
    (
        lambda: kernels.clip_by_global_norm(ROW, 0.0),
        ValueError,
        "clip_by_global_norm: max_norm must be positive and finite, got 0.0",
    ),
    (
        lambda: kernels.conjugate_gradient(3, ROW),  # type: ignore[arg-type]
        TypeError,
        "conjugate_gradient: matvec must be callable, got int",
    ),
    (
        lambda: kernels.conjugate_gradient(OPERATOR, ROW),
        TypeError,
        "conjugate_gradient: matvec must be a float64 operator like b, got a float32 operator",
    ),
    (
        lambda: kernels.conjugate_gradient(OPERATOR, ROW.astype(F4)),
        ValueError,
        "conjugate_gradient: b must have shape (P,) = (26,), got (5,)",
    ),
    (
        lambda: kernels.conjugate_gradient(lambda v: v[:4], ROW + 1.0),
        ValueError,
        "conjugate_gradient: matvec(v) must have shape (P,) = (5,), got (4,)",
    ),
    (
        lambda: kernels.conjugate_gradient(lambda v: v.astype(F4), ROW + 1.0),
        TypeError,
        "conjugate_gradient: matvec(v) must be float64 like b, got float32",
    ),
    (
        lambda: kernels.conjugate_gradient(lambda v: None, ROW + 1.0),  # type: ignore[arg-type, return-value]
        TypeError,
        "conjugate_gradient: matvec(v) must be a NumPy array, got NoneType",
    ),
    (
        lambda: kernels.conjugate_gradient(lambda v: np.repeat(v, 2)[::2], ROW + 1.0),
        ValueError,
        "conjugate_gradient: matvec(v) must be C-contiguous; use np.ascontiguousarray",
    ),
    (
        lambda: kernels.conjugate_gradient(lambda v: v, ROW, max_iterations=-1),
        ValueError,
        "conjugate_gradient: max_iterations must be at least 0, got -1",
    ),
    (
        lambda: kernels.conjugate_gradient(lambda v: v, ROW, tolerance=-1e-3),
        ValueError,
        "conjugate_gradient: tolerance must be at least 0 and finite, got -0.001",
    ),
    (
        lambda: kernels.fisher_matrix(ROW),
        ValueError,
        "fisher_matrix: scores must have shape (B, P) = (any, any), got (5,)",
    ),
    (
        lambda: kernels.fisher_matrix(WIDE, count=0),
        ValueError,
        "fisher_matrix: count must be at least 1, got 0",
    ),
    (
        lambda: kernels.fisher_matrix(WIDE, count=8.0),  # type: ignore[arg-type]
        TypeError,
        "fisher_matrix: count must be an int or None, got float",
    ),
    (
        lambda: kernels.natural_gradient(WIDE, LAST),
        ValueError,
        "natural_gradient: fisher must have shape (P, P) = (128, 128), got (128, 8)",
    ),
    (
        lambda: kernels.natural_gradient(np.array([[1.0, 0.0], [0.5, 4.0]]), ROW[:2]),
        ValueError,
        "natural_gradient: fisher must be symmetric to within 1e-10 of its largest entry 4.0, "
        "but [1, 0] and [0, 1] differ by 0.5",
    ),
    (
        lambda: kernels.natural_gradient(np.array([[1.0, np.nan], [np.nan, 4.0]]), ROW[:2]),
        ValueError,
        "natural_gradient: fisher must be finite, got nan at flat index 1",
    ),
    (
        lambda: kernels.natural_gradient(np.eye(2), np.array([1.0, np.inf])),
        ValueError,
        "natural_gradient: gradient must be finite, got inf at flat index 1",
    ),
    (
        lambda: kernels.natural_gradient(-np.eye(2), ROW[:2]),
        np.linalg.LinAlgError,
        "natural_gradient: fisher + damping I must be positive definite; a larger damping may help",
    ),
    (
        lambda: kernels.natural_gradient_from_scores(WIDE, LAST, 0.0),
        np.linalg.LinAlgError,
        "natural_gradient_from_scores: S'S / B + damping I must be positive definite; a larger damping may help",
    ),
    (
        lambda: kernels.natural_gradient_from_scores(WIDE, LAST, 0.0, method="woodbury"),
        ValueError,
        "natural_gradient_from_scores: damping must be positive and finite, got 0.0",
    ),
    (
        lambda: kernels.natural_gradient_from_scores(WIDE, LAST, method="qr"),  # type: ignore[arg-type]
        ValueError,
        'natural_gradient_from_scores: method must be "auto", "cholesky" or "woodbury", got "qr"',
    ),
    (
        lambda: kernels.natural_step_size(np.zeros((5, 5)), ROW, 0.01),
        ValueError,
        "natural_step_size: x'Fx must be positive and finite, got 0.0",
    ),
    (
        lambda: kernels.natural_step_size(np.eye(5), ROW, 0.0),
        ValueError,
        "natural_step_size: max_kl must be positive and finite, got 0.0",
    ),
    (
        lambda: kernels.natural_step_size([[1.0]], ROW, 0.01),  # type: ignore[arg-type]
        TypeError,
        "natural_step_size: fisher must be a NumPy array, got list",
    ),
    (
        lambda: kernels.natural_step_size(lambda v: v[:4], ROW + 1.0, 0.01),
        ValueError,
        "natural_step_size: fisher(x) must have shape (P,) = (5,), got (4,)",
    ),
    (
        lambda: kernels.natural_step_size(lambda v: -v, ROW + 1.0, 0.01),
        ValueError,
        "natural_step_size: x'Fx must be positive and finite, got -5.0",
    ),
    (
        lambda: kernels.natural_step_size(OPERATOR, ROW, 0.01),
        TypeError,
        "LinearOperator: v must be float32, got float64",
    ),
]
