"""Acting with a fixed policy, outside of training."""

from __future__ import annotations

from typing import Any

import numpy as np

from pgfast._typing import Array, BoolArray, FloatArray
from pgfast.envs.normalization import Normalizers
from pgfast.envs.observations import ObservationRows
from pgfast.policies import Policy
from pgfast.random import Rng

__all__ = ["Actor", "network_inputs"]


class Actor:
    """Chooses actions in N environments, and carries the state of a policy with memory from step to step.

    Args:
        policy: chooses, with its parameters at the time of each step.
        packing: makes rows of its inputs from raw observations.
        normalizers: as they are at each step.
        rng: of the sampled actions.
        num_envs: N.
        deterministic: take the most probable actions instead of sampling.
    """

    def __init__(
        self,
        policy: Policy,
        packing: ObservationRows,
        normalizers: Normalizers,
        rng: Rng,
        *,
        num_envs: int,
        deterministic: bool,
    ) -> None:
        self._policy, self._packing, self._normalizers = policy, packing, normalizers
        self._rng, self._deterministic = rng, deterministic
        self._state: FloatArray | None = policy.network.initial_state(num_envs) if policy.has_memory else None

    def act(self, observations: Array, starts: BoolArray, mask: BoolArray | None = None) -> Any:
        """Returns the policy's actions, before they are scaled and clipped for the environments.

        Args:
            observations: raw rows ``[N, ...]``.
            starts: ``[N]``, whether an observation is the first of an episode.
            mask: ``[N, M]``, the actions that may be taken; None allows all.
        """
        rows = self._normalizers.normalize_observations(network_inputs("act", self._packing, observations))
        if self._state is None:
            distribution = self._policy.distribution(rows, mask)
        else:
            distribution, _, self._state = self._policy.step(rows, self._state, starts, mask=mask)
        return distribution.mode() if self._deterministic else distribution.sample(self._rng)


def network_inputs(caller: str, packing: ObservationRows, raw: Array) -> Array:
    """Returns rows of the network's inputs from raw rows.

    Raises:
        ValueError: for numbers that are not finite.
    """
    rows = packing.zeros(len(raw))
    packing.pack(raw, rows)
    for field in packing.fields(rows).values():
        if field.dtype.kind == "f" and not np.isfinite(field).all():
            raise ValueError(f"{caller}: obs must be finite")
    return rows
