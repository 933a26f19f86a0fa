"""Small policies of every kind, and expectations over their actions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from leaves import draw_leaves, read_leaves
from pgfast.distributions import Categorical, DiagGaussian, Distribution, Joint, MultiCategorical
from pgfast.distributions.joint import join_actions, split_actions
from pgfast.nn import Layer, Leaf, Network, NetworkSpec
from pgfast.policies import ActorCritic, CategoricalPolicy, Family, GaussianPolicy, JointFamily, Policy
from pgfast.reference.family import Component
from pgfast.reference.graph import NodeTuple


class Entry(NamedTuple):
    """The functions that make a network for the leaves, and a policy from it."""

    network: Callable[..., Network]
    leaves: tuple[Leaf, ...]
    policy: Callable[[Network], Policy]
    parts: tuple[tuple[int, ...] | int, ...]  # of each component: choices of each group, or the number of numbers

    def components(self, policy: Policy) -> list[Component]:
        """Returns the components as the reference takes them, with the log_std of this policy."""
        blocks, log_std = [], policy.log_std.astype(np.float64)
        for part, family in zip(self.parts, policy.family.components, strict=True):
            size = family.log_std_parameters
            blocks.append(Component(part, log_std[:size] if size else None))
            log_std = log_std[size:]
        return blocks


def dense(*sizes: int, activation: Any = "tanh") -> tuple[Layer, ...]:
    return tuple(Layer("dense", size, activation=activation) for size in sizes)


def mlp(outputs: int, *hidden: int, activation: Any = "tanh") -> Callable[..., Network]:
    return partial(Network, NetworkSpec(trunk=dense(*hidden, activation=activation)), outputs=outputs)


def cnn(outputs: int) -> Callable[..., Network]:
    convolutions = (Layer("conv2d", 3, 3, 2, "relu"), Layer("conv2d", 4, 2, 1, "relu"))
    return partial(Network, NetworkSpec(trunk=(*convolutions, *dense(5, activation="relu"))), outputs=outputs)


def vector(size: int) -> tuple[Leaf, ...]:
    return (Leaf("vector", (size,)),)


IMAGE = (Leaf("image", (2, 7, 8), "bytes"),)
DICT = (
    Leaf("vector", (3,)),
    Leaf("image", (6, 5, 1), "bytes", channels_last=True),
    Leaf("codes", (2,), "codes", choices=(3, 2)),
)
NORMED = NetworkSpec(
    {"image": (Layer("conv2d", 2, 3, 2, "relu"), *dense(3)), "codes": dense(3)},
    trunk=(Layer("dense", 8), Layer("layer_norm", activation="tanh")),
)
SEPARATE = NetworkSpec(
    NORMED.encoders, NORMED.trunk, value=NetworkSpec({"image": dense(2), "codes": dense(2)}, trunk=dense(4))
)
CHOICES = JointFamily([Family("categorical", [2]), Family("categorical", [4])])
MIXED = ((3,), 2, (2, 3), 1)  # mixed_family
ZOO = {
    "categorical-linear": Entry(mlp(4), vector(3), CategoricalPolicy, parts=((4,),)),
    "categorical-tanh": Entry(mlp(3, 6, 5), vector(4), CategoricalPolicy, parts=((3,),)),
    "categorical-relu": Entry(mlp(3, 9, activation="relu"), vector(4), CategoricalPolicy, parts=((3,),)),
    "categorical-cnn": Entry(cnn(3), IMAGE, CategoricalPolicy, parts=((3,),)),
    "multi-categorical": Entry(mlp(6, 7), vector(3), lambda n: CategoricalPolicy(n, (2, 3, 1)), parts=((2, 3, 1),)),
    "multi-binary": Entry(mlp(4, 5), vector(3), lambda n: CategoricalPolicy(n, (2, 2)), parts=((2, 2),)),
    "gaussian-linear": Entry(mlp(2), vector(3), lambda n: GaussianPolicy(n, -0.3), parts=(2,)),
    "gaussian-tanh": Entry(mlp(2, 6, 5), vector(4), lambda n: GaussianPolicy(n, 0.4), parts=(2,)),
    "gaussian-relu": Entry(mlp(3, 9, activation="relu"), vector(4), GaussianPolicy, parts=(3,)),
    "gaussian-cnn": Entry(cnn(2), IMAGE, GaussianPolicy, parts=(2,)),
    "state-std-linear": Entry(
        mlp(4), vector(3), lambda n: GaussianPolicy(n, -0.5, state_dependent_std=True), parts=(2,)
    ),
    "state-std-tanh": Entry(mlp(2, 6), vector(4), lambda n: GaussianPolicy(n, state_dependent_std=True), parts=(1,)),
    "actor-critic-discrete": Entry(mlp(4, 6), vector(4), lambda n: ActorCritic(n, spaces.Discrete(3)), parts=((3,),)),
    "actor-critic-multi-discrete": Entry(
        mlp(6, 6), vector(4), lambda n: ActorCritic(n, spaces.MultiDiscrete([3, 2])), parts=((3, 2),)
    ),
    "actor-critic-box": Entry(
        mlp(3, 6), vector(4), lambda n: ActorCritic(n, spaces.Box(-1.0, 1.0, (2,)), log_std_init=-0.2), parts=(2,)
    ),
    "joint": Entry(mlp(11, 5), vector(4), lambda n: Policy(n, mixed_family(), log_std_init=-0.3), parts=MIXED),
    "joint-critic": Entry(
        mlp(14, 6),
        vector(4),
        lambda n: Policy(n, mixed_family(state_dependent_std=True), value_head=True, log_std_init=0.2),
        parts=MIXED,
    ),
    "dict": Entry(partial(Network, NORMED, outputs=3), DICT, CategoricalPolicy, parts=((3,),)),
    "dict-joint": Entry(
        partial(Network, SEPARATE, outputs=(9, 1)),
        DICT,
        lambda n: Policy(n, JointFamily([mixed_family().components[c] for c in (0, 2, 3)]), value_head=True),
        parts=((3,), (2, 3), 1),
    ),
    "joint-choices": Entry(mlp(6, 4), vector(3), lambda n: Policy(n, CHOICES), parts=((2,), (4,))),
}


def mixed_family(*, state_dependent_std: bool = False) -> JointFamily:
    """Discrete(3), a Box of 2 numbers, MultiDiscrete([2, 3]), and a Box of 1 number."""
    choice, choices = Family("categorical", [3]), Family("categorical", [2, 3], grouped=True)
    numbers, number = Family("gaussian", [2], state_dependent_std=state_dependent_std), Family("gaussian", [1])
    return JointFamily([choice, numbers, choices, number])


def make_policy(name: str, dtype: Any = np.float64, seed: int = 0) -> Policy:
    """Returns a policy whose parameters are all far from their initial values."""
    entry = ZOO[name]
    policy = entry.policy(entry.network(entry.leaves, dtype=dtype, seed=seed))
    change = np.random.default_rng(seed).standard_normal(policy.parameters.size, np.float32)
    policy.parameters[:] += (0.4 * change).astype(dtype)
    return policy


def observations(name: str, rows: int, dtype: Any = np.float64) -> NDArray[Any]:
    return draw_leaves(ZOO[name].leaves, rows, dtype)


def reference_network(
    name: str, policy: Policy, obs: NDArray[Any]
) -> tuple[list[NodeTuple], NDArray[np.float64], list[NDArray[np.float64]]]:
    """Returns the graph of the policy's network, its parameters and the leaves, as the reference takes them."""
    network = policy.network
    return [*network.graph.nodes], network.parameters.astype(np.float64), read_leaves(ZOO[name].leaves, obs)


def some_mask(policy: Policy, rows: int) -> NDArray[np.bool_]:
    """Draws a mask that forbids about half of the choices, but not all of a group."""
    rng, sizes = np.random.default_rng(rows), policy.family.group_sizes()
    groups = [rng.random((rows, size)) < 0.5 for size in sizes]
    for group, size in zip(groups, sizes, strict=True):
        group[np.arange(rows), rng.integers(0, size, rows)] = True
    return np.concatenate(groups, axis=1)


def all_actions(
    policy: Policy, obs: NDArray[Any], mask: NDArray[np.bool_] | None = None
) -> Iterator[tuple[NDArray[Any], NDArray[np.float64]]]:
    """Yields (actions, weights ``[B]``) whose weighted sums are expectations over pi(a | obs).

    A discrete policy yields every action. A Gaussian policy yields 4 Gauss-Hermite nodes along each axis, which are
    exact for polynomials of degree 7; products of two scores have degree 4.
    """
    return expectation_nodes(policy.distribution(obs, mask), len(obs))


def expectation_nodes(distribution: Distribution[Any], rows: int) -> Iterator[tuple[NDArray[Any], NDArray[np.float64]]]:
    if isinstance(distribution, Joint):
        for nodes in itertools.product(*(expectation_nodes(part, rows) for part in distribution.components)):
            yield join_actions([actions for actions, _ in nodes]), np.prod([weights for _, weights in nodes], axis=0)
        return
    if isinstance(distribution, DiagGaussian):
        points, point_weights = np.polynomial.hermite_e.hermegauss(4)
        point_weights = point_weights / np.sqrt(2.0 * np.pi)
        for index in itertools.product(range(4), repeat=distribution.mean.shape[1]):
            actions = distribution.mean + np.exp(distribution.log_std) * points[list(index)]
            yield actions, np.full(rows, np.prod(point_weights[list(index)]))
        return
    if isinstance(distribution, Categorical):
        choices = [np.full(rows, action) for action in range(distribution.logits.shape[1])]
    else:
        assert isinstance(distribution, MultiCategorical)
        choices = [np.tile(action, (rows, 1)) for action in itertools.product(*map(range, distribution.sizes))]
    for actions in choices:
        yield actions, np.exp(distribution.log_prob(actions))


def some_actions(policy: Policy, obs: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> NDArray[Any]:
    return policy.act(obs, 5, mask)[0]


def reference_actions(policy: Policy, actions: NDArray[Any]) -> list[NDArray[Any]]:
    """Returns the actions of each component, numbers in float64."""
    parts = split_actions(actions)
    return [
        part.astype(np.float64) if part.dtype.kind == "f" else part
        for part in (parts if isinstance(parts, tuple) else (parts,))
    ]
