"""What every policy can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypeAlias, cast

import numpy as np

from pgfast._native import core
from pgfast._typing import Array, FloatArray
from pgfast.distributions import Distribution
from pgfast.nn import Network, ParameterBlock
from pgfast.policies.families import Family, GaussianFamily
from pgfast.policies.tape import PolicyTape
from pgfast.random import Rng, as_rng

__all__ = ["Policy"]

LinearOperator: TypeAlias = core.LinearOperatorFloat32 | core.LinearOperatorFloat64

_POLICY_GAIN = 0.01  # nearly uniform at first, so that exploration does not depend on the draw of the weights


class Policy(ABC):
    """pi(a | s): a ``family`` of distributions whose parameters are outputs of a ``network``.

    ``parameters`` is one flat vector ``[P]``: the network's blocks first, then what the family has of its own (the
    log_std of a Gaussian). It may be written in place at any time; the network's parameters are a view of it. A network
    belongs to one policy.

    Methods take observations ``[B, ...]`` of the network's dtype or uint8, allocate what they return, and raise
    ``TypeError`` or ``ValueError`` as :mod:`pgfast.kernels` does.
    """

    network: Network
    family: Family

    @abstractmethod
    def distribution(self, obs: Array) -> Distribution[Any]:
        """The distribution of each row's action. Later changes of the parameters do not reach it."""

    def distribution_from(self, outputs: FloatArray) -> Distribution[Any]:
        """:meth:`distribution`, from outputs ``[B, output_size]`` that the network has given already."""
        return self.family.distribution(outputs, self._own)

    def gradient_from(
        self, outputs: FloatArray, actions: Array, weight_log_prob: FloatArray, weight_entropy: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray | None]:
        """Gradient of sum_b w_b log pi(actions_b) + we_b H_b at outputs that the network has given already.

        Returns: that at ``outputs`` ``[B, output_size]``, and that at the parameters beside the network's, or None.
        """
        return self.family.gradient(outputs, self._own, actions, weight_log_prob, weight_entropy)

    @property
    def parameters(self) -> FloatArray:
        """The parameters, a flat writable view ``[P]``."""
        return self._parameters

    @property
    def layout(self) -> list[ParameterBlock]:
        """Name, shape and slice of each block of ``parameters``, in order."""
        blocks, of_network = self.network.layout, self.network.parameters.size
        own = self.family.own_parameters
        return [*blocks, ParameterBlock("log_std", (own,), slice(of_network, of_network + own))] if own else blocks

    def act(self, obs: Array, rng: int | Rng) -> tuple[Any, FloatArray]:
        """Sampled actions and their log-probabilities ``[B]``; ``rng`` is a seed, or a generator that advances.

        Raises ``TypeError`` (dtype), ``ValueError`` (shape, outputs or actions that are not finite).
        """
        seed, stream, step = as_rng(rng).next_key()
        network = cast(Any, self.network.native)
        return core.policy_sample(network, self.family.native, self._parameters, obs, seed, stream, step)

    def scores(self, obs: Array, actions: Array) -> FloatArray:
        """Rows s_b = grad log pi(actions_b | obs_b), ``[B, P]``.

        Raises ``TypeError`` (dtype), ``ValueError`` (shape, range, outputs or actions that are not finite).
        """
        outputs = self.network.forward(obs)
        ones = np.ones(len(outputs), outputs.dtype)
        doutputs, own = self.family.gradient(outputs, self._own, actions, ones, per_row=True)
        native = cast(Any, self.network.native)
        return cast(FloatArray, native.per_sample_vjp(self.network.parameters, obs, doutputs, own))

    def gradient(
        self, obs: Array, actions: Array, weight_log_prob: FloatArray, weight_entropy: FloatArray | None = None
    ) -> FloatArray:
        """Gradient of sum_b weight_log_prob_b log pi(actions_b | obs_b) + weight_entropy_b H_b, ``[P]``.

        Weights are ``[B]``, taken as constants; without ``weight_entropy`` there is no entropy term. One forward pass.

        Raises ``TypeError`` (dtype), ``ValueError`` (shape, range, outputs, actions or weights that are not finite).
        """
        rows = obs.shape[0] if isinstance(obs, np.ndarray) and obs.ndim else 0
        tape = PolicyTape(self, max(1, rows))  # what is no batch is refused by the next line
        tape.record(obs, 0)
        doutputs, own = self.gradient_from(tape.outputs, actions, weight_log_prob, weight_entropy)
        gradient = np.empty_like(self.parameters)
        tape.vjp(obs, doutputs, gradient, own)
        return gradient

    def fisher_operator(
        self, obs: Array, damping: float = 0.0
    ) -> core.LinearOperatorFloat32 | core.LinearOperatorFloat64:
        """The Fisher information of the policy at ``obs``, as a map: ``operator(v)`` gives a new ``[P]``.

        F v = mean_b J_b' M_b J_b v + damping v

        J_b is the Jacobian of row b's outputs, M_b the Fisher matrix of its distribution in these outputs: exact, the
        mean over ``obs`` of the sum over actions of pi(a | s) s s' v.

        Args:
            obs: ``[B, ...]``; the operator refers to its memory, which must not change.
            damping: at least 0, finite.

        Returns: a symmetric, positive semidefinite native operator, for :func:`pgfast.kernels.conjugate_gradient` too.
        It keeps a copy of the parameters and the forward pass: later changes of the parameters do not reach it.

        Raises: ``TypeError`` (dtype), ``ValueError`` (shape, range, outputs that are not finite, a log_std so small
        that exp(-2 log_std) overflows).

        Source: Schulman et al. (2015), appendix C.1; Pearlmutter (1994) for the products.
        """
        kind = core.FisherOperatorFloat32 if self.network.dtype == np.float32 else core.FisherOperatorFloat64
        operator = cast(Any, kind)(self.network.native, self.family.native, self.parameters, obs, damping)
        return cast(LinearOperator, operator)

    def fisher_vector_product(self, obs: Array, v: FloatArray, damping: float = 0.0) -> FloatArray:
        """One product of :meth:`fisher_operator` with ``v`` ``[P]``: a new ``[P]``."""
        return self.fisher_operator(obs, damping)(v)

    @property
    def _own(self) -> FloatArray:
        """The block of ``parameters`` that is not the network's."""
        return self._parameters[self.network.parameters.size :]

    def _adopt(self, network: Network, family: Family, log_std_init: float, *, initialize: bool) -> None:
        """Takes the network into one vector with the family's own parameters, and makes the policy nearly uniform."""
        self.network, self.family = network, family
        size = network.parameters.size
        if family.own_parameters:
            self._parameters: FloatArray = np.full(size + family.own_parameters, log_std_init, network.dtype)
            network.move_parameters(self._parameters[:size])
        else:
            self._parameters = network.parameters
        if initialize:
            weight, bias = network.layout[-2:]
            columns = network.parameters[weight.slice].reshape(-1, weight.shape[-1])
            columns[:, : family.columns] *= _POLICY_GAIN
            if isinstance(family, GaussianFamily) and family.state_dependent_std:
                network.parameters[bias.slice][family.components : family.columns] = log_std_init
