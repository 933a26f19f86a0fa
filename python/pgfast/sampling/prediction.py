"""The inputs of a policy for the observations that a user passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgfast._typing import Array, BoolArray, FloatArray
from pgfast.distributions import Distribution
from pgfast.envs.action_masks import MaskForm, MaskSource, mask_in
from pgfast.envs.actions import ActionInfo
from pgfast.envs.normalization import Normalizers
from pgfast.envs.observations import ObservationRows
from pgfast.policies import Policy
from pgfast.sampling.actor import network_inputs

__all__ = ["PolicyInputs", "inputs_of", "mask_of", "state_before"]


@dataclass(frozen=True)
class PolicyInputs:
    """The inputs of a policy for B observations."""

    rows: Array  # [B, ...]
    is_single: bool  # whether one observation was given, not a batch
    state: FloatArray | None  # [B, state_size], before the observations; None without memory

    def distribution(self, policy: Policy, mask: BoolArray | None) -> tuple[Distribution[Any], FloatArray | None]:
        """Returns the distributions of the actions, and the state after the observations, None without memory."""
        if self.state is None:
            return policy.distribution(self.rows, mask), None
        distribution, _, after = policy.step(self.rows, self.state, mask=mask)
        return distribution, after


def inputs_of(
    caller: str,
    obs: Any,
    policy: Policy,
    packing: ObservationRows,
    normalizers: Normalizers,
    *,
    state: Any,
    episode_start: Any,
) -> PolicyInputs:
    """Returns the inputs of a policy for one raw observation or a batch of them.

    Args:
        caller: the name in error messages.
        obs: as the environment returns them.
        policy: may have memory.
        packing: makes rows of its inputs from raw observations.
        normalizers: stay as they are.
        state: as for :func:`state_before`.
        episode_start: the same.

    Raises:
        TypeError: for a dtype other than uint8 of bytes, or as :func:`state_before` does.
        ValueError: for another shape, for an observation that is not finite, or as :func:`state_before` does.
    """
    try:
        raw, is_single = packing.info.batch(obs)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{caller}: {error}") from None
    rows = normalizers.normalize_observations(network_inputs(caller, packing, raw))
    return PolicyInputs(rows, is_single, state_before(caller, policy, len(rows), state, episode_start))


def mask_of(
    caller: str, obs: Any, given: Any, inputs: PolicyInputs, action: ActionInfo, source: MaskSource
) -> BoolArray | None:
    """Returns the mask ``[B, M]`` that was given, or that the observations hold; None if there is none.

    Raises:
        ValueError: if the mask does not have the form of the actions, or allows none, or the observations lack it.
    """
    if given is None and source == "observation":
        given = mask_in(obs)
        if given is None:
            raise ValueError(f'{caller}: obs must hold the key "action_mask", or give action_mask=')
    if given is None:
        return None
    if not action.choices:
        raise ValueError(f"{caller}: action_mask must be None, because the actions have no choices: {action}")
    count = len(inputs.rows)
    if not inputs.is_single and not isinstance(given, (tuple, Mapping)) and len(given) != count:
        raise ValueError(f"{caller}: action_mask must have a row for each of {count} observations, got {len(given)}")
    masks, faults = MaskForm(action).rows([given] if inputs.is_single else given, count)
    for index, fault in faults.items():
        raise ValueError(f"{caller}: action_mask{'' if inputs.is_single else f' of row {index}'} {fault}")
    return masks


def state_before(caller: str, policy: Policy, count: int, state: Any, episode_start: Any) -> FloatArray | None:
    """Returns the state ``[count, state_size]`` before observations, zero where episodes start; None without memory.

    Args:
        caller: the name in error messages.
        policy: may have memory.
        count: of the observations.
        state: ``[count, state_size]``, or ``[state_size]`` for one observation; None for zeros.
        episode_start: a bool or ``[count]``; None for nowhere.

    Raises:
        TypeError: if ``episode_start`` is not bool, or a policy without memory is given either.
        ValueError: if a shape is wrong, or a number is not finite.
    """
    if not policy.has_memory:
        if state is not None or episode_start is not None:
            raise TypeError(f"{caller}: this agent has no memory; leave out state and episode_start")
        return None
    before = policy.network.initial_state(count)
    if state is not None:
        given = np.asarray(state, before.dtype)
        if given.shape != before.shape and not (count == 1 and given.shape == before.shape[1:]):
            raise ValueError(
                f"{caller}: state must have shape (B, state_size) = {before.shape}, got {given.shape}; "
                "pass the state that predict returned for the observations before"
            )
        if not np.isfinite(given).all():
            raise ValueError(f"{caller}: state must be finite")
        before[:] = given
    if episode_start is not None:
        starts = np.asarray(episode_start)
        if starts.dtype != np.bool_:
            raise TypeError(f"{caller}: episode_start must be bool, got {starts.dtype}")
        if starts.shape not in ((), (count,)):
            raise ValueError(f"{caller}: episode_start must have shape () or (B,) = ({count},), got {starts.shape}")
        before[np.broadcast_to(starts, count)] = 0
    return before
