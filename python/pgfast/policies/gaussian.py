"""A policy over real vectors."""

from __future__ import annotations

from typing import cast

import numpy as np

from pgfast._typing import Array, FloatArray
from pgfast.distributions import DiagGaussian
from pgfast.nn import Network
from pgfast.policies.families import GaussianFamily
from pgfast.policies.policy import Policy

__all__ = ["GaussianPolicy"]


class GaussianPolicy(Policy):
    """pi(a | s) = N(mean(s), diag exp(2 log_std)), actions ``[B, A]``.

    The network's outputs are the means, and log_std ``[A]`` is the last block of ``parameters``, all ``log_std_init``
    at first. With ``state_dependent_std`` the network has 2 A outputs, the means first, log_std after them, whose bias
    starts at ``log_std_init``. Construction scales the weights of the last layer by 0.01, in place; with
    ``initialize=False`` (a trained network) it leaves weights and bias alone.

    Raises ``ValueError`` if the outputs do not fit, or ``log_std_init`` is not finite.
    """

    def __init__(
        self,
        network: Network,
        log_std_init: float = 0.0,
        *,
        state_dependent_std: bool = False,
        initialize: bool = True,
    ) -> None:
        if not np.isfinite(log_std_init):
            raise ValueError(f"GaussianPolicy: log_std_init must be finite, got {log_std_init}")
        if state_dependent_std and network.output_size % 2 == 1:
            raise ValueError(
                "GaussianPolicy: with state_dependent_std the network must have 2 A outputs (means, then log_std), "
                f"got {network.output_size}"
            )
        components = network.output_size // 2 if state_dependent_std else network.output_size
        family = GaussianFamily(components, state_dependent_std=state_dependent_std)
        self._adopt(network, family, log_std_init, initialize=initialize)

    def distribution(self, obs: Array) -> DiagGaussian:
        """DiagGaussian at observations ``[B, ...]``, its log_std ``[A]``, or ``[B, A]`` if it depends on them."""
        outputs = self.network.forward(obs)
        return cast(GaussianFamily, self.family).distribution(outputs, self._own)

    @property
    def log_std(self) -> FloatArray:
        """The shared log_std, a writable view ``[A]`` of ``parameters``; empty where it depends on the state."""
        return self._own
