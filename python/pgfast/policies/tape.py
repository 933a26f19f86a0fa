"""Forward passes of a policy that are kept for the backward pass."""

from __future__ import annotations

from typing import Any

from pgfast._native import core
from pgfast._typing import Array, FloatArray
from pgfast.distributions import Distribution
from pgfast.nn import Tape
from pgfast.policies.policy import Policy
from pgfast.profiling import FORWARD
from pgfast.random import Key

__all__ = ["PolicyTape"]


class PolicyTape(Tape):
    """The forward passes of a rollout, kept for :meth:`Policy.gradient`: row t N + n is environment n at step t.

    Raises ``ValueError`` if ``rows`` is below 1.
    """

    def __init__(self, policy: Policy, rows: int) -> None:
        super().__init__(policy.network, rows)
        self.policy = policy

    def act(self, obs: Array, first_row: int, actions: Array, log_prob: FloatArray, *, key: Key) -> None:
        """Records ``obs`` ``[n, ...]`` at rows ``first_row`` on; writes sampled ``actions`` and ``log_prob``, in place.

        ``actions`` is int64 ``[n]``, int64 ``[n, K]`` of K choices, or ``[n, A]`` in the network's dtype, ``log_prob``
        ``[n]`` in that dtype. ``key`` is (seed, stream, environment, step): row i draws the numbers that
        (seed, stream, environment + i, step) names.

        Raises ``TypeError`` (dtype), ``ValueError`` (shape, rows, outputs or actions that are not finite).
        """
        family, parameters = self.policy.family.native, self.policy.parameters
        with FORWARD:
            core.policy_act(self.native, family, parameters, obs, first_row, *key, actions, log_prob)

    def record(self, x: Array, first_row: int = 0) -> None:
        """Records observations ``x`` without choosing actions."""
        with FORWARD:
            super().record(x, first_row)

    def distribution(self, rows: int) -> Distribution[Any]:
        """The distributions of the first ``rows`` rows. Later changes of the tape do not reach them."""
        return self.policy.distribution_from(self.outputs[:rows])
