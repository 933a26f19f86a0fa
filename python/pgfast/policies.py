"""Policies over networks."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from gymnasium import spaces

from pgfast._native import core
from pgfast._typing import Array, FloatArray, IntArray
from pgfast.distributions import Categorical
from pgfast.nn import Network
from pgfast.random import Rng

__all__ = ["ActorCritic", "ActorCriticTape"]

_POLICY_GAIN = 0.01  # nearly uniform at first, so that exploration does not depend on the draw of the weights


class ActorCritic:
    """A policy and a value function that share one network.

    ``network`` has A + 1 outputs for a Discrete ``space`` of A actions: the logits first, the value last. Construction
    scales the policy's columns of its last layer by 0.01, in place, unless ``initialize=False`` (a trained network).
    ``parameters`` is the network's.

    Raises ``ValueError`` if the space is not Discrete or the outputs do not fit it.
    """

    def __init__(self, network: Network, space: spaces.Space[Any], *, initialize: bool = True) -> None:
        if not isinstance(space, spaces.Discrete):
            raise ValueError(f"ActorCritic: the action space must be Discrete, got {space}")
        self.network = network
        self.num_actions = int(space.n)
        if network.output_size != self.num_actions + 1:
            raise ValueError(
                f"ActorCritic: the network must have A + 1 = {self.num_actions + 1} outputs "
                f"(logits, then the value), got {network.output_size}"
            )
        if initialize:
            weight = network.layout[-2]
            block = network.parameters[weight.slice].reshape(weight.shape)
            block[:, : self.num_actions] *= _POLICY_GAIN

    @property
    def parameters(self) -> FloatArray:
        """The network's parameters, a flat writable view ``[P]``."""
        return self.network.parameters

    def distribution(self, obs: Array) -> Categorical:
        """The policy at observations ``[B, ...]``."""
        return Categorical(np.ascontiguousarray(self.network.forward(obs)[:, : self.num_actions]))

    def values(self, obs: Array) -> FloatArray:
        """V ``[B]`` at observations ``[B, ...]``."""
        return np.ascontiguousarray(self.network.forward(obs)[:, self.num_actions])

    def act(self, obs: Array, rng: int | Rng) -> tuple[IntArray, FloatArray]:
        """Sampled actions ``[B]`` int64 and their log-probabilities ``[B]``."""
        return self.distribution(obs).sample_with_log_prob(rng)


class ActorCriticTape:
    """The forward passes of a rollout, kept for the backward pass: row t N + n is environment n at step t.

    ``outputs`` ``[rows, A + 1]`` is a view of the logits and values recorded so far.
    """

    def __init__(self, policy: ActorCritic, rows: int) -> None:
        self.policy = policy
        self._native = cast(Any, policy.network.native)  # of either dtype, the tape of the same
        kind = core.TapeFloat32 if policy.network.dtype == np.float32 else core.TapeFloat64
        self._tape = kind(self._native, rows)
        self.outputs: FloatArray = self._tape.output()

    def act(
        self,
        obs: Array,
        first_row: int,
        actions: IntArray,
        *,
        seed: int,
        stream: int,
        environment: int,
        step: int,
        max_threads: int,
    ) -> None:
        """Records ``obs`` ``[n, ...]`` at rows ``first_row`` on, and writes sampled ``actions`` ``[n]``.

        Environment ``environment + i`` draws the number named by (seed, stream, environment + i, step).
        The forward pass uses at most ``max_threads`` threads.
        """
        self._native.act(
            self.policy.parameters,
            obs,
            self._tape,
            first_row,
            seed,
            stream,
            environment,
            step,
            actions,
            max_threads,
        )

    def record(self, obs: Array, first_row: int, *, max_threads: int) -> None:
        """Records ``obs`` without choosing actions."""
        self._native.record(self.policy.parameters, obs, self._tape, first_row, max_threads)

    def vjp(self, obs: Array, doutputs: FloatArray, gradient: FloatArray) -> None:
        """Writes ``gradient`` ``[P]`` for d loss / d outputs ``[B, A + 1]`` at the recorded rows 0 to B.

        ``obs`` ``[B, ...]`` must be what was recorded, and the parameters unchanged since.
        """
        self._native.replay_vjp(self.policy.parameters, obs, self._tape, doutputs, gradient)
