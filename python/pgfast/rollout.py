"""Rollouts: T steps of N environments, time-major, with what an update needs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pgfast._streams import ACTIONS
from pgfast._typing import Array, BoolArray, FloatArray, IntArray
from pgfast.envs.stepper import Stepper, Transition
from pgfast.policies import ActorCritic, ActorCriticTape

__all__ = ["Collector", "Rollout"]


class Rollout:
    """``[T, N]`` arrays of one rollout, reused by the next.

    ``observations`` is ``[T + 1, N, ...]``: row T is what follows the last step, and becomes row 0 of the next rollout.
    ``valid`` marks the rows whose action the policy chose: only they count in a loss.
    """

    def __init__(self, steps: int, num_envs: int, observation_shape: tuple[int, ...], dtype: np.dtype[np.generic]):
        shape = (steps, num_envs)
        self.observations: Array = np.zeros((steps + 1, num_envs, *observation_shape), dtype)
        self.actions: IntArray = np.zeros(shape, np.int64)
        self.rewards: FloatArray = np.zeros(shape, np.float32)
        self.terminated: BoolArray = np.zeros(shape, np.bool_)
        self.truncated: BoolArray = np.zeros(shape, np.bool_)
        self.valid: BoolArray = np.zeros(shape, np.bool_)
        self.next_values: FloatArray = np.zeros(shape, np.float32)  # V of each row's true successor

    @property
    def rows(self) -> int:
        """B = T N."""
        return self.actions.size

    def flat_observations(self) -> Array:
        """``[B, ...]``, without the row after the last."""
        return self.observations[:-1].reshape(self.rows, *self.observations.shape[2:])


class Collector:
    """Fills a rollout with a policy acting in environments.

    The forward passes stay on ``tape`` for the update. Groups of environments take turns: while one is emulated, the
    network decides for another. ``on_transition(rows, transition)`` sees every step.
    """

    def __init__(
        self,
        policy: ActorCritic,
        stepper: Stepper,
        rollout: Rollout,
        *,
        seed: int,
        on_transition: Callable[[slice, Transition], None],
    ) -> None:
        self.policy = policy
        self.stepper = stepper
        self.rollout = rollout
        self.tape = ActorCriticTape(policy, rollout.rows + rollout.actions.shape[1])
        self._seed = seed
        self._on_transition = on_transition

    @property
    def values(self) -> FloatArray:
        """V of rows 0 to T - 1, ``[T, N]``, as recorded."""
        rollout = self.rollout
        return np.ascontiguousarray(self.tape.outputs[: rollout.rows, -1]).reshape(rollout.actions.shape)

    def restart(self, stepper: Stepper, seeds: list[int]) -> None:
        """Goes on with new games in other environments."""
        self.stepper = stepper
        self._store(self.rollout.actions.shape[0], slice(None), stepper.reset(seeds))

    def collect(self, first_step: int) -> None:
        """T steps of every environment; ``first_step`` counts the steps of the run and names the random numbers."""
        rollout = self.rollout
        steps, num_envs = rollout.actions.shape
        rollout.observations[0] = rollout.observations[-1]
        corrections: list[tuple[int, int, Array]] = []
        for t in range(steps):
            for group, rows in enumerate(self.stepper.groups):
                if t > 0:
                    self._receive(group, rows, t - 1, corrections)
                actions = rollout.actions[t, rows]
                self.tape.act(
                    rollout.observations[t, rows],
                    t * num_envs + rows.start,
                    actions,
                    seed=self._seed,
                    stream=ACTIONS,
                    environment=rows.start,
                    step=first_step + t,
                )
                self.stepper.send(group, actions)
        for group, rows in enumerate(self.stepper.groups):
            self._receive(group, rows, steps - 1, corrections)
            self.tape.record(rollout.observations[steps, rows], steps * num_envs + rows.start)
        values = self.tape.outputs[:, -1].reshape(steps + 1, num_envs)
        rollout.next_values[:] = values[1:]
        for t, environment, last in corrections:
            rollout.next_values[t, environment] = self.policy.values(last[None])[0]

    def _receive(self, group: int, rows: slice, t: int, corrections: list[tuple[int, int, Array]]) -> None:
        transition = self.stepper.recv(group)
        rollout = self.rollout
        self._store(t + 1, rows, transition.observations)
        rollout.rewards[t, rows] = transition.rewards
        rollout.terminated[t, rows] = transition.terminated
        rollout.truncated[t, rows] = transition.truncated
        rollout.valid[t, rows] = transition.valid
        for index, last in transition.final_observations.items():
            if transition.truncated[index] and not transition.terminated[index]:
                observation = np.asarray(last, rollout.observations.dtype)
                corrections.append((t, rows.start + index, observation.reshape(rollout.observations.shape[2:])))
        self._on_transition(rows, transition)

    def _store(self, t: int, rows: slice, observations: Array) -> None:
        """The one place where observations are cast, and flattened where the network wants them flat."""
        target = self.rollout.observations[t, rows]
        target[:] = np.reshape(observations, target.shape)
