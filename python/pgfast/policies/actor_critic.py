"""A policy and a value function over one network."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from pgfast._typing import Array, FloatArray
from pgfast.distributions import Distribution
from pgfast.nn import Network
from pgfast.policies.families import family_of
from pgfast.policies.policy import Policy

__all__ = ["ActorCritic"]


class ActorCritic(Policy):
    """A policy and a value function that share one network.

    The policy's columns of the network's output come first, the value last: the logits of a Discrete ``space``, of each
    entry of a MultiDiscrete or MultiBinary one; for a Box of A numbers the means, log_std ``[A]`` being the last block
    of ``parameters``, or, with ``state_dependent_std``, means and log_std; see :class:`GaussianPolicy`. Construction
    scales the policy's columns of the last layer's weight by 0.01, in place, unless ``initialize=False`` (a trained
    network).

    Raises ``ValueError`` for another space, or if the outputs do not fit it.
    """

    def __init__(
        self,
        network: Network,
        space: spaces.Space[Any],
        *,
        log_std_init: float = 0.0,
        state_dependent_std: bool = False,
        initialize: bool = True,
    ) -> None:
        family = family_of(space, state_dependent_std=state_dependent_std)
        if network.output_size != family.columns + 1:
            raise ValueError(
                f"ActorCritic: the network must have A + 1 = {family.columns + 1} outputs "
                f"(the policy's, then the value), got {network.output_size}"
            )
        if not np.isfinite(log_std_init):
            raise ValueError(f"ActorCritic: log_std_init must be finite, got {log_std_init}")
        self._adopt(network, family, log_std_init, initialize=initialize)

    @property
    def num_actions(self) -> int:
        """The policy's columns of the output; the number of actions of a Discrete space."""
        return self.family.columns

    def distribution(self, obs: Array) -> Distribution[Any]:
        """The policy at observations ``[B, ...]``."""
        return self.family.distribution(self.network.forward(obs), self._own)

    def values(self, obs: Array) -> FloatArray:
        """V ``[B]`` at observations ``[B, ...]``."""
        return np.ascontiguousarray(self.network.forward(obs)[:, -1])
