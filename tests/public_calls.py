"""Every public function that takes arrays, with valid arguments for the tests to vary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distribution_calls import DISTRIBUTION_CALLS
from pgfast import kernels, losses, nn, optim, policies
from pgfast.distributions import Categorical
from policy_calls import POLICY_CALLS
from public_call import A, B, Call, N, T, dtype_for, flags, rows


def with_state(optimizer: optim.Optimizer, **state: Any) -> optim.Optimizer:
    optimizer.load_state_dict({"steps": 1, "learning_rate": 0.1, **state})
    return optimizer


NETWORKS = {
    dtype: nn.Network.of_layers([2, 6, 5], [nn.Layer("conv2d", 3, 3, 1, "relu"), nn.Layer("dense", A)], dtype=dtype)
    for dtype in (np.float32, np.float64)
}
P = NETWORKS[np.float32].parameters.size
USED = np.arange(B) % 3 != 0


def network(x: Any) -> nn.Network:
    return NETWORKS[dtype_for(x)]


MEMORY = {
    dtype: nn.Network(nn.NetworkSpec(memory="lstm", memory_size=2), [2], A, dtype=dtype)
    for dtype in (np.float32, np.float64)
}
S = MEMORY[np.float32].state_size


def memory(x: Any) -> nn.Network:
    return MEMORY[dtype_for(x)]


def sequence(d: Any, **others: Any) -> dict[str, Any]:
    return {
        "x": rows(d, T * N, 2),
        **others,
        "state": rows(d, N, S),
        "starts": flags(T * N),
        "held": flags(T * N)[::-1].copy(),
    }


def tape_vjp(x: Any, dy: Any, gradient: Any) -> None:
    tape = nn.Tape(network(x), 2 * B)
    tape.record(x)
    tape.vjp(dy, gradient)


def layer_gradients(x: Any, dy: Any) -> list[Any]:
    tape = nn.Tape(network(x), 2 * B)
    tape.record(x)
    return [array for layer in tape.layer_gradients(dy) for array in layer[1:]]


def observe(x: Any, row_gradients: Any, valid: Any, count: Any) -> list[Any]:
    at = network(x)
    tape, kfac = nn.Tape(at, 2 * B), optim.KFAC(at, 0.1)
    tape.record(x)
    kfac.observe(tape, row_gradients, valid=valid, count=count)
    return [kfac.factors()[1].inputs, kfac.factors()[1].outputs]


def kronecker_gradient(gradient: Any) -> Any:
    at = network(gradient)
    tape, kfac = nn.Tape(at, B), optim.KFAC(at, 0.1)
    tape.record(rows(at.dtype, B, 2, 6, 5))
    kfac.observe(tape, rows(at.dtype, B, A))
    return kfac.natural_gradient(gradient)


# 9 parameters each; an operator keeps a copy of them.
OPERATORS = {
    dtype: policies.CategoricalPolicy(nn.mlp(2, A, (), dtype=dtype)).fisher_operator(rows(dtype, B, 2))
    for dtype in (np.float32, np.float64)
}


def linear_operator(v: Any) -> Any:
    return OPERATORS[dtype_for(v)]


def leaves(result: Any) -> tuple[Any, ...]:
    """Returns the numbers and arrays of a result, flattening nested tuples and leaving out None."""
    if not isinstance(result, tuple):
        return () if result is None else (result,)
    return tuple(leaf for part in result for leaf in leaves(part))


def information(dtype: Any) -> NDArray[Any]:
    """Returns a positive definite matrix ``[4, 4]``."""
    return kernels.fisher_matrix(rows(dtype, 9, 4))


def vector(dtype: Any) -> dict[str, Any]:
    return {"parameters": rows(dtype, 9), "gradient": rows(dtype, 9)}


COEFFICIENTS = {"entropy_coef": 0.01, "value_coef": 0.5, "clip_range": 0.2, "value_clip_range": 0.2}

SOLVERS: tuple[tuple[str, Callable[..., Any], tuple[str, ...]], ...] = (
    ("natural_step_size", lambda fisher, x: kernels.natural_step_size(fisher, x, 0.01), ("LinearOperator",)),
    ("conjugate_gradient", lambda matvec, b: kernels.conjugate_gradient(matvec, b, damping=0.1), ()),
)

CALLS = {
    "discounted_returns": Call(
        kernels.discounted_returns,
        lambda d: {"rewards": rows(d, T, N), "dones": flags(T, N), "next_values": rows(d, N), "discount": 0.9},
        "discounted_returns",
    ),
    "gae": Call(
        kernels.gae,
        lambda d: {
            "rewards": rows(d, T, N),
            "values": rows(d, T, N),
            "next_values": rows(d, N),
            "terminated": flags(T, N),
            "truncated": flags(T, N),
            "discount": 0.9,
            "gae_lambda": 0.8,
        },
        "gae",
    ),
    "clip_by_global_norm": Call(
        kernels.clip_by_global_norm,
        lambda d: {"gradient": rows(d, 9), "max_norm": 0.5},
        "clip_by_global_norm",
        written=("gradient",),
    ),
    "fisher_matrix": Call(
        lambda scores, count: kernels.fisher_matrix(scores, count=count),
        lambda d: {"scores": rows(d, B, 4), "count": 7},
        "fisher_matrix",
    ),
    "LinearOperator": Call(lambda v: linear_operator(v)(v), lambda d: {"v": rows(d, 9)}, "__call__"),
    "natural_gradient": Call(
        kernels.natural_gradient,
        lambda d: {"fisher": information(d), "gradient": rows(d, 4), "damping": 0.1},
        "natural_gradient",
    ),
    **{
        f"natural_gradient_from_scores {method}": Call(
            kernels.natural_gradient_from_scores,
            lambda d, method=method: {
                **{"scores": rows(d, B, 9), "gradient": rows(d, 9), "damping": 0.1},
                "method": method,
            },
            "natural_gradient_from_scores",
        )
        for method in ("auto", "cholesky", "woodbury")
    },
    "natural_step_size": Call(
        kernels.natural_step_size,
        lambda d: {"fisher": information(d), "natural_gradient": rows(d, 4), "max_kl": 0.01},
        "natural_step_size",
    ),
    "natural_step_size of a product": Call(
        lambda x, max_kl: kernels.natural_step_size(lambda v: v, x, max_kl),
        lambda d: {"x": rows(d, 4), "max_kl": 0.01},
        "natural_step_size",
    ),
    "conjugate_gradient": Call(
        kernels.conjugate_gradient,
        lambda d: {
            **{"matvec": lambda v: v, "b": rows(d, 9)},
            **{"max_iterations": 10, "tolerance": 1e-5, "damping": 0.1},
        },
        "conjugate_gradient",
    ),
    **{
        f"{name} of an operator": Call(
            lambda x, solve=solve: solve(linear_operator(x), x), lambda d: {"x": rows(d, 9)}, name, inner=inner
        )
        for name, solve, inner in SOLVERS
    },
    **{
        f"{name} of any product": Call(
            lambda product, solve=solve: solve(lambda v: product, np.ones(9, np.float32)),
            lambda d: {"product": np.ones(9, np.float32)},
            name,
        )
        for name, solve, _ in SOLVERS
    },
    **{
        f"{name}{ending}": Call(
            getattr(losses, f"{name}{ending}"),
            lambda d, arguments=arguments, count=count: {
                argument: {**COEFFICIENTS, "valid": np.ones(B, bool), "count": count}.get(argument, rows(d, B))
                for argument in arguments.split()
            },
            f"{name}{ending}",
        )
        for name, arguments in (
            ("policy_gradient", "log_prob advantages valid entropy entropy_coef count"),
            ("a2c", "log_prob advantages entropy returns values entropy_coef value_coef valid count"),
            (
                "ppo",
                "log_prob old_log_prob advantages entropy returns values clip_range entropy_coef value_coef valid "
                "old_values value_clip_range count",
            ),
        )
        for ending, count in (("", None), ("_gradient", 7))
    },
    **DISTRIBUTION_CALLS,
    **{
        name: Call(
            lambda advantages, valid, count, function=function: function(
                Categorical(np.zeros((B, A), dtype_for(advantages))),
                Categorical(np.ones((B, A), dtype_for(advantages))),
                np.arange(B) % A,
                advantages,
                valid,
                count=count,
            ),
            lambda d, count=count: {"advantages": rows(d, B), "valid": np.ones(B, bool), "count": count},
            name,
        )
        for name, function, count in (
            ("trpo_surrogate", losses.trpo_surrogate, None),
            ("trpo_surrogate_gradient", losses.trpo_surrogate_gradient, 7),
        )
    },
    "Network.forward": Call(lambda x: network(x).forward(x), lambda d: {"x": rows(d, B, 2, 6, 5)}, "forward"),
    **{
        f"Network.{name}": Call(
            lambda x, dy, name=name: getattr(network(x), name)(x, dy),
            lambda d: {"x": rows(d, B, 2, 6, 5), "dy": rows(d, B, A)},
            name,
        )
        for name in ("vjp", "per_sample_vjp")
    },
    "Network.jvp": Call(
        lambda x, v: network(x).jvp(x, v), lambda d: {"x": rows(d, B, 2, 6, 5), "v": rows(d, P)}, "jvp"
    ),
    "Network.forward_sequence": Call(
        lambda x, state, starts, held: memory(x).forward_sequence(x, state, starts, held), sequence, "forward_sequence"
    ),
    "Network.vjp_sequence": Call(
        lambda x, dy, state, starts, held: memory(x).vjp_sequence(x, dy, state, starts, held),
        lambda d: sequence(d, dy=rows(d, T * N, A)),
        "vjp_sequence",
    ),
    "Network.jvp_sequence": Call(
        lambda x, v, state, starts, held: memory(x).jvp_sequence(x, v, state, starts, held),
        lambda d: sequence(d, v=rows(d, memory(rows(d, 1)).parameters.size)),
        "jvp_sequence",
    ),
    "Tape.begin": Call(
        lambda state: nn.Tape(memory(state), 2 * N).begin(state), lambda d: {"state": rows(d, N, S)}, "begin"
    ),
    "Tape.record": Call(
        lambda x: nn.Tape(network(x), 2 * B).record(x, 1), lambda d: {"x": rows(d, B, 2, 6, 5)}, "record"
    ),
    "Tape.vjp": Call(
        tape_vjp,
        lambda d: {"x": rows(d, B, 2, 6, 5), "dy": rows(d, B, A), "gradient": rows(d, P)},
        "vjp",
        written=("gradient",),
        inner=("Tape.record",),
    ),
    "Tape.layer_gradients": Call(
        layer_gradients,
        lambda d: {"x": rows(d, B, 2, 6, 5), "dy": rows(d, B, A)},
        "layer_gradients",
        inner=("Tape.record",),
    ),
    "KFAC.observe": Call(
        observe,
        lambda d: {"x": rows(d, B, 2, 6, 5), "row_gradients": rows(d, B, A), "valid": USED.copy(), "count": 7},
        "measure",
        inner=("Tape.record",),
    ),
    "KFAC.natural_gradient": Call(kronecker_gradient, lambda d: {"gradient": rows(d, P)}, "natural_gradient"),
    **POLICY_CALLS,
    **{
        f"{kind.__name__}.step": Call(
            lambda parameters, gradient, kind=kind: kind(0.1).step(parameters, gradient),
            vector,
            "step",
            written=("parameters",),
        )
        for kind in (optim.SGD, optim.Adam, optim.RMSprop)
    },
    "SGD.step with its state": Call(
        lambda parameters, gradient, velocity, max_norm, learning_rate: with_state(
            optim.SGD(0.1), velocity=velocity
        ).step(parameters, gradient, max_norm=max_norm, learning_rate=learning_rate),
        lambda d: {**vector(d), "velocity": rows(d, 9), "max_norm": 0.5, "learning_rate": 0.1},
        "step",
        written=("parameters",),
        inner=("SGD.load_state",),
    ),
}
