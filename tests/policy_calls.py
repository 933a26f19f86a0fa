"""Every public call on a policy, with valid arguments for the tests to vary."""

from __future__ import annotations

from typing import Any

import numpy as np

from distribution_calls import CHOICES, allowed, joint_actions
from pgfast import losses, nn, policies
from public_call import SIZES, A, B, Call, dtype_for, rows

GAUSSIAN = {
    dtype: policies.GaussianPolicy(nn.Network.of_layers([2, 6, 5], [nn.Layer("dense", A)], dtype=dtype))
    for dtype in (np.float32, np.float64)
}


def gaussian_policy(obs: Any) -> policies.Policy:
    return GAUSSIAN[dtype_for(obs)]


GROUPED = {
    dtype: policies.CategoricalPolicy(nn.mlp(2, 5, (), dtype=dtype), SIZES) for dtype in (np.float32, np.float64)
}


def grouped_policy(obs: Any) -> policies.Policy:
    return GROUPED[dtype_for(obs)]


JOINT = {
    dtype: policies.Policy(
        nn.mlp(2, 8, (), dtype=dtype),
        policies.JointFamily([policies.Family("categorical", SIZES, grouped=True), policies.Family("gaussian", [A])]),
    )
    for dtype in (np.float32, np.float64)
}


def joint_policy(obs: Any) -> policies.Policy:
    return JOINT[dtype_for(obs)]


def act_jointly(obs: Any, choices: Any, numbers: Any, log_prob: Any) -> None:
    policies.PolicyTape(joint_policy(obs), B).act(obs, 0, (choices, numbers), log_prob, key=(1, 2, 3, 4))


def act_with_a_mask(obs: Any, mask: Any, actions: Any, log_prob: Any) -> None:
    tape = policies.PolicyTape(grouped_policy(obs), B)
    tape.act(obs, 0, actions, log_prob, key=(1, 2, 3, 4), mask=mask)


def act(obs: Any, actions: Any, log_prob: Any) -> None:
    tape = policies.PolicyTape(gaussian_policy(obs), B)
    tape.act(obs, 0, actions, log_prob, key=(1, 2, 3, 4))


def evaluate(actions: Any) -> tuple[Any, Any]:
    policy = gaussian_policy(actions)
    tape = policies.PolicyTape(policy, B)
    tape.record(rows(policy.network.dtype, B, 2, 6, 5))
    return tape.evaluate(actions)


def evaluate_with_a_mask(actions: Any, mask: Any) -> tuple[Any, Any]:
    tape = policies.PolicyTape(grouped_policy(None), B)
    tape.record(rows(np.float32, B, 2))
    return tape.evaluate(actions, mask)


def evaluate_jointly(choices: Any, numbers: Any) -> tuple[Any, Any]:
    policy = joint_policy(numbers)
    tape = policies.PolicyTape(policy, B)
    tape.record(rows(policy.network.dtype, B, 2))
    return tape.evaluate((choices, numbers))


POLICY_CALLS = {
    "Policy.fisher_operator": Call(
        lambda obs, damping, count: gaussian_policy(obs).fisher_operator(obs, damping, count=count),
        lambda d: {"obs": rows(d, B, 2, 6, 5), "damping": 0.1, "count": 7},
        "__init__",
    ),
    "LinearOperator of a policy": Call(
        lambda obs, v: gaussian_policy(obs).fisher_vector_product(obs, v),
        lambda d: {"obs": rows(d, B, 2, 6, 5), "v": rows(d, GAUSSIAN[d].parameters.size)},
        "__init__",
        inner=("Policy.fisher_operator",),
    ),
    "Policy.scores": Call(
        lambda obs, actions: gaussian_policy(obs).scores(obs, actions),
        lambda d: {"obs": rows(d, B, 2, 6, 5), "actions": rows(d, B, A)},
        "policy_scores",
    ),
    "Policy.gradient": Call(
        lambda obs, actions, log_prob, entropy: gaussian_policy(obs).gradient(
            obs, actions, losses.RowGradients(log_prob, entropy)
        ),
        lambda d: {
            **{"obs": rows(d, B, 2, 6, 5), "actions": rows(d, B, A)},
            **{"log_prob": rows(d, B), "entropy": rows(d, B)},
        },
        "policy_backward",
    ),
    "Policy.output_gradients": Call(
        lambda obs, actions, log_prob, entropy: gaussian_policy(obs).output_gradients(
            obs, actions, losses.RowGradients(log_prob, entropy)
        ),
        lambda d: {
            **{"obs": rows(d, B, 2, 6, 5), "actions": rows(d, B, A)},
            **{"log_prob": rows(d, B), "entropy": rows(d, B)},
        },
        "policy_output_gradients",
    ),
    "Policy.act": Call(
        act,
        lambda d: {"obs": rows(d, B, 2, 6, 5), "actions": rows(d, B, A), "log_prob": rows(d, B)},
        "policy_act",
        written=("actions", "log_prob"),
    ),
    "Policy.act with a mask": Call(
        act_with_a_mask,
        lambda d: {"obs": rows(d, B, 2), "mask": allowed(*SIZES), "actions": CHOICES.copy(), "log_prob": rows(d, B)},
        "policy_act",
        written=("actions", "log_prob"),
    ),
    "Policy.act jointly": Call(
        act_jointly,
        lambda d: {"obs": rows(d, B, 2), **joint_actions(d), "log_prob": rows(d, B)},
        "policy_act",
        written=("choices", "numbers", "log_prob"),
    ),
    "PolicyTape.evaluate": Call(evaluate, lambda d: {"actions": rows(d, B, A)}, "policy_evaluate"),
    "PolicyTape.evaluate with a mask": Call(
        evaluate_with_a_mask,
        lambda d: {"actions": CHOICES.copy(), "mask": allowed(*SIZES)},
        "policy_evaluate",
    ),
    "PolicyTape.evaluate jointly": Call(evaluate_jointly, joint_actions, "policy_evaluate"),
    "Policy.gradient jointly": Call(
        lambda obs, choices, numbers, log_prob, entropy: joint_policy(obs).gradient(
            obs, (choices, numbers), losses.RowGradients(log_prob, entropy)
        ),
        lambda d: {"obs": rows(d, B, 2), **joint_actions(d), "log_prob": rows(d, B), "entropy": rows(d, B)},
        "policy_backward",
    ),
    "Policy.fisher_operator with a mask": Call(
        lambda obs, mask: grouped_policy(obs).fisher_operator(obs, mask=mask),
        lambda d: {"obs": rows(d, B, 2), "mask": allowed(*SIZES)},
        "__init__",
    ),
    "Policy.scores with a mask": Call(
        lambda obs, actions, mask: grouped_policy(obs).scores(obs, actions, mask),
        lambda d: {"obs": rows(d, B, 2), "actions": CHOICES.copy(), "mask": allowed(*SIZES)},
        "policy_scores",
    ),
    "Policy.gradient with a mask": Call(
        lambda obs, actions, mask, log_prob, entropy: grouped_policy(obs).gradient(
            obs, actions, losses.RowGradients(log_prob, entropy), mask=mask
        ),
        lambda d: {
            **{"obs": rows(d, B, 2), "actions": CHOICES.copy(), "mask": allowed(*SIZES)},
            **{"log_prob": rows(d, B), "entropy": rows(d, B)},
        },
        "policy_backward",
    ),
}
