"""Rollouts: T steps of N environments, time-major."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pgfast._typing import Array, BoolArray, FloatArray, IntArray
from pgfast.envs.observations import ObservationRows
from pgfast.policies import Policy, PolicyTape

__all__ = ["Rollout"]

# (observations [B, ...], time [B], state [B, S] of a memory before them or None) -> values [B]
ValuesOf = Callable[[Array, IntArray, FloatArray | None], FloatArray]


class Rollout:
    """Arrays ``[T, N]`` of one rollout; the next rollout reuses their memory.

    ``observations`` is ``[T + 1, N, ...]``: row T follows the last step, and becomes row 0 of the next rollout. The
    policy saw ``observations``; the environments returned ``raw_observations``, the same array unless observations are
    normalized. ``time`` ``[T + 1, N]`` counts the steps from the reset to each observation. ``log_prob`` ``[T, N]`` and
    ``values`` ``[T + 1, N]`` are those of the policy that acted; ``values`` is None if it has no value head. ``valid``
    marks the rows whose action the policy chose: only they count in a loss. T is ``steps``, or the length that whole
    episodes take. ``masks`` ``[T + 1, N, M]`` are those of the actions that each observation allows, None without
    ``keep_masks``.

    ``tape`` holds the forward passes of all rows ``t N + n`` if ``keep_forward``, else those of one step.
    ``initial_state`` ``[N, state_size]`` is that of a memory before row 0; where ``time`` is 0, the state is zero.
    ``timesteps`` and ``update`` are the run's counts at the start of the rollout.
    """

    def __init__(
        self,
        policy: Policy,
        packing: ObservationRows,
        steps: int,
        num_envs: int,
        *,
        keep_forward: bool = False,
        keep_raw: bool = False,
        keep_masks: bool = False,
    ) -> None:
        shape, after, family = (steps, num_envs), (steps + 1, num_envs), policy.family
        number = policy.network.dtype
        self.tape = PolicyTape(policy, (steps + 1) * num_envs if keep_forward else num_envs)
        self.packing, self.keeps_forward, self.keeps_raw = packing, keep_forward, keep_raw
        self._arrays: dict[str, Array] = {
            # A view of the tape's inputs, which avoids a copy.
            "observations": self.tape.inputs(packing.dtype).reshape(*after, *packing.shape)
            if keep_forward
            else packing.zeros(*after),
            "time": np.zeros(after, np.int64),
            "actions": np.zeros((*shape, *family.action_shape), family.action_dtype(number)),
            "log_prob": np.zeros(shape, number),
            "rewards": np.zeros(shape, number),
            "terminated": np.zeros(shape, np.bool_),
            "truncated": np.zeros(shape, np.bool_),
            "valid": np.zeros(shape, np.bool_),
        }
        if keep_raw:
            self._arrays["raw_observations"] = packing.zeros(*after)
        if keep_masks:
            self._arrays["masks"] = np.ones((*after, family.mask_columns), np.bool_)
        if policy.has_value_head:
            self._arrays["values"] = np.zeros(after, number)
        # (t, n, last observation) of truncated episodes whose next row already belongs to a new one
        self.final_observations: list[tuple[int, int, Array]] = []
        self.initial_state = policy.network.initial_state(num_envs)
        self.has_memory = policy.has_memory
        self.timesteps = 0
        self.update = 0
        self.set_steps(steps)

    def set_steps(self, steps: int) -> None:
        """Sets T, at most the capacity of the arrays."""
        arrays = self._arrays
        self.observations: Array = arrays["observations"][: steps + 1]
        self.raw_observations: Array = arrays.get("raw_observations", arrays["observations"])[: steps + 1]
        self.time: IntArray = arrays["time"][: steps + 1]
        self.values: FloatArray | None = arrays["values"][: steps + 1] if "values" in arrays else None
        self.masks: BoolArray | None = arrays["masks"][: steps + 1] if "masks" in arrays else None
        self.actions: Array = arrays["actions"][:steps]
        self.log_prob: FloatArray = arrays["log_prob"][:steps]
        self.rewards: FloatArray = arrays["rewards"][:steps]
        self.terminated: BoolArray = arrays["terminated"][:steps]
        self.truncated: BoolArray = arrays["truncated"][:steps]
        self.valid: BoolArray = arrays["valid"][:steps]

    def reserve(self, steps: int) -> None:
        """Sets T, and grows the arrays by half if they are too small; keeps their rows."""
        capacity = len(self._arrays["actions"])
        if steps > capacity:
            more = max(steps, capacity + capacity // 2) - capacity
            for name, array in self._arrays.items():
                self._arrays[name] = np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)])
        self.set_steps(steps)

    @property
    def steps(self) -> int:
        """T"""
        return len(self.actions)

    @property
    def num_envs(self) -> int:
        """N"""
        return int(self.valid.shape[1])

    @property
    def rows(self) -> int:
        """B = T N"""
        return self.valid.size

    def values_with(self, tape: PolicyTape, values_of: ValuesOf) -> FloatArray:
        """Returns V ``[T + 1, N]`` of the observations from a tape that recorded rows 0 to T N - 1."""
        state = self._state_before(tape, self.steps)
        if state is not None:
            state[self.time[-1] == 0] = 0.0
        last = values_of(self.observations[-1], self.time[-1], state)
        return np.concatenate([tape.outputs[: self.rows, -1].reshape(self.steps, self.num_envs), last[np.newaxis]])

    def next_values(self, values: FloatArray, values_of: ValuesOf, tape: PolicyTape | None = None) -> FloatArray:
        """Returns V ``[T, N]`` of each row's true successor, from ``values`` ``[T + 1, N]`` of the observations.

        Calls ``values_of`` with the last observation of an episode if the next row already belongs to a new one, and
        with the state of a memory before it on ``tape``, that of the rollout by default.
        """
        if not self.final_observations:
            return values[1:]
        following = values[1:].copy()
        for t, n, last in self.final_observations:
            state = self._state_before(tape or self.tape, t + 1)
            before = None if state is None else state[n : n + 1]
            following[t, n] = values_of(last[np.newaxis], self.time[t, n : n + 1] + 1, before)[0]
        return following

    def _state_before(self, tape: PolicyTape, t: int) -> FloatArray | None:
        """The state of a memory before row t, which is zero at the start of an episode; None without memory."""
        if not (self.has_memory and tape.rows >= self.rows):
            return None
        return tape.state_after(t * self.num_envs)
