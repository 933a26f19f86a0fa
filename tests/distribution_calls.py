"""Every public method of a distribution, with valid arguments for the tests to vary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgfast.distributions import Categorical, DiagGaussian, Joint, MultiCategorical
from public_call import SIZES, A, B, Call, flags, rows

CHOICES = np.stack([np.arange(B) % size for size in SIZES], axis=1)


def row_weights(dtype: Any) -> dict[str, Any]:
    return {"weight_log_prob": rows(dtype, B), "weight_entropy": rows(dtype, B)}


def allowed(*sizes: int) -> NDArray[np.bool_]:
    """A mask that forbids choices of each group, but not all."""
    mask = flags(B, sum(sizes))
    mask[:, np.cumsum((0, *sizes[:-1]))] = True
    return mask


def categorical_calls(
    family: str, make: Callable[..., Categorical | MultiCategorical], sizes: tuple[int, ...], actions: NDArray[np.int64]
) -> dict[str, Call]:
    """Returns the methods that Categorical and MultiCategorical share, called on ``make(logits, mask)``.

    Each is called once without a mask and once with one.
    """
    calls = {}
    for masked in (False, True):

        def parameters(dtype: Any, other: str = "", masked: bool = masked) -> dict[str, Any]:
            names = ("logits", other) if other else ("logits",)
            logits = {name: rows(dtype, B, sum(sizes)) for name in names}
            masks = {f"{name}_mask".replace("logits_", ""): allowed(*sizes) for name in names}
            return {**logits, **masks} if masked else logits

        def with_actions(dtype: Any, other: str = "", parameters: Any = parameters) -> dict[str, Any]:
            return {**parameters(dtype, other), "actions": actions.copy()}

        methods: dict[str, tuple[Callable[..., Any], Callable[[Any], dict[str, Any]]]] = {
            "log_prob": (
                lambda logits, actions, mask=None: make(logits, mask).log_prob(actions),
                with_actions,
            ),
            "kl": (
                lambda logits, other, mask=None, other_mask=None: make(logits, mask).kl(make(other, other_mask)),
                lambda d, parameters=parameters: parameters(d, "other"),
            ),
            "entropy": (lambda logits, mask=None: make(logits, mask).entropy(), parameters),
            "mode": (lambda logits, mask=None: make(logits, mask).mode(), parameters),
            "sample": (lambda logits, mask=None: make(logits, mask).sample_with_log_prob(1), parameters),
            "likelihood_ratio": (
                lambda logits, old, actions, mask=None, old_mask=None: make(logits, mask).likelihood_ratio(
                    make(old, old_mask), actions
                ),
                lambda d, with_actions=with_actions: with_actions(d, "old"),
            ),
            "gradient": (
                lambda logits, actions, mask=None, **weights: make(logits, mask).gradient(actions, **weights),
                lambda d, with_actions=with_actions: {**with_actions(d), **row_weights(d)},
            ),
        }
        for name, (function, valid) in methods.items():
            calls[f"{family}.{name}{' with a mask' * masked}"] = Call(function, valid, f"categorical_{name}")
    return calls


def gaussian(dtype: Any) -> dict[str, Any]:
    return {"mean": rows(dtype, B, A), "log_std": rows(dtype, A)}


def joint(logits: Any, mask: Any, mean: Any, log_std: Any) -> Joint:
    return Joint([MultiCategorical(logits, SIZES, mask), DiagGaussian(mean, log_std)])


def joint_parameters(dtype: Any) -> dict[str, Any]:
    return {"logits": rows(dtype, B, sum(SIZES)), "mask": allowed(*SIZES), **gaussian(dtype)}


def joint_actions(dtype: Any) -> dict[str, Any]:
    return {"choices": CHOICES.copy(), "numbers": rows(dtype, B, A)}


def joint_calls() -> dict[str, Call]:
    """Returns the methods of Joint, on choices with a mask and numbers."""
    methods: dict[str, tuple[Callable[..., Any], Callable[[Any], dict[str, Any]]]] = {
        "log_prob": (
            lambda choices, numbers, **p: joint(**p).log_prob((choices, numbers)),
            lambda d: {**joint_parameters(d), **joint_actions(d)},
        ),
        "entropy": (lambda **p: joint(**p).entropy(), joint_parameters),
        "kl": (
            lambda other_logits, other_mean, **p: joint(**p).kl(
                joint(other_logits, p["mask"], other_mean, p["log_std"])
            ),
            lambda d: {**joint_parameters(d), "other_logits": rows(d, B, sum(SIZES)), "other_mean": rows(d, B, A)},
        ),
        "likelihood_ratio": (
            lambda choices, numbers, old_mean, **p: joint(**p).likelihood_ratio(
                joint(**{**p, "mean": old_mean}), (choices, numbers)
            ),
            lambda d: {**joint_parameters(d), **joint_actions(d), "old_mean": rows(d, B, A)},
        ),
        "mode": (lambda **p: joint(**p).mode(), joint_parameters),
        "sample": (lambda **p: joint(**p).sample_with_log_prob(1), joint_parameters),
        "gradient": (
            lambda choices, numbers, weight_log_prob, weight_entropy, **p: joint(**p).gradient(
                (choices, numbers), weight_log_prob, weight_entropy
            ),
            lambda d: {**joint_parameters(d), **joint_actions(d), **row_weights(d)},
        ),
    }
    return {
        f"Joint.{name}": Call(
            function, valid, f"categorical_{name}", inner=(f"MultiCategorical.{name}", f"DiagGaussian.{name}")
        )
        for name, (function, valid) in methods.items()
    }


DISTRIBUTION_CALLS = {
    **categorical_calls("Categorical", Categorical, (A,), np.arange(B) % A),
    **categorical_calls("MultiCategorical", lambda logits, mask: MultiCategorical(logits, SIZES, mask), SIZES, CHOICES),
    "Categorical.probabilities": Call(
        lambda logits: Categorical(logits).probabilities(),
        lambda d: {"logits": rows(d, B, A)},
        "categorical_probabilities",
    ),
    "Categorical.probabilities with a mask": Call(
        lambda logits, mask: Categorical(logits, mask).probabilities(),
        lambda d: {"logits": rows(d, B, A), "mask": allowed(A)},
        "categorical_probabilities",
    ),
    "DiagGaussian.log_prob": Call(
        lambda mean, log_std, actions: DiagGaussian(mean, log_std).log_prob(actions),
        lambda d: {**gaussian(d), "actions": rows(d, B, A)},
        "diag_gaussian_log_prob",
    ),
    "DiagGaussian.kl": Call(
        lambda mean, log_std, other_mean, other_log_std: DiagGaussian(mean, log_std).kl(
            DiagGaussian(other_mean, other_log_std)
        ),
        lambda d: {**gaussian(d), "other_mean": rows(d, B, A), "other_log_std": rows(d, B, A)},
        "diag_gaussian_kl",
    ),
    "DiagGaussian.likelihood_ratio": Call(
        lambda mean, log_std, old_mean, old_log_std, actions: DiagGaussian(mean, log_std).likelihood_ratio(
            DiagGaussian(old_mean, old_log_std), actions
        ),
        lambda d: {
            **gaussian(d),
            **{"old_mean": rows(d, B, A), "old_log_std": rows(d, B, A), "actions": rows(d, B, A)},
        },
        "diag_gaussian_likelihood_ratio",
    ),
    **{
        f"DiagGaussian.{name}": Call(
            lambda mean, log_std, name=name: getattr(DiagGaussian(mean, log_std), name)(),
            gaussian,
            f"diag_gaussian_{name}",
        )
        for name in ("entropy", "mode")
    },
    "DiagGaussian.sample": Call(
        lambda mean, log_std: DiagGaussian(mean, log_std).sample_with_log_prob(1), gaussian, "diag_gaussian_sample"
    ),
    **{
        f"DiagGaussian.gradient with log_std {shape}": Call(
            lambda mean, log_std, actions, **weights: DiagGaussian(mean, log_std).gradient(actions, **weights),
            lambda d, shape=shape: {
                **{"mean": rows(d, B, A), "log_std": rows(d, *shape), "actions": rows(d, B, A)},
                **row_weights(d),
            },
            "diag_gaussian_gradient",
        )
        for shape in ((A,), (B, A))
    },
    **joint_calls(),
}
