"""Rollouts: T steps of N environments, time-major, with what an update needs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np

from pgfast._native import core
from pgfast._streams import ACTIONS
from pgfast._typing import Array, BoolArray, FloatArray, IntArray
from pgfast.envs.stepper import Stepper, Transition
from pgfast.policies import ActorCritic, PolicyTape

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

    The forward passes stay on ``tape`` for the update. Groups of environments are collected side by side, each by a
    thread of its own that decides, then sleeps while its emulator runs: so a core always has one of the two to run.
    Groups share no rows and no random numbers, so the order in which they advance changes nothing.
    ``on_transition(rows, transition)`` sees every step, in order of time and group, after the rollout.
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
        self.tape = PolicyTape(policy, rollout.rows + rollout.actions.shape[1])
        self._seed = seed
        self._on_transition = on_transition
        self._threads = ThreadPoolExecutor(max(1, len(stepper.groups) - 1), thread_name_prefix="pgfast-collect")

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
        groups = self.stepper.groups
        threads = max(1, core.num_threads() // len(groups))
        if core.num_threads() > 1:
            others: list[Future[list[Transition]]] = [
                self._threads.submit(self._collect_group, group, rows, first_step, threads)
                for group, rows in enumerate(groups)
                if group > 0
            ]
            try:
                first = self._collect_group(0, groups[0], first_step, threads)
            finally:
                wait(others)  # whatever happens to one group, no other is left in the middle of a step
            transitions = [first, *(future.result() for future in others)]
        else:
            transitions = [self._collect_group(group, rows, first_step, 1) for group, rows in enumerate(groups)]

        rollout.next_values[:] = self.tape.outputs[num_envs:, -1].reshape(steps, num_envs)
        for t in range(steps):
            for rows, of_group in zip(groups, transitions, strict=True):
                self._bootstrap_last(t, rows, of_group[t])
                self._on_transition(rows, of_group[t])

    def _collect_group(self, group: int, rows: slice, first_step: int, max_threads: int) -> list[Transition]:
        rollout = self.rollout
        steps, num_envs = rollout.actions.shape
        transitions = []
        for t in range(steps):
            actions = rollout.actions[t, rows]
            self.tape.act(
                rollout.observations[t, rows],
                t * num_envs + rows.start,
                actions,
                seed=self._seed,
                stream=ACTIONS,
                environment=rows.start,
                step=first_step + t,
                max_threads=max_threads,
            )
            self.stepper.send(group, actions)
            transition = self.stepper.recv(group)
            self._store(t + 1, rows, transition.observations)
            transition.observations = rollout.observations[t + 1, rows]  # the copy: lets the memory be used again
            rollout.rewards[t, rows] = transition.rewards
            rollout.terminated[t, rows] = transition.terminated
            rollout.truncated[t, rows] = transition.truncated
            rollout.valid[t, rows] = transition.valid
            transitions.append(transition)
        self.tape.record(rollout.observations[steps, rows], steps * num_envs + rows.start, max_threads=max_threads)
        return transitions

    def _bootstrap_last(self, t: int, rows: slice, transition: Transition) -> None:
        """V of the last observation of a truncated episode, where the row after it is already a new one."""
        rollout = self.rollout
        for index, last in transition.final_observations.items():
            if transition.truncated[index] and not transition.terminated[index]:
                observation = np.ascontiguousarray(last, rollout.observations.dtype)
                value = self.policy.values(observation.reshape(1, *rollout.observations.shape[2:]))
                rollout.next_values[t, rows.start + index] = value[0]

    def _store(self, t: int, rows: slice, observations: Array) -> None:
        """The one place where observations are cast, and flattened where the network wants them flat."""
        target = self.rollout.observations[t, rows]
        target[:] = np.reshape(observations, target.shape)
