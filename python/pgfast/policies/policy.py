"""Policies: action distributions whose parameters are outputs of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pgfast._native import core
from pgfast._typing import Array, BoolArray, FloatArray
from pgfast.distributions import Distribution
from pgfast.distributions.joint import join_actions, split_actions
from pgfast.envs.actions import ActionInfo
from pgfast.kernels import LinearOperator
from pgfast.losses import RowGradients
from pgfast.nn import Network, ParameterBlock, Tape
from pgfast.policies.families import Family, family_of
from pgfast.profiling import BACKWARD, FORWARD
from pgfast.random import Rng, as_rng
from pgfast.state import Tree, require_same_shape

if TYPE_CHECKING:
    from gymnasium import Space

__all__ = ["ActorCritic", "CategoricalPolicy", "GaussianPolicy", "Policy", "PolicyStep"]

_POLICY_GAIN = 0.01  # the first policy is nearly uniform, so exploration does not depend on the initial weights


class PolicyStep(NamedTuple):
    """The result of :meth:`Policy.step`: the distribution and V ``[B]`` of the rows, and the state after them."""

    distribution: Distribution[Any]
    values: FloatArray | None
    state: FloatArray


class Policy:
    """pi(a | s): a ``family`` of distributions whose parameters are outputs of a ``network``.

    ``parameters`` is one flat vector ``[P]``: the network's blocks first, then the log_std of a Gaussian that does not
    depend on the observation. It may be written in place at any time; the network's parameters are a view of it. A
    network belongs to one policy.

    A policy whose network has memory is pi(a | s, state): :meth:`step` takes the place of :meth:`distribution`,
    :meth:`values` and :meth:`act`, and :meth:`gradient` takes a tape.

    Methods take observations ``[B, ...]`` of the network's dtype or uint8, allocate their results, and raise
    ``TypeError`` or ``ValueError`` as :mod:`pgfast.kernels` does. A ``mask`` ``[B, family.mask_columns]`` is bool and
    has a column for each logit. It is True where the action may be taken; every choice of every row needs at least one
    such action. None allows all actions. The actions of a :class:`JointFamily` are as described there.

    Args:
        network: written in place; its parameters become a view of the policy's.
        family: how the outputs parametrize the action distribution.
        value_head: whether the last output is the value V(s).
        log_std_init: initial value of log_std, or of its bias if it depends on the observation.
        initialize: whether to scale the policy's columns of the last layer's weight by 0.01 and to set the bias of
            log_std. False leaves a trained network unchanged.

    Raises:
        ValueError: if the number of outputs does not fit the family, or ``log_std_init`` is not finite.
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
        num_outputs = family.num_outputs
        if network.output_size != num_outputs + value_head:
            outputs = f"A = {num_outputs} outputs"
            if value_head:
                outputs = f"A + 1 = {num_outputs + 1} outputs (the policy's, then the value)"
            raise ValueError(f"Policy: the network must have {outputs}, got {network.output_size}")
        if not np.isfinite(log_std_init):
            raise ValueError(f"Policy: log_std_init must be finite, got {log_std_init}")
        self.network, self.family, self.has_value_head = network, family, value_head
        size = network.parameters.size
        self._parameters = network.parameters
        if family.log_std_parameters:
            self._parameters = np.full(size + family.log_std_parameters, log_std_init, network.dtype)
            network.move_parameters(self._parameters[:size])
        if initialize:
            weight, bias = network.output_layers[0]
            network.parameters[weight.slice].reshape(weight.shape)[..., :num_outputs] *= _POLICY_GAIN
            network.parameters[bias.slice][family.log_std_outputs()] = log_std_init

    def __setstate__(self, state: dict[str, Any]) -> None:
        """For copy and pickle, after which the network's parameters are a view of the policy's again."""
        self.__dict__.update(state)
        self._parameters = np.array(self._parameters)
        self.network.move_parameters(self._parameters[: self.network.parameters.size])

    @property
    def parameters(self) -> FloatArray:
        """A flat writable view ``[P]`` of the parameters."""
        return self._parameters

    @property
    def has_memory(self) -> bool:
        """Whether the network has memory, for the policy or for the value."""
        return self.network.state_size > 0

    @property
    def log_std(self) -> FloatArray:
        """A writable view ``[A]`` of the log_std in ``parameters``; empty if there is none."""
        return self._parameters[self.network.parameters.size :]

    @property
    def layout(self) -> list[ParameterBlock]:
        """Name, shape and slice of each block of ``parameters``, in order."""
        blocks, start, size = self.network.layout, self.network.parameters.size, self.family.log_std_parameters
        return [*blocks, ParameterBlock("log_std", (size,), slice(start, start + size))] if size else blocks

    def distribution(self, obs: Array, mask: BoolArray | None = None) -> Distribution[Any]:
        """Returns the action distribution of each row. Later changes of the parameters do not affect it.

        The mask must not be changed while the distribution is in use.
        """
        with FORWARD:
            return self.distribution_from(self.network.forward(obs), mask)

    def distribution_from(self, outputs: FloatArray, mask: BoolArray | None = None) -> Distribution[Any]:
        """Returns :meth:`distribution` for network outputs ``[B, output_size]`` that are already computed."""
        return self.family.distribution(outputs, self.log_std, mask)

    def values(self, obs: Array) -> FloatArray:
        """Returns V ``[B]``.

        Raises:
            ValueError: if the policy has no value head.
        """
        if not self.has_value_head:
            raise ValueError("Policy.values: the policy has no value head")
        with FORWARD:
            return np.ascontiguousarray(self.network.forward(obs)[:, -1])

    def step(
        self,
        obs: Array,
        state: FloatArray,
        starts: BoolArray | None = None,
        held: BoolArray | None = None,
        *,
        mask: BoolArray | None = None,
    ) -> PolicyStep:
        """Runs a policy with memory on one or more steps; arguments as for :meth:`pgfast.nn.Network.forward_sequence`.

        ``policy.network.initial_state(N)`` is the state before the first step.
        """
        with FORWARD:
            outputs, after = self.network.forward_sequence(obs, state, starts, held)
        values = np.ascontiguousarray(outputs[:, -1]) if self.has_value_head else None
        return PolicyStep(self.distribution_from(outputs, mask), values, after)

    def act(self, obs: Array, rng: int | Rng, mask: BoolArray | None = None) -> tuple[Any, FloatArray]:
        """Samples an action for each row.

        Args:
            obs: ``[B, ...]``.
            rng: a seed, or a generator, which advances by one position.
            mask: actions that it forbids are never drawn.

        Returns:
            The actions and their log-probabilities ``[B]``.

        Raises:
            TypeError: if a dtype is wrong.
            ValueError: if a shape is wrong, a mask allows no action, or outputs or actions are not finite.
        """
        seed, stream, _, step = as_rng(rng).next_key()
        network, family = self.network.native, self.family.native
        actions, log_prob = core.policy_sample(network, family, self._parameters, obs, mask, seed, stream, step)
        return join_actions(actions) if self.family.is_joint else actions, log_prob

    def scores(self, obs: Array, actions: Any, mask: BoolArray | None = None) -> FloatArray:
        """Computes the scores s_b = grad log pi(actions_b | obs_b).

        Args:
            obs: ``[B, ...]``.
            actions: of B rows. The score of a choice that the mask forbids, whose log pi is -inf, is 0.
            mask: with which the actions were drawn.

        Returns:
            The scores ``[B, P]``, one row per sample.

        Raises:
            TypeError: if a dtype is wrong.
            ValueError: if a shape is wrong, an action is out of range, a mask allows no action, or outputs or actions
                are not finite.
        """
        network, family = self.network.native, self.family.native
        return core.policy_scores(network, family, self._parameters, obs, mask, split_actions(actions))

    def gradient(
        self,
        at: Array | Tape,
        actions: Any,
        rows: RowGradients,
        *,
        mask: BoolArray | None = None,
        out: FloatArray | None = None,
    ) -> FloatArray:
        """Computes the gradient of a loss in the parameters from its gradients in the rows.

        g = sum_b rows.log_prob_b grad log pi(actions_b | s_b) + rows.entropy_b grad H_b + rows.values_b grad V(s_b)

        Args:
            at: observations ``[B, ...]``; or a tape that recorded them as its first B rows with the current parameters,
                which saves the forward pass.
            actions: of B rows.
            rows: gradients in the log-probability, entropy and value of each row, ``[B]`` each; None means zero. The
                action of a row of zeros has no effect.
            mask: with which the actions were drawn. Logits that it forbids have gradient 0.
            out: ``[P]``, written in place and returned; None for a new array.

        Returns:
            g, ``[P]``.

        Raises:
            TypeError: if a dtype is wrong.
            ValueError: if a shape is wrong, an action is out of range, a mask allows no action, a number is not finite,
                ``rows.values`` is given without a value head, or the tape is of another network.

        Source: Williams (1992), section 3, for log_prob.
        """
        gradient = np.empty_like(self._parameters) if out is None else out
        network, family = self.network.native, self.family.native
        inputs, parts = at.native if isinstance(at, Tape) else at, split_actions(actions)
        with BACKWARD:
            core.policy_backward(network, family, self._parameters, inputs, mask, parts, *rows, gradient)
        return gradient

    def output_gradients(
        self, at: Array | Tape, actions: Any, rows: RowGradients, *, mask: BoolArray | None = None
    ) -> FloatArray:
        """Returns the gradient of each row's term of :meth:`gradient` in the network's outputs, ``[B, output_size]``.

        With a weight of 1 for ``rows.log_prob`` and standard normal numbers for ``rows.values``, these are the
        gradients that :meth:`pgfast.optim.KFAC.measure` takes. Arguments and errors are those of :meth:`gradient`.
        """
        network, family = self.network.native, self.family.native
        inputs, parts = at.native if isinstance(at, Tape) else at, split_actions(actions)
        return core.policy_output_gradients(network, family, self._parameters, inputs, mask, parts, *rows)

    def fisher_operator(
        self, obs: Array, damping: float = 0.0, *, count: int | None = None, mask: BoolArray | None = None
    ) -> LinearOperator:
        """Returns the exact Fisher information of the policy at ``obs`` as a linear map.

        F v = (1/count) sum_b J_b' M_b J_b v + damping v

        J_b is the Jacobian of the outputs of row b, M_b the Fisher matrix of its distribution in these outputs. The sum
        equals, for scores s, the mean over ``obs`` of the sum over allowed actions of pi(a | s) s s' v.

        Args:
            obs: ``[B, ...]``, copied.
            damping: at least 0, finite.
            count: divisor of the mean, at least 1, if other workers hold further rows; None for B.
            mask: with which the actions were drawn.

        Returns:
            A symmetric, positive semidefinite native operator. ``operator(v)`` returns a new ``[P]``;
            :func:`pgfast.kernels.conjugate_gradient` accepts the operator, too. It keeps a copy of the parameters and
            the forward pass, so later changes of the parameters do not affect it.

        Raises:
            TypeError: if the dtype is wrong.
            ValueError: if a shape is wrong, a number is out of range, a mask allows no action, outputs are not finite,
                or log_std is so small that exp(-2 log_std) overflows.

        Source: Schulman et al. (2015), appendix C.1; Pearlmutter (1994) for the products.
        """
        network, family = self.network.native, self.family.native
        return core.FisherOperator(network, family, self._parameters, obs, mask, damping, count)

    def fisher_vector_product(
        self, obs: Array, v: FloatArray, damping: float = 0.0, *, mask: BoolArray | None = None
    ) -> FloatArray:
        """Returns one product of :meth:`fisher_operator` with ``v`` ``[P]``, a new ``[P]``."""
        return self.fisher_operator(obs, damping, mask=mask)(v)

    def state(self) -> Tree:
        """Returns a view of ``parameters``."""
        return {"parameters": self._parameters}

    def load_state(self, tree: Tree) -> None:
        """Copies the parameters of a state.

        Raises:
            KeyError: if there are none.
            ValueError: if they have another shape or dtype.
        """
        require_same_shape("the policy's parameters", tree["parameters"], self._parameters)
        self._parameters[:] = tree["parameters"]


def CategoricalPolicy(  # noqa: N802 - one of the kinds of policy
    network: Network, sizes: Sequence[int] | None = None, *, initialize: bool = True
) -> Policy:
    """Makes a policy whose network's outputs are logits: pi(a | s) = softmax(outputs).

    Args:
        network: its outputs are the logits.
        sizes: the number of choices of each of K groups, sum(sizes) outputs, actions int64 ``[B, K]``; sizes of 2 for a
            MultiBinary space. None for one choice among all outputs, actions int64 ``[B]``.
        initialize: as for :class:`Policy`.

    Raises:
        ValueError: if the number of outputs does not fit the sizes.
    """
    family = Family("categorical", [network.output_size] if sizes is None else sizes, grouped=sizes is not None)
    return Policy(network, family, initialize=initialize)


def GaussianPolicy(  # noqa: N802 - one of the kinds of policy
    network: Network, log_std_init: float = 0.0, *, state_dependent_std: bool = False, initialize: bool = True
) -> Policy:
    """Makes a Gaussian policy: pi(a | s) = N(mean(s), diag exp(2 log_std)), actions ``[B, A]``.

    Args:
        network: its A outputs are the means. With ``state_dependent_std`` it has 2 A, the means first, then log_std.
        log_std_init: initial value of log_std, or of its bias if it depends on the observation.
        state_dependent_std: whether log_std depends on the observation. If not, log_std ``[A]`` is the last block of
            ``parameters``.
        initialize: as for :class:`Policy`.

    Raises:
        ValueError: if the number of outputs is odd with ``state_dependent_std``, or ``log_std_init`` is not finite.
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
    """Makes a policy and a value function on one network.

    The policy's outputs come first, the value last. The policy's outputs are the logits of a Discrete space, the logits
    of each entry of a MultiDiscrete or MultiBinary space, or, for a Box, those of :func:`GaussianPolicy`. Those of the
    parts of a Dict or a Tuple follow each other.

    Args:
        network: with one output more than the policy has.
        space: the action space.
        log_std_init: as for :func:`GaussianPolicy`.
        state_dependent_std: as for :func:`GaussianPolicy`.
        initialize: as for :class:`Policy`.

    Raises:
        ValueError: if the space is of another kind, the number of outputs does not fit it, or ``log_std_init`` is not
            finite.
    """
    family = family_of(ActionInfo.of(space), state_dependent_std=state_dependent_std)
    return Policy(network, family, value_head=True, log_std_init=log_std_init, initialize=initialize)
