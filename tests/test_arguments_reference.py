"""A call that accepts its arguments matches the reference, whatever their sizes, scales, flags and overlap."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pgfast.reference import categorical, diag_gaussian, fisher_operator, losses, network, optim, returns, second_order
from pgfast.reference.family import Component
from policy_calls import GAUSSIAN
from public_call import CLEAN, SIZES, A, B, N, T
from public_calls import CALLS, NETWORKS, P, leaves

LAYERS = [("conv2d", 3, 3, 1, "relu"), ("dense", A, 0, 1, "identity")]
LINEAR = [("", [(True, 0)], [("dense", A, 0, 1, "identity")], True)]  # a graph of one node
ROWS = (T, B)  # extents that may vary; the others are fixed by a network or by each other


for pair in (NETWORKS, GAUSSIAN):  # the same parameters in both dtypes
    pair[np.float64].parameters[:] = pair[np.float32].parameters


def parameters_of(networks: dict[Any, Any]) -> NDArray[np.float64]:
    return networks[np.float64].parameters.copy()


def fisher_product(obs: NDArray[Any], v: NDArray[Any]) -> NDArray[Any]:
    policy = parameters_of(GAUSSIAN)
    return fisher_operator.product(LINEAR, policy[:-A], [obs], [Component(A, policy[-A:])], v, 0.0)


# The reference of each call, with positional arguments; for clipping and optimizer steps also what they write.
REFERENCES: dict[str, Callable[..., Any]] = {
    "discounted_returns": returns.discounted_returns,
    "gae": returns.gae,
    "clip_by_global_norm": lambda gradient, limit: optim.clip_by_global_norm(gradient, limit)[::-1],
    "fisher_matrix": second_order.fisher_matrix,
    "natural_gradient": second_order.natural_gradient,
    **{
        f"natural_gradient_from_scores {method}": lambda scores, gradient, damping, _: second_order.natural_gradient(
            second_order.fisher_matrix(scores), gradient, damping
        )
        for method in ("auto", "cholesky", "woodbury")
    },
    "natural_step_size": second_order.natural_step_size,
    "natural_step_size of a product": lambda x, limit: second_order.natural_step_size(np.eye(len(x)), x, limit),
    "a2c": lambda *args: losses.a2c_gradient(*args)[0],
    "a2c_gradient": losses.a2c_gradient,
    "policy_gradient": lambda *args: losses.policy_gradient_gradient(*args)[0],
    "policy_gradient_gradient": losses.policy_gradient_gradient,
    "Categorical.log_prob": categorical.log_prob,
    "Categorical.kl": categorical.kl,
    "Categorical.entropy": categorical.entropy,
    "Categorical.probabilities": categorical.probabilities,
    "Categorical.mode": categorical.mode,
    "Categorical.gradient": categorical.gradient,
    "MultiCategorical.log_prob": lambda *args: categorical.log_prob(*args, SIZES),
    "MultiCategorical.kl": lambda *args: categorical.kl(*args, SIZES),
    "MultiCategorical.entropy": lambda logits: categorical.entropy(logits, SIZES),
    "MultiCategorical.mode": lambda logits: categorical.mode(logits, SIZES),
    "MultiCategorical.gradient": lambda *args: categorical.gradient(*args, SIZES),
    "Categorical.log_prob with a mask": lambda x, mask, actions: categorical.log_prob(x, actions, None, mask),
    "Categorical.kl with a mask": lambda *args: categorical.kl(*args[:2], None, *args[2:]),
    "Categorical.entropy with a mask": lambda x, mask: categorical.entropy(x, None, mask),
    "Categorical.probabilities with a mask": lambda x, mask: categorical.probabilities(x, None, mask),
    "Categorical.mode with a mask": lambda x, mask: categorical.mode(x, None, mask),
    "Categorical.gradient with a mask": lambda x, mask, *args: categorical.gradient(x, *args, None, mask),
    "MultiCategorical.log_prob with a mask": lambda x, mask, actions: categorical.log_prob(x, actions, SIZES, mask),
    "MultiCategorical.kl with a mask": lambda *args: categorical.kl(*args[:2], SIZES, *args[2:]),
    "MultiCategorical.entropy with a mask": lambda x, mask: categorical.entropy(x, SIZES, mask),
    "MultiCategorical.mode with a mask": lambda x, mask: categorical.mode(x, SIZES, mask),
    "MultiCategorical.gradient with a mask": lambda x, mask, *args: categorical.gradient(x, *args, SIZES, mask),
    "DiagGaussian.log_prob": diag_gaussian.log_prob,
    "DiagGaussian.kl": diag_gaussian.kl,
    "DiagGaussian.entropy": diag_gaussian.entropy,
    "DiagGaussian.mode": lambda mean, _: mean,
    "DiagGaussian.gradient with log_std (5, 3)": diag_gaussian.gradient,
    "Joint.log_prob": lambda x, mask, mean, log_std, choices, numbers: (
        categorical.log_prob(x, choices, SIZES, mask) + diag_gaussian.log_prob(mean, log_std, numbers)
    ),
    "Joint.entropy": lambda x, mask, mean, log_std: (
        categorical.entropy(x, SIZES, mask) + diag_gaussian.entropy(mean, log_std)
    ),
    "Joint.kl": lambda x, mask, mean, log_std, y, other_mean: (
        categorical.kl(x, y, SIZES, mask, mask) + diag_gaussian.kl(mean, log_std, other_mean, log_std)
    ),
    "Joint.gradient": lambda x, mask, mean, log_std, choices, numbers, *weights: (
        categorical.gradient(x, choices, *weights, SIZES, mask),
        *diag_gaussian.gradient(mean, log_std, numbers, *weights),
    ),
    "Network.forward": lambda x: network.forward(LAYERS, parameters_of(NETWORKS), x),
    "Network.vjp": lambda x, dy: network.vjp(LAYERS, parameters_of(NETWORKS), x, dy),
    "Network.per_sample_vjp": lambda x, dy: network.per_sample_vjp(LAYERS, parameters_of(NETWORKS), x, dy),
    "Network.jvp": lambda x, v: network.jvp(LAYERS, parameters_of(NETWORKS), x, v),
    "LinearOperator of a policy": fisher_product,
    "SGD.step": lambda p, g: (np.linalg.norm(g), optim.sgd(p, g, 0.0 * p, 0.1, 0.0)[0]),
    "Adam.step": lambda p, g: (
        np.linalg.norm(g),
        optim.adam(p, g, 0.0 * p, 0.0 * p, 1, 0.1, 0.9, 0.999, 1e-8)[0],
    ),
    "RMSprop.step": lambda p, g: (
        np.linalg.norm(g),
        optim.rmsprop(p, g, 0.0 * p, 0.1, 0.99, 1e-5, "pytorch")[0],
    ),
}


def vary(name: str, data: st.DataObject) -> dict[str, Any]:
    """Draws arguments of a call: any number of rows, other values, read-only or in shared memory."""
    dtype = data.draw(st.sampled_from([np.float32, np.float64]), label="dtype")
    arguments = CALLS[name].valid(dtype)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32), label="seed"))
    extent = next((value.shape[0] for value in arguments.values() if isinstance(value, np.ndarray)), 0)
    chosen = rng.integers(0, extent, data.draw(st.integers(1, 40), label="rows")) if extent in ROWS else None
    for key, value in arguments.items():
        if not isinstance(value, np.ndarray) or key == "fisher":
            continue
        if chosen is not None and value.shape[0] == extent:
            value = value[chosen]
        kinds = ["as they are", "others", "zeros", "equal"]
        # Next to large scores float32 loses the damping, and exp of a large log_std overflows.
        if "natural" not in name and not key.endswith("log_std"):
            kinds.append("scaled")
        kind = data.draw(st.sampled_from(kinds), label=key)
        if value.dtype.kind == "f" and kind != "as they are":
            others = {"others": rng.standard_normal(value.shape), "zeros": np.zeros(value.shape)}
            others["scaled"] = others["others"] * 10.0 ** float(rng.integers(-3, 3))
            others["equal"] = np.full(value.shape, rng.standard_normal())
            value = others[kind].astype(np.float32).astype(dtype)
        elif value.dtype.kind == "b" and kind != "as they are":
            value = rng.random(value.shape) < rng.random()
        arguments[key] = np.ascontiguousarray(value)
    arrays = [key for key, value in arguments.items() if isinstance(value, np.ndarray)]
    if data.draw(st.booleans(), label="shared memory"):
        first, second = data.draw(st.sampled_from(arrays)), data.draw(st.sampled_from(arrays))
        if arguments[first].shape == arguments[second].shape and arguments[first].dtype == arguments[second].dtype:
            arguments[first] = arguments[second]
    for key in arrays:
        if key not in CALLS[name].written and data.draw(st.booleans(), label=f"{key} read-only"):
            arguments[key].flags.writeable = False
    return arguments


@pytest.mark.parametrize("name", REFERENCES)
@settings(max_examples=60)
@given(data=st.data())
def test_results_match_the_reference(name: str, data: st.DataObject) -> None:
    arguments = vary(name, data)
    exact = [
        value.astype(np.float64) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value
        for value in arguments.values()
    ]
    dtype = next(v.dtype for v in arguments.values() if isinstance(v, np.ndarray) and v.dtype.kind == "f")
    call = CALLS[name]
    found: tuple[Any, ...] | None = None
    with suppress(*CLEAN):  # such as a direction without curvature, or memory that must not be shared
        found = leaves(call.function(**arguments))
    if found is None:
        return
    found += tuple(arguments[key] for key in call.written)
    expected = leaves(REFERENCES[name](*exact))
    assert len(found) == len(expected)
    solves = "natural" in name or "Adam" in name or "RMSprop" in name
    tolerance = (1e-3 if solves else 2e-5) if dtype == np.float32 else 1e-9
    largest = max(float(np.abs(value).max()) for value in exact if isinstance(value, np.ndarray))
    for ours, wanted in zip(found, expected, strict=True):
        assert np.shape(ours) == np.shape(wanted)
        # Terms as large as the arguments may cancel.
        finite = np.abs(wanted[np.isfinite(wanted)] if isinstance(wanted, np.ndarray) else wanted)
        scale = max(1.0, largest, float(np.max(finite, initial=0.0)))
        with np.errstate(over="ignore"):  # numbers beyond float32's range become infinite
            wanted = np.asarray(wanted).astype(np.asarray(ours).dtype).astype(np.float64)
        np.testing.assert_allclose(np.asarray(ours, np.float64), wanted, rtol=tolerance, atol=tolerance * scale)


def test_the_extents_that_this_file_assumes_are_those_of_the_calls() -> None:
    assert (4, 3, 5, 3, parameters_of(NETWORKS).size) == (T, N, B, A, P)
