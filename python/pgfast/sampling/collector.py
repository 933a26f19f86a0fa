"""Collection of rollouts: a policy acts in environments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pgfast._native import core
from pgfast._streams import ACTIONS
from pgfast._typing import Array
from pgfast.envs.normalization import Normalizers
from pgfast.envs.stepper import Stepper, Transition
from pgfast.envs.watchdog import Watchdog
from pgfast.sampling.rollout import Rollout

__all__ = ["Collector"]

_MOST_EPISODE_STEPS = 200_000  # of a rollout of whole episodes; the longest Atari game has 27,000


class Collector:
    """Fills one rollout after the other.

    ``on_transition(transition)`` is called at every step, in order. If a step or a reset of the environments takes
    longer than ``env_timeout`` seconds, the process ends.
    """

    def __init__(
        self,
        rollout: Rollout,
        normalizers: Normalizers,
        *,
        seed: int,
        first_environment: int,
        on_transition: Callable[[Transition], None],
        env_timeout: float | None = None,
    ) -> None:
        self.rollout = rollout
        self._tape = rollout.tape
        self._normalizers = normalizers
        self._seed, self._first_environment = seed, first_environment
        self._on_transition = on_transition
        self._watchdog = Watchdog(env_timeout)
        self._has_memory = rollout.tape.policy.has_memory

    def start(self, stepper: Stepper, seeds: list[int]) -> None:
        """Resets the environments of ``stepper``, which the next rollouts use."""
        self.stepper = stepper
        rollout = self.rollout
        with self._watchdog:
            self._store(rollout.steps, stepper.reset(seeds))
        rollout.time[-1] = 0
        self._state = rollout.tape.policy.network.initial_state(rollout.num_envs)  # after the last row acted on

    def collect(self, timesteps: int, steps: int, update: int) -> None:
        """Takes T steps of every environment.

        ``timesteps`` are the run's before, ``steps`` those of each environment, which key the random numbers.
        """
        rollout = self.rollout
        self._begin(timesteps, steps, update)
        with self._watchdog:
            for t in range(rollout.steps):
                transition = self._step(t)
                self._record(t, transition)
        if rollout.keeps_forward or rollout.values is not None:
            first_row = self._prepare(rollout.steps)
            self._tape.record(rollout.observations[-1], first_row)
        if rollout.values is not None:
            rollout.values[-1] = self._tape.outputs[first_row : first_row + rollout.num_envs, -1]

    def collect_episodes(
        self, timesteps: int, steps: int, update: int, min_rows: int, stepper: Stepper, seeds: list[int]
    ) -> None:
        """Resets every environment and steps it until the batch is full and its episode has ended.

        The batch is full when ``min_rows`` rows are valid. An environment that has finished is stepped on with the
        others, and its rows are not valid. T is as large as needed. The time limit counts as the end of the task.

        Raises ``RuntimeError`` if an episode does not end.
        """
        rollout = self.rollout
        rollout.set_steps(0)
        self.start(stepper, seeds)
        self._begin(timesteps, steps, update)
        running = np.ones(rollout.num_envs, np.bool_)
        count = t = 0
        with self._watchdog:
            while running.any():
                if t == _MOST_EPISODE_STEPS:
                    number = self._first_environment + int(np.flatnonzero(running)[0])
                    raise RuntimeError(
                        f"environment {number} did not end its episode within {t:,} steps; "
                        "give it a time limit (gymnasium.wrappers.TimeLimit) or learn with whole_episodes=False"
                    )
                rollout.reserve(t + 1)
                transition = self._step(t)
                transition.terminated = transition.terminated | transition.truncated
                if not running.all():  # rows of finished environments belong to no episode
                    transition.raw_rewards = np.where(running, transition.raw_rewards, 0.0)
                    for flags in ("terminated", "truncated", "valid", "stepped", "episode_over"):
                        setattr(transition, flags, getattr(transition, flags) & running)
                self._record(t, transition)
                count += int(np.count_nonzero(rollout.valid[t]))
                if transition.restarted.any():
                    count = int(np.count_nonzero(rollout.valid))
                if count >= min_rows:
                    running &= (rollout.time[t + 1] > 0) & ~transition.episode_over  # at time 0 no episode is open
                t += 1

    def _begin(self, timesteps: int, steps: int, update: int) -> None:
        """Makes the last row the first."""
        rollout = self.rollout
        rollout.timesteps, rollout.update = timesteps, update
        rollout.time[0] = rollout.time[-1]
        rollout.raw_observations[0] = rollout.raw_observations[-1]
        if rollout.masks is not None:
            rollout.masks[0] = rollout.masks[-1]
        self._normalize(0)  # again: the statistics have changed
        rollout.final_observations.clear()
        rollout.initial_state = self._state
        self._first_step = steps

    def _prepare(self, t: int) -> int:
        """Makes the tape ready for step t, and returns the row from which on it is recorded."""
        rollout = self.rollout
        first_row = t * rollout.num_envs if rollout.keeps_forward else 0
        if self._has_memory:
            if first_row == 0:
                self._tape.begin(self._state)
            self._tape.starts[first_row : first_row + rollout.num_envs] = rollout.time[t] == 0
        return first_row

    def _step(self, t: int) -> Transition:
        rollout, num_envs = self.rollout, self.rollout.num_envs
        first_row = self._prepare(t)
        actions = rollout.actions[t]
        key = (self._seed, ACTIONS, self._first_environment, self._first_step + t)
        mask = None if rollout.masks is None else rollout.masks[t]
        self._tape.act(rollout.observations[t], first_row, actions, rollout.log_prob[t], key=key, mask=mask)
        if rollout.values is not None:
            rollout.values[t] = self._tape.outputs[first_row : first_row + num_envs, -1]
        if self._has_memory:
            self._state = self._tape.state_after(first_row + num_envs)
        self._watchdog.alive()
        return self.stepper.step(actions)

    def _record(self, t: int, transition: Transition) -> None:
        rollout = self.rollout
        self._store(t + 1, transition.observations)
        of_step = transition.rewards, transition.terminated, transition.truncated, transition.valid, transition.stepped
        core.store_row(t, *of_step, rollout.rewards, rollout.terminated, rollout.truncated, rollout.valid, rollout.time)
        for index in transition.final_observations:  # the observations are already those of the next episode
            rollout.time[t + 1, index] = 0
        for restarted in transition.restarted.nonzero()[0]:  # the open episode is left out of the losses
            rollout.valid[max(0, t - int(rollout.time[t, restarted])) : t + 1, restarted] = False
        for index, last in transition.final_observations.items():
            if transition.truncated[index] and not transition.terminated[index]:
                row = rollout.packing.zeros(1)
                rollout.packing.pack(last[np.newaxis], row)
                rollout.final_observations.append((t, index, self._normalizers.normalize_observations(row)[0]))
        self._on_transition(transition)

    def _store(self, t: int, observations: Array) -> None:
        """Stores observations as row t, packed and normalized, and the masks that came with them."""
        self.rollout.packing.pack(observations, self.rollout.raw_observations[t])
        if self.rollout.masks is not None:
            self.rollout.masks[t] = self.stepper.masks
        self._normalize(t)

    def _normalize(self, t: int) -> None:
        rollout = self.rollout
        if rollout.keeps_raw:
            rollout.observations[t] = self._normalizers.normalize_observations(rollout.raw_observations[t])
