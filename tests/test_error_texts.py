"""Exceptions name the function, the argument, the expected value by symbol and number, and the value received."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernel_error_texts import KERNEL_CASES
from pgfast import kernels, losses, nn, optim
from pgfast.distributions import Categorical, DiagGaussian, MultiCategorical
from pgfast.nn import Layer

F4, F8 = np.float32, np.float64
LOGITS, ROW, ACTIONS, LAST = np.zeros((5, 3)), np.zeros(5), np.zeros(5, np.int64), np.zeros(8)
GAUSSIAN, MULTI = DiagGaussian(LOGITS, np.zeros(3)), MultiCategorical(LOGITS, (1, 2))
NETWORK = nn.mlp(3, 2, (4,))
X = np.zeros((6, 3), F4)
SHARED = np.zeros(10)
FROZEN = np.zeros(4)
FROZEN.flags.writeable = False


def a2c_gradient(values: Any = ROW, valid: Any = None, count: Any = None) -> Any:
    return losses.a2c_gradient(ROW, ROW, ROW, ROW, values, 0.01, 0.5, valid, count=count)


def stepped_sgd() -> optim.Optimizer:
    optimizer = optim.SGD(0.1)
    optimizer.step(np.zeros(5), np.ones(5))
    return optimizer


def sgd(parameters: Any, gradient: Any) -> None:
    optim.SGD(0.1).step(parameters, gradient)


CASES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: Categorical(LOGITS).log_prob(np.full(5, 3)),
        ValueError,
        "Categorical.log_prob: actions must be in [0, 3), got 3 at row 0",
    ),
    (
        lambda: Categorical(LOGITS).log_prob(ACTIONS.astype(np.int32)),
        TypeError,
        "Categorical.log_prob: actions must be int64, got int32",
    ),
    (
        lambda: Categorical(np.array([[0.0, np.nan]])).entropy(),
        ValueError,
        "Categorical.entropy: logits must be finite, got nan at flat index 1",
    ),
    (
        lambda: Categorical(LOGITS).kl(Categorical(np.zeros((5, 4)))),
        ValueError,
        "Categorical.kl: other must have shape (B, A) = (5, 3), got (5, 4)",
    ),
    (
        lambda: Categorical(LOGITS).kl(GAUSSIAN),  # type: ignore[arg-type]
        TypeError,
        "Categorical.kl: other must be a Categorical, got DiagGaussian",
    ),
    (
        lambda: Categorical(LOGITS).likelihood_ratio(Categorical(LOGITS[:2]), ACTIONS),
        ValueError,
        "Categorical.likelihood_ratio: old must have shape (B, A) = (5, 3), got (2, 3)",
    ),
    (
        lambda: Categorical(LOGITS).gradient(ACTIONS, ROW[:4]),
        ValueError,
        "Categorical.gradient: weight_log_prob must have shape (B,) = (5,), got (4,)",
    ),
    (
        lambda: Categorical(LOGITS).gradient(ACTIONS, ROW, ROW + np.inf),
        ValueError,
        "Categorical.gradient: weight_entropy must be finite, got inf at flat index 0",
    ),
    (
        lambda: DiagGaussian(LOGITS, np.zeros(4)).entropy(),
        ValueError,
        "DiagGaussian.entropy: log_std must have shape (A,) = (3,), got (4,)",
    ),
    (
        lambda: DiagGaussian(LOGITS, np.zeros((1, 3))).entropy(),
        ValueError,
        "DiagGaussian.entropy: log_std must have shape (B, A) = (5, 3), got (1, 3)",
    ),
    (
        lambda: DiagGaussian(LOGITS, np.zeros(3, F4)).mode(),
        TypeError,
        "DiagGaussian.mode: log_std must be float64 like mean, got float32",
    ),
    (
        lambda: DiagGaussian(LOGITS, np.array([0.0, np.inf, np.nan])).sample(0),
        ValueError,
        "DiagGaussian.sample: log_std must be finite, got inf at flat index 1",
    ),
    (
        lambda: GAUSSIAN.log_prob(np.full((5, 3), np.nan)),
        ValueError,
        "DiagGaussian.log_prob: actions must be finite, got nan at flat index 0",
    ),
    (
        lambda: GAUSSIAN.log_prob(ACTIONS),  # type: ignore[arg-type]
        TypeError,
        "DiagGaussian.log_prob: actions must be float64 like mean, got int64",
    ),
    (
        lambda: GAUSSIAN.kl(DiagGaussian(LOGITS, np.zeros(2))),
        ValueError,
        "DiagGaussian.kl: other.log_std must have shape (A,) = (3,), got (2,)",
    ),
    (
        lambda: GAUSSIAN.likelihood_ratio(DiagGaussian(LOGITS[:, :2], np.zeros(2)), LOGITS),
        ValueError,
        "DiagGaussian.likelihood_ratio: old.mean must have shape (B, A) = (5, 3), got (5, 2)",
    ),
    (
        lambda: MULTI.log_prob(np.array([[0, 1]] * 4 + [[0, 2]])),
        ValueError,
        "MultiCategorical.log_prob: actions must be in [0, 2), got 2 at row 4, column 1",
    ),
    (
        lambda: MULTI.log_prob(ACTIONS),
        ValueError,
        "MultiCategorical.log_prob: actions must have shape (B, K) = (5, 2), got (5,)",
    ),
    (
        lambda: MultiCategorical(LOGITS, (2, 2)).entropy(),
        ValueError,
        "MultiCategorical.entropy: logits must have shape (B, sum(sizes)) = (5, 4), got (5, 3)",
    ),
    (
        lambda: MultiCategorical(LOGITS, (2**62, 2**62)).entropy(),
        ValueError,
        f"MultiCategorical.entropy: logits must have shape (B, sum(sizes)) = (5, {2**63 - 1}), got (5, 3)",
    ),
    (
        lambda: MultiCategorical(LOGITS, (3, 0)).mode(),
        ValueError,
        "MultiCategorical.mode: sizes must be at least 1, got 0 at index 1",
    ),
    (lambda: MultiCategorical(LOGITS, ()).mode(), ValueError, "MultiCategorical.mode: sizes must not be empty"),
    (
        lambda: MultiCategorical(LOGITS, (1, 2.0)),  # type: ignore[arg-type]
        TypeError,
        "MultiCategorical: sizes must be ints: 'float' object cannot be interpreted as an integer",
    ),
    (
        lambda: MULTI.kl(MultiCategorical(LOGITS, (2, 1))),
        ValueError,
        "MultiCategorical.kl: other must have sizes (1, 2), got (2, 1)",
    ),
    (
        lambda: losses.policy_gradient(ROW, LAST),
        ValueError,
        "policy_gradient: advantages must have shape (B,) = (5,), got (8,)",
    ),
    (
        lambda: losses.policy_gradient(ROW, ROW, ROW > 1.0),
        ValueError,
        "policy_gradient: valid must mark at least one row",
    ),
    (
        lambda: losses.trpo_surrogate(GAUSSIAN, GAUSSIAN, LOGITS, ROW.astype(F4)),
        TypeError,
        "trpo_surrogate: advantages must be float64 like new, got float32",
    ),
    (
        lambda: losses.trpo_surrogate(GAUSSIAN, GAUSSIAN, LOGITS, ROW, ROW > 1.0),
        ValueError,
        "trpo_surrogate: valid must mark at least one row",
    ),
    (
        lambda: losses.trpo_surrogate(MULTI, Categorical(LOGITS), ACTIONS, ROW),
        TypeError,
        "MultiCategorical.likelihood_ratio: old must be a MultiCategorical, got Categorical",
    ),
    (
        lambda: losses.a2c(ROW, ROW, ROW, ROW, ROW, -0.1, 0.5),
        ValueError,
        "a2c: entropy_coef must be at least 0 and finite, got -0.1",
    ),
    (lambda: a2c_gradient(valid=ROW > 1.0), ValueError, "a2c_gradient: valid must mark at least one row"),
    (lambda: a2c_gradient(LAST), ValueError, "a2c_gradient: values must have shape (B,) = (5,), got (8,)"),
    (lambda: a2c_gradient(count=0), ValueError, "a2c_gradient: count must be at least 1, got 0"),
    (lambda: a2c_gradient(count=-(2**80)), ValueError, f"a2c_gradient: count must be at least 1, got {-(2**80)}"),
    (lambda: a2c_gradient(count=5.0), TypeError, "a2c_gradient: count must be an int or None, got float"),
    (
        lambda: losses.policy_gradient(ROW, ROW, entropy_coef=0.1),
        ValueError,
        "policy_gradient: entropy must be given if entropy_coef is not 0",
    ),
    (lambda: NETWORK.forward(X[:, :2]), ValueError, "Network.forward: x must have shape (B, 3), got (6, 2)"),
    (lambda: NETWORK.forward(X[:0]), ValueError, "Network.forward: x must not be empty"),
    (lambda: NETWORK.forward(X.astype(F8)), TypeError, "Network.forward: x must be float32 or uint8, got float64"),
    (lambda: NETWORK.vjp(X, X), ValueError, "Network.vjp: dy must have shape (B, out) = (6, 2), got (6, 3)"),
    (lambda: NETWORK.jvp(X, X[0]), ValueError, "Network.jvp: v must have shape (P,) = (26,), got (3,)"),
    (lambda: NETWORK.vjp(X, ROW), TypeError, "Network.vjp: dy must be float32, got float64"),
    (lambda: nn.mlp(3, 2, dtype=np.float16), TypeError, "Network: dtype must be float32 or float64, got float16"),
    (
        lambda: nn.mlp(3, 2, activation="gelu"),  # type: ignore[arg-type]
        ValueError,
        'Network: activation must be "tanh" or "relu", got "gelu"',
    ),
    (lambda: sgd(ROW, LAST), ValueError, "SGD.step: gradient must have shape (P,) = (5,), got (8,)"),
    (lambda: sgd(SHARED, SHARED), ValueError, "SGD.step: parameters must not share memory with gradient"),
    (lambda: sgd(SHARED[1:], SHARED[:-1]), ValueError, "SGD.step: parameters must not share memory with gradient"),
    (lambda: sgd(FROZEN, ROW[:4]), ValueError, "SGD.step: parameters must be writable, got a read-only array"),
    (
        lambda: sgd(ROW, np.array([0.0, 0.0, np.nan, 0.0, np.inf])),
        ValueError,
        "SGD.step: gradient must be finite, got nan at flat index 2",
    ),
    (
        lambda: stepped_sgd().step(LAST, LAST.copy()),
        ValueError,
        "SGD.step: parameters must have shape (P,) = (5,), got (8,)",
    ),
    (lambda: stepped_sgd().step(ROW.astype(F4), ROW), TypeError, "SGD.step: parameters must be float64, got float32"),
    (
        lambda: optim.SGD(0.1).step(ROW, ROW.copy(), learning_rate=-0.5),
        ValueError,
        "SGD.step: learning_rate must be at least 0 and finite, got -0.5",
    ),
    (lambda: optim.SGD(-1.0), ValueError, "SGD: learning_rate must be at least 0 and finite, got -1.0"),
    (lambda: optim.SGD(0.1, 1.0), ValueError, "SGD: momentum must be in [0, 1), got 1.0"),
    (lambda: optim.Adam(0.1, beta2=-0.5), ValueError, "Adam: beta2 must be in [0, 1), got -0.5"),
    (lambda: optim.Adam(0.1, epsilon=0.0), ValueError, "Adam: epsilon must be positive and finite, got 0.0"),
    (
        lambda: optim.RMSprop(0.1, form="keras"),  # type: ignore[arg-type]
        ValueError,
        'RMSprop: form must be "pytorch" or "tensorflow", got "keras"',
    ),
    *KERNEL_CASES,
]


@pytest.mark.parametrize(("call", "kind", "text"), CASES, ids=[text for _, _, text in CASES])
def test_a_refused_call_raises_this_message(call: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=f"^{re.escape(text)}$"):
        call()


def test_adjacent_parts_of_one_buffer_do_not_share_memory() -> None:
    buffer = np.arange(10.0)
    sgd(buffer[:5], buffer[5:])
    np.testing.assert_allclose(buffer[:5], np.arange(5.0) - 0.1 * np.arange(5.0, 10.0))


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.mlp(0, 3),
        lambda: nn.mlp(3, 0),
        lambda: nn.mlp(3, 2, (0,)),
        lambda: nn.Network.of_layers((3,), []),
        lambda: nn.Network.of_layers((4, 84), [Layer("conv2d", 8, 3)]),
        lambda: nn.Network.of_layers((4, 5, 9), [Layer("conv2d", 8, 6)]),
        lambda: nn.Network.of_layers((4, 9, 9), [Layer("conv2d", 8, 3, 0)]),
        lambda: nn.Network.of_layers((4, 9, 9), [Layer("dense", 8), Layer("conv2d", 8, 3)]),
    ],
)
def test_layers_that_do_not_fit_are_refused_by_network(build: Callable[[], nn.Network]) -> None:
    with pytest.raises(ValueError, match=r"^Network: "):
        build()


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.mlp(3.5, 2),  # type: ignore[arg-type]
        lambda: nn.mlp(3, 2, (4.5,)),  # type: ignore[arg-type]
    ],
)
def test_sizes_are_never_rounded(build: Callable[[], nn.Network]) -> None:
    with pytest.raises(TypeError):
        build()


@pytest.mark.parametrize(
    "call",
    [
        lambda array: kernels.clip_by_global_norm(array, 1.0),
        lambda array: kernels.conjugate_gradient(lambda v: v, array),
        lambda array: sgd(array, array),
        lambda array: losses.a2c(array, array, array, array, array, 0.0, 0.0),
        lambda array: Categorical(array[:, np.newaxis]).entropy(),
    ],
)
def test_a_refused_array_is_not_copied(call: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match=r"must be C-contiguous; use np.ascontiguousarray$"):
        call(np.broadcast_to(np.zeros(1), (1 << 44,)))  # 128 TiB, if it were copied


def test_distributions_of_different_dtypes_do_not_mix() -> None:
    with pytest.raises(TypeError, match=r"^Categorical.kl: other must be float64 like logits, got float32$"):
        Categorical(LOGITS).kl(Categorical(LOGITS.astype(F4)))
    text = r"^Categorical.likelihood_ratio: old must be float64 like logits, got float32$"
    with pytest.raises(TypeError, match=text):
        Categorical(LOGITS).likelihood_ratio(Categorical(LOGITS.astype(F4)), ACTIONS)
