"""What every policy can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pgfast._native import core
from pgfast._typing import Array, FloatArray
from pgfast.distributions import Distribution
from pgfast.envs.spaces import ActionInfo
from pgfast.kernels import LinearOperator
from pgfast.losses import RowGradients
from pgfast.nn import Network, ParameterBlock, Tape
from pgfast.policies.families import Family, family_of
from pgfast.profiling import BACKWARD, FORWARD
from pgfast.random import Rng, as_rng
from pgfast.state import Tree, require_same_shape

if TYPE_CHECKING:
    from gymnasium import Space

__all__ = ["ActorCritic", "CategoricalPolicy", "GaussianPolicy", "Policy"]

_POLICY_GAIN = 0.01  # nearly uniform at first, so that exploration does not depend on the draw of the weights


class Policy:
    """pi(a | s): a ``family`` of distributions whose parameters are outputs of a ``network``.

    With a ``value_head`` the last output is the value V(s). ``parameters`` is one flat vector ``[P]``: the network's
    blocks first, then what the family has of its own (the log_std of a Gaussian). It may be written in place at any
    time; the network's parameters are a view of it. A network belongs to one policy.

    Construction scales the policy's columns of the last layer's weight by 0.01, in place, and sets log_std, or the bias
    that it depends on, to ``log_std_init``; with ``initialize=False`` (a trained network) it leaves the network alone.

    Methods take observations ``[B, ...]`` of the network's dtype or uint8, allocate what they return, and raise
    ``TypeError`` or ``ValueError`` as :mod:`pgfast.kernels` does. Construction raises ``ValueError`` if the outputs do
    not fit the family, or ``log_std_init`` is not finite.
    """

    def __init__(
        self,
        network: Network,
        family: Family,
        *,
        value_head: bool = False,
        log_std_init: float = 0.0,
        initialize: bool = True,
    ) -> None:
        columns = family.columns
        if network.output_size != columns + value_head:
            outputs = f"A = {columns} outputs"
            if value_head:
                outputs = f"A + 1 = {columns + 1} outputs (the policy's, then the value)"
            raise ValueError(f"Policy: the network must have {outputs}, got {network.output_size}")
        if not np.isfinite(log_std_init):
            raise ValueError(f"Policy: log_std_init must be finite, got {log_std_init}")
        self.network, self.family, self.has_value_head = network, family, value_head
        size = network.parameters.size
        self._parameters = network.parameters
        if family.own_parameters:
            self._parameters = np.full(size + family.own_parameters, log_std_init, network.dtype)
            network.move_parameters(self._parameters[:size])
        if initialize:
            weight, bias = network.layout[-2:]
            network.parameters[weight.slice].reshape(weight.shape)[..., :columns] *= _POLICY_GAIN
            if family.state_dependent_std:
                network.parameters[bias.slice][family.sizes[0] : columns] = log_std_init

    @property
    def parameters(self) -> FloatArray:
        """The parameters, a flat writable view ``[P]``."""
        return self._parameters

    @property
    def log_std(self) -> FloatArray:
        """The shared log_std of a Gaussian, a writable view ``[A]`` of ``parameters``; else empty."""
        return self._parameters[self.network.parameters.size :]

    @property
    def layout(self) -> list[ParameterBlock]:
        """Name, shape and slice of each block of ``parameters``, in order."""
        blocks, of_network = self.network.layout, self.network.parameters.size
        own = self.family.own_parameters
        return [*blocks, ParameterBlock("log_std", (own,), slice(of_network, of_network + own))] if own else blocks

    def distribution(self, obs: Array) -> Distribution[Any]:
        """The distribution of each row's action. Later changes of the parameters do not reach it."""
        with FORWARD:
            return self.distribution_from(self.network.forward(obs))

    def distribution_from(self, outputs: FloatArray) -> Distribution[Any]:
        """:meth:`distribution`, from outputs ``[B, output_size]`` that the network has returned already."""
        return self.family.distribution(outputs, self.log_std)

    def values(self, obs: Array) -> FloatArray:
        """V ``[B]``. Raises ``ValueError`` without a value head."""
        if not self.has_value_head:
            raise ValueError("Policy.values: the policy has no value head")
        with FORWARD:
            return np.ascontiguousarray(self.network.forward(obs)[:, -1])

    def act(self, obs: Array, rng: int | Rng) -> tuple[Any, FloatArray]:
        """Sampled actions and their log-probabilities ``[B]``; ``rng`` is a seed, or a generator that advances.

        Raises ``TypeError`` (dtype), ``ValueError`` (shape, outputs or actions that are not finite).
        """
        seed, stream, _, step = as_rng(rng).next_key()
        return core.policy_sample(self.network.native, self.family.native, self._parameters, obs, seed, stream, step)

    def scores(self, obs: Array, actions: Array) -> FloatArray:
        """Rows s_b = grad log pi(actions_b | obs_b), ``[B, P]``.

        Raises ``TypeError`` (dtype), ``ValueError`` (shape, range, outputs or actions that are not finite).
        """
        return core.policy_scores(self.network.native, self.family.native, self._parameters, obs, actions)

    def gradient(
        self, at: Array | Tape, actions: Array, rows: RowGradients, *, out: FloatArray | None = None
    ) -> FloatArray:
        """The gradient of a loss in the parameters, from that in the log-probability, entropy and value of each row.

        g = sum_b rows.log_prob_b grad log pi(actions_b | s_b) + rows.entropy_b grad H_b + rows.values_b grad V(s_b)

        Args:
            at: observations ``[B, ...]``; or a tape that has recorded them as its first B rows, with the present
                parameters, which saves the forward pass.
            actions: of B rows.
            rows: ``[B]`` each, taken as constants; None is zero. Rows of zeros add nothing, whatever their action.
            out: ``[P]``, written in place and returned; None for a new one.

        Raises: ``TypeError`` (dtype), ``ValueError`` (shape, range, outputs, actions or rows that are not finite,
        values without a value head, a tape of another network).

        Source: Williams (1992), section 3, for log_prob.
        """
        gradient = np.empty_like(self._parameters) if out is None else out
        network, family = self.network.native, self.family.native
        inputs = at.native if isinstance(at, Tape) else at
        with BACKWARD:
            core.policy_backward(network, family, self._parameters, inputs, actions, *rows, gradient)
        return gradient

    def fisher_operator(self, obs: Array, damping: float = 0.0, *, count: int | None = None) -> LinearOperator:
        """The Fisher information of the policy at ``obs``, as a map: ``operator(v)`` returns a new ``[P]``.

        F v = (1/count) sum_b J_b' M_b J_b v + damping v

        J_b is the Jacobian of row b's outputs, M_b the Fisher matrix of its distribution in these outputs: exact, the
        mean over ``obs`` of the sum over actions of pi(a | s) s s' v.

        Args:
            obs: ``[B, ...]``, copied.
            damping: at least 0, finite.
            count: the divisor of the mean if other workers hold the rest of its rows; None for B.

        Returns: a symmetric, positive semidefinite native operator, for :func:`pgfast.kernels.conjugate_gradient` too.
        It keeps a copy of the parameters and the forward pass: later changes of the parameters do not reach it.

        Raises: ``TypeError`` (dtype), ``ValueError`` (shape, range, outputs that are not finite, a log_std so small
        that exp(-2 log_std) overflows).

        Source: Schulman et al. (2015), appendix C.1; Pearlmutter (1994) for the products.
        """
        return core.FisherOperator(self.network.native, self.family.native, self._parameters, obs, damping, count)

    def fisher_vector_product(self, obs: Array, v: FloatArray, damping: float = 0.0) -> FloatArray:
        """One product of :meth:`fisher_operator` with ``v`` ``[P]``: a new ``[P]``."""
        return self.fisher_operator(obs, damping)(v)

    def state(self) -> Tree:
        """``parameters``."""
        return {"parameters": self._parameters}

    def load_state(self, tree: Tree) -> None:
        """Raises ``KeyError``, or ``ValueError`` for parameters of another shape or dtype."""
        require_same_shape("the policy's parameters", tree["parameters"], self._parameters)
        self._parameters[:] = tree["parameters"]


def CategoricalPolicy(  # noqa: N802 - one of the kinds of policy
    network: Network, sizes: Sequence[int] | None = None, *, initialize: bool = True
) -> Policy:
    """pi(a | s) = softmax of the network's outputs.

    Without ``sizes`` they are the logits of one choice among all, actions int64 ``[B]``. With ``sizes`` of K choices
    (sum(sizes) outputs) actions are int64 ``[B, K]``; sizes of 2 are MultiBinary.

    Raises ``ValueError`` if the outputs do not fit the sizes.
    """
    family = Family("categorical", [network.output_size] if sizes is None else sizes, grouped=sizes is not None)
    return Policy(network, family, initialize=initialize)


def GaussianPolicy(  # noqa: N802 - one of the kinds of policy
    network: Network, log_std_init: float = 0.0, *, state_dependent_std: bool = False, initialize: bool = True
) -> Policy:
    """pi(a | s) = N(mean(s), diag exp(2 log_std)), actions ``[B, A]``.

    The network's outputs are the means, and log_std ``[A]`` is the last block of ``parameters``, all ``log_std_init``
    at first. With ``state_dependent_std`` the network has 2 A outputs, the means first, log_std after them, whose bias
    starts at ``log_std_init``.

    Raises ``ValueError`` if the outputs do not fit, or ``log_std_init`` is not finite.
    """
    if state_dependent_std and network.output_size % 2 == 1:
        raise ValueError(
            "GaussianPolicy: with state_dependent_std the network must have 2 A outputs (means, then log_std), "
            f"got {network.output_size}"
        )
    components = network.output_size // 2 if state_dependent_std else network.output_size
    family = Family("gaussian", [components], state_dependent_std=state_dependent_std)
    return Policy(network, family, log_std_init=log_std_init, initialize=initialize)


def ActorCritic(  # noqa: N802 - one of the kinds of policy
    network: Network,
    space: Space[Any],
    *,
    log_std_init: float = 0.0,
    state_dependent_std: bool = False,
    initialize: bool = True,
) -> Policy:
    """A policy and a value function that share one network.

    The policy's columns of the network's output come first, the value last: the logits of a Discrete ``space``, of each
    entry of a MultiDiscrete or MultiBinary one; for a Box of A numbers the means, log_std ``[A]`` being the last block
    of ``parameters``, or, with ``state_dependent_std``, means and log_std; see :func:`GaussianPolicy`.

    Raises ``ValueError`` for another space, or if the outputs do not fit it.
    """
    family = family_of(ActionInfo.of(space), state_dependent_std=state_dependent_std)
    return Policy(network, family, value_head=True, log_std_init=log_std_init, initialize=initialize)
