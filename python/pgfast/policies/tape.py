"""Forward passes that are kept for the backward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pgfast._native import core
from pgfast._typing import Array, FloatArray

if TYPE_CHECKING:
    from pgfast.policies.policy import Policy

__all__ = ["PolicyTape"]


class PolicyTape:
    """The forward passes of a rollout, kept for the backward pass: row t N + n is environment n at step t.

    ``outputs`` ``[rows, output_size]`` is a view of the network's outputs recorded so far.

    Raises ``ValueError`` if ``rows`` is below 1.
    """

    def __init__(self, policy: Policy, rows: int) -> None:
        self.policy = policy
        self.rows = rows
        self._native = cast(Any, policy.network.native)  # of either dtype, the tape of the same
        kind = core.TapeFloat32 if policy.network.dtype == np.float32 else core.TapeFloat64
        self._tape = kind(self._native, rows)
        self.outputs: FloatArray = self._tape.output()

    def act(
        self,
        obs: Array,
        first_row: int,
        actions: Array,
        *,
        seed: int,
        stream: int,
        environment: int,
        step: int,
    ) -> None:
        """Records ``obs`` ``[n, ...]`` at rows ``first_row`` on, and writes sampled ``actions``, in place.

        ``actions`` is int64 ``[n]``, int64 ``[n, K]`` of K choices, or ``[n, A]`` in the network's dtype. Environment
        ``environment + i`` draws the numbers named by (seed, stream, environment + i, step).

        Raises ``TypeError`` (dtype), ``ValueError`` (shape, rows, outputs or actions that are not finite).
        """
        core.policy_act(
            self._native,
            self.policy.family.native,
            self.policy.parameters,
            obs,
            cast(Any, self._tape),
            first_row,
            seed,
            stream,
            environment,
            step,
            actions,
        )

    def record(self, obs: Array, first_row: int) -> None:
        """Records ``obs`` without choosing actions."""
        self._native.record(self.policy.network.parameters, obs, self._tape, first_row)

    def vjp(self, obs: Array, doutputs: FloatArray, gradient: FloatArray, own: FloatArray | None = None) -> None:
        """Writes ``gradient`` ``[P]``, in place, for d loss / d outputs ``[B, output_size]`` at rows 0 to B.

        ``obs`` ``[B, ...]`` must be what was recorded, and the parameters unchanged since. ``own`` is d loss / d of the
        policy's parameters beside the network's, the last block of ``gradient``; None for zero.

        Raises ``TypeError`` (dtype), ``ValueError`` (shape, shared memory).
        """
        size = self.policy.network.parameters.size
        if gradient.shape != self.policy.parameters.shape:
            raise ValueError(
                f"PolicyTape.vjp: gradient must have shape (P,) = {self.policy.parameters.shape}, got {gradient.shape}"
            )
        self._native.replay_vjp(self.policy.network.parameters, obs, self._tape, doutputs, gradient[:size])
        gradient[size:] = 0.0 if own is None else own
