"""Synthetic rollouts: random observations, rewards and flags, with the actions and tape of a real policy."""

from __future__ import annotations

from typing import Any

import numpy as np

from pgfast.agent import Agent
from pgfast.sampling.rollout import Rollout

__all__ = ["of_environments", "random_rollout", "rows_of"]


def random_rollout(
    agent: Agent, rng: np.random.Generator, steps: int, num_envs: int, *, ends: float = 0.1, invalid: float = 0.0
) -> Rollout:
    """Normal observations and rewards, actions of the policy, flags with the probabilities ``ends`` and ``invalid``."""
    rollout = _empty(agent, steps, num_envs)
    rollout.raw_observations[:] = rng.standard_normal(rollout.raw_observations.shape)
    rollout.rewards[:] = rng.standard_normal(rollout.rewards.shape)
    rollout.terminated[:] = rng.random(rollout.terminated.shape) < ends
    rollout.truncated[:] = rng.random(rollout.truncated.shape) < ends
    rollout.valid[:] = rng.random(rollout.valid.shape) >= invalid
    ended = rollout.terminated | rollout.truncated
    for t in range(steps):
        rollout.time[t + 1] = np.where(ended[t], 0, rollout.time[t] + 1)
    rollout.observations[:] = agent.learner.normalizers.normalize_observations(
        rollout.raw_observations.reshape(-1, *rollout.raw_observations.shape[2:])
    ).reshape(rollout.observations.shape)
    _act(rollout, int(rng.integers(2**31)))
    return rollout


def of_environments(agent: Agent, rollout: Rollout, environments: slice) -> Rollout:
    """The rollout of an equal agent that has only some of the environments."""
    part = _empty(agent, rollout.steps, len(range(rollout.num_envs)[environments]))
    for name in ("raw_observations", "observations", "time", "log_prob", "rewards", "terminated", "truncated", "valid"):
        getattr(part, name)[:] = getattr(rollout, name)[:, environments]
    if part.masks is not None and rollout.masks is not None:
        part.masks[:] = rollout.masks[:, environments]
    _act(part, 0)
    part.actions[:] = rollout.actions[:, environments]
    part.log_prob[:] = rollout.log_prob[:, environments]
    part.timesteps, part.update = rollout.timesteps, rollout.update
    numbers = list(range(rollout.num_envs)[environments])
    part.final_observations += [
        (t, numbers.index(n), last) for t, n, last in rollout.final_observations if n in numbers
    ]
    return part


def rows_of(rollout: Rollout) -> tuple[Any, Any, Any]:
    """``(observations, actions, rewards)`` of all rows, ``[T N, ...]`` each."""
    observations = rollout.observations[:-1]
    return (
        observations.reshape(rollout.rows, *observations.shape[2:]),
        rollout.actions.reshape(rollout.rows, *rollout.actions.shape[2:]),
        rollout.rewards.reshape(rollout.rows),
    )


def _empty(agent: Agent, steps: int, num_envs: int) -> Rollout:
    learner = agent.learner
    return Rollout(
        learner.policy,
        learner.rows,
        steps,
        num_envs,
        keep_forward=learner.keeps_forward,
        keep_raw=learner.normalizers.observes,
        keep_masks=agent.settings.action_mask != "none",
    )


def _act(rollout: Rollout, seed: int) -> None:
    """Draws actions, and records the forward passes if the rollout keeps them, as the collector does."""
    tape, num_envs, state = rollout.tape, rollout.num_envs, rollout.initial_state
    has_memory = tape.policy.has_memory
    for t in range(rollout.steps):
        row = t * num_envs if rollout.keeps_forward else 0
        if has_memory and row == 0:
            tape.begin(state)
        starts = rollout.time[t] == 0 if has_memory else None
        key = (seed, 0, 0, t)
        tape.act(rollout.observations[t], row, rollout.actions[t], rollout.log_prob[t], key=key, starts=starts)
        if has_memory:
            state = tape.state_after(row + num_envs)
        if rollout.values is not None:
            rollout.values[t] = tape.outputs[row : row + num_envs, -1]
    if rollout.keeps_forward or rollout.values is not None:
        row = rollout.rows if rollout.keeps_forward else 0
        if has_memory:
            tape.starts[row : row + num_envs] = rollout.time[-1] == 0
        tape.record(rollout.observations[-1], row)
        if rollout.values is not None:
            rollout.values[-1] = tape.outputs[row : row + num_envs, -1]
