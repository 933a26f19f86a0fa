"""A tape of a policy's forward passes."""

from __future__ import annotations

from typing import Any

from pgfast._native import core
from pgfast._typing import Array, BoolArray, FloatArray
from pgfast.distributions import Distribution
from pgfast.distributions.joint import split_actions
from pgfast.nn import Tape
from pgfast.policies.policy import Policy
from pgfast.profiling import FORWARD
from pgfast.random import Key

__all__ = ["PolicyTape"]


class PolicyTape(Tape):
    """The forward passes of a rollout, kept for :meth:`Policy.gradient`: row t N + n is environment n at step t.

    Args:
        policy: its network runs the forward passes.
        rows: the capacity, in [1, 2^28].

    Raises:
        ValueError: if ``rows`` is out of range.
    """

    def __init__(self, policy: Policy, rows: int) -> None:
        super().__init__(policy.network, rows)
        self.policy = policy

    def act(
        self,
        obs: Array,
        first_row: int,
        actions: Any,
        log_prob: FloatArray,
        *,
        key: Key,
        starts: BoolArray | None = None,
        mask: BoolArray | None = None,
    ) -> None:
        """Records observations, samples an action for each, and writes the actions and their log-probabilities.

        Args:
            obs: ``[n, ...]``, recorded from row ``first_row`` on.
            first_row: at least 0.
            actions: ``[n, *family.action_shape]`` of the family's ``action_dtype``, written in place.
            log_prob: ``[n]`` in the network's dtype, written in place.
            key: (seed, stream, environment, step). Row i draws the numbers of (seed, stream, environment + i, step).
            starts: ``[n]``, where an episode starts, if the network has memory; None for the flags on the tape.
            mask: ``[n, family.mask_columns]``; actions that it forbids are never drawn. None allows all.

        Raises:
            TypeError: if a dtype is wrong.
            ValueError: if a shape is wrong, the rows do not fit, a mask allows no action, or outputs or actions are not
                finite.
        """
        if starts is not None:
            self.starts[first_row : first_row + len(starts)] = starts
        family, parameters = self.policy.family, self.policy.parameters
        parts = split_actions(actions) if family.is_joint else actions
        if parts is not actions and not actions.flags.writeable:
            raise ValueError("Policy.act: actions must be writable, got a read-only array")
        with FORWARD:
            core.policy_act(self.native, family.native, parameters, obs, mask, first_row, *key, parts, log_prob)
        if parts is not actions:
            for name, part in zip(actions.dtype.names, parts, strict=True):
                actions[name] = part

    def record(self, x: Array, first_row: int = 0) -> None:
        with FORWARD:
            super().record(x, first_row)

    def evaluate(self, actions: Any, mask: BoolArray | None = None) -> tuple[FloatArray, FloatArray]:
        """Computes the log-probabilities of actions, and the entropies of the distributions they belong to.

        Args:
            actions: of B rows, those of the first B rows of the tape.
            mask: ``[B, family.mask_columns]``, with which the actions were drawn; None allows all actions.

        Returns:
            log_prob and entropy, ``[B]`` each: those of :meth:`distribution`.

        Raises:
            TypeError: if a dtype is wrong.
            ValueError: if a shape is wrong, an action is out of range, a mask allows no action, or outputs or actions
                are not finite.
        """
        family, parts = self.policy.family.native, split_actions(actions)
        with FORWARD:
            log_prob, entropy = core.policy_evaluate(self.native, family, self.policy.parameters, parts, mask)
        return log_prob, entropy

    def distribution(self, rows: int, mask: BoolArray | None = None) -> Distribution[Any]:
        """Returns the distributions of the first ``rows`` rows. Later changes of the tape do not affect them.

        The mask ``[rows, family.mask_columns]`` must not be changed while they are in use; None allows all actions.
        """
        return self.policy.distribution_from(self.outputs[:rows], mask)
