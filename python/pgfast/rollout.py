"""Rollouts: T steps of N environments, time-major, with what an update needs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np

from pgfast._native import core
from pgfast._streams import ACTIONS
from pgfast._typing import Array, BoolArray, FloatArray, IntArray
from pgfast.envs.normalization import ObservationNormalizer
from pgfast.envs.spaces import ActionInfo
from pgfast.envs.stepper import Stepper, Transition
from pgfast.policies import PolicyTape

__all__ = ["Collector", "Rollout"]

_MOST_EPISODE_STEPS = 200_000  # of a rollout of whole episodes; the longest game of Atari has 27,000

ValueFunction = Callable[[Array, IntArray], FloatArray]  # (observations [B, ...], time [B]) -> values [B]


class Rollout:
    """``[T, N]`` arrays of one rollout, reused by the next.

    ``observations`` is ``[T + 1, N, ...]``: row T is what follows the last step, and becomes row 0 of the next rollout.
    They are what the policy saw; ``raw_observations`` are what the environments gave, the same array unless they are
    normalized. ``time`` ``[T + 1, N]`` counts the steps from the reset to each observation. ``valid`` marks the rows
    whose action the policy chose: only they count in a loss. T is ``steps``, or as long as whole episodes take.
    """

    def __init__(
        self,
        steps: int,
        num_envs: int,
        observation_shape: tuple[int, ...],
        dtype: np.dtype[np.generic],
        action: ActionInfo,
        *,
        keep_raw: bool = False,
    ) -> None:
        shape = (steps, num_envs)
        after = (steps + 1, num_envs)
        self._arrays: dict[str, Array] = {
            "observations": np.zeros((*after, *observation_shape), dtype),
            "time": np.zeros(after, np.int64),
            "actions": np.zeros((*shape, *action.row_shape), action.row_dtype),
            "rewards": np.zeros(shape, np.float32),
            "terminated": np.zeros(shape, np.bool_),
            "truncated": np.zeros(shape, np.bool_),
            "valid": np.zeros(shape, np.bool_),
            "next_values": np.zeros(shape, np.float32),
        }
        if keep_raw:
            self._arrays["raw_observations"] = np.zeros_like(self._arrays["observations"])
        # Where a truncated episode is followed by a new one at once: (t, n, what the policy would have seen).
        self.final_observations: list[tuple[int, int, Array]] = []
        self.set_steps(steps)

    def set_steps(self, steps: int) -> None:
        """T of the arrays, at most what there is room for."""
        arrays = self._arrays
        self.observations: Array = arrays["observations"][: steps + 1]
        self.raw_observations: Array = arrays.get("raw_observations", arrays["observations"])[: steps + 1]
        self.time: IntArray = arrays["time"][: steps + 1]
        self.actions: Array = arrays["actions"][:steps]
        self.rewards: FloatArray = arrays["rewards"][:steps]
        self.terminated: BoolArray = arrays["terminated"][:steps]
        self.truncated: BoolArray = arrays["truncated"][:steps]
        self.valid: BoolArray = arrays["valid"][:steps]
        self.next_values: FloatArray = arrays["next_values"][:steps]  # V of each row's true successor

    def reserve(self, steps: int) -> None:
        """Makes room for T = ``steps`` rows, keeping those there are; grows by halves."""
        capacity = len(self._arrays["actions"])
        if steps > capacity:
            more = max(steps, capacity + capacity // 2) - capacity
            for name, array in self._arrays.items():
                self._arrays[name] = np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)])
        self.set_steps(steps)

    @property
    def steps(self) -> int:
        """T."""
        return len(self.actions)

    @property
    def num_envs(self) -> int:
        """N."""
        return int(self.valid.shape[1])

    @property
    def rows(self) -> int:
        """B = T N."""
        return self.valid.size

    def flat_observations(self) -> Array:
        """``[B, ...]``, without the row after the last."""
        return self.observations[:-1].reshape(self.rows, *self.observations.shape[2:])

    def bootstrap(self, values: FloatArray, value_function: ValueFunction) -> None:
        """Writes ``next_values`` from ``values`` ``[T + 1, N]`` of the observations.

        Where the row after a truncated episode is already a new one, V of its last observation is asked for.
        """
        self.next_values[:] = values[1:]
        for t, n, last in self.final_observations:
            self.next_values[t, n] = value_function(last[np.newaxis], self.time[t, n : n + 1] + 1)[0]


class Collector:
    """Fills a rollout with a policy acting in environments.

    With a ``tape`` of (T + 1) N rows the forward passes stay on it for the update; one of N rows is used for every
    step. Groups of environments are collected side by side, each by a thread of its own that decides, then sleeps while
    its emulator runs: so a core always has one of the two to run. Groups share no rows and no random numbers, so the
    order in which they advance changes nothing. ``on_transition(rows, transition)`` sees every step, in order of time
    and group, after the rollout.
    """

    def __init__(
        self,
        tape: PolicyTape,
        stepper: Stepper,
        rollout: Rollout,
        *,
        seed: int,
        on_transition: Callable[[slice, Transition], None],
        normalizer: ObservationNormalizer | None = None,
    ) -> None:
        self.tape = tape
        self.stepper = stepper
        self.rollout = rollout
        self._keeps_forward = tape.rows > rollout.num_envs
        self._seed = seed
        self._on_transition = on_transition
        self._normalizer = normalizer
        self._threads = ThreadPoolExecutor(max(1, len(stepper.groups) - 1), thread_name_prefix="pgfast-collect")

    def restart(self, stepper: Stepper, seeds: list[int]) -> None:
        """Goes on with new games in other environments."""
        self.stepper = stepper
        rollout = self.rollout
        self._store(rollout.steps, slice(None), stepper.reset(seeds))
        rollout.time[-1] = 0

    def collect(self, first_step: int) -> None:
        """T steps of every environment; ``first_step`` counts the steps of the run and names the random numbers."""
        rollout = self.rollout
        self._carry_over()
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

        for t in range(rollout.steps):
            for rows, of_group in zip(groups, transitions, strict=True):
                self._finish(t, rows, of_group[t])

    def collect_episodes(self, first_step: int, min_rows: int, seeds: list[int]) -> None:
        """Whole episodes: every environment starts afresh and plays until the batch is full and its game is over.

        The batch is full when ``min_rows`` rows are valid. An environment that has stopped is stepped on with the
        others, and its rows are not valid. T is what this takes.

        Raises ``RuntimeError`` where a game does not end.
        """
        rollout = self.rollout
        rollout.set_steps(0)
        self.restart(self.stepper, seeds)
        self._carry_over()
        playing = np.ones(rollout.num_envs, np.bool_)
        count = t = 0
        over = np.zeros(rollout.num_envs, np.bool_)
        while playing.any():
            if t == _MOST_EPISODE_STEPS:
                raise RuntimeError(
                    f"environment {int(np.flatnonzero(playing)[0])} did not end its episode within {t:,} steps; "
                    "give it a time limit (gymnasium.wrappers.TimeLimit) or learn with whole_episodes=False"
                )
            rollout.reserve(t + 1)
            for group, rows in enumerate(self.stepper.groups):
                self._act(group, rows, t, first_step, core.num_threads())
            for group, rows in enumerate(self.stepper.groups):
                transition = self.stepper.recv(group)
                stopped = ~playing[rows]
                if stopped.any():  # what they play on is nobody's game
                    transition.valid = transition.valid & ~stopped
                    transition.scores = np.where(stopped, 0.0, transition.scores)
                    for flags in ("terminated", "truncated", "played", "game_over"):
                        setattr(transition, flags, getattr(transition, flags) & ~stopped)
                self._record(t, rows, transition)
                self._finish(t, rows, transition)
                over[rows] = transition.game_over
            count += int(np.count_nonzero(rollout.valid[t]))
            if count >= min_rows:
                playing &= (rollout.time[t + 1] > 0) & ~over  # at time 0 no game is open
            t += 1

    def _carry_over(self) -> None:
        """The last row becomes the first of the next rollout."""
        rollout = self.rollout
        rollout.observations[0] = rollout.observations[-1]
        rollout.time[0] = rollout.time[-1]
        if self._normalizer is not None:  # with statistics that have moved since
            rollout.raw_observations[0] = rollout.raw_observations[-1]
            rollout.observations[0] = self._normalizer.apply(rollout.raw_observations[0])
        rollout.final_observations.clear()

    def _collect_group(self, group: int, rows: slice, first_step: int, max_threads: int) -> list[Transition]:
        rollout = self.rollout
        transitions = []
        for t in range(rollout.steps):
            self._act(group, rows, t, first_step, max_threads)
            transition = self.stepper.recv(group)
            self._record(t, rows, transition)
            transitions.append(transition)
        if self._keeps_forward:
            last = rollout.steps * rollout.num_envs + rows.start
            self.tape.record(rollout.observations[-1, rows], last, max_threads=max_threads)
        return transitions

    def _act(self, group: int, rows: slice, t: int, first_step: int, max_threads: int) -> None:
        rollout = self.rollout
        actions = rollout.actions[t, rows]
        self.tape.act(
            rollout.observations[t, rows],
            (t * rollout.num_envs if self._keeps_forward else 0) + rows.start,
            actions,
            seed=self._seed,
            stream=ACTIONS,
            environment=rows.start,
            step=first_step + t,
            max_threads=max_threads,
        )
        self.stepper.send(group, actions)

    def _record(self, t: int, rows: slice, transition: Transition) -> None:
        rollout = self.rollout
        self._store(t + 1, rows, transition.observations)
        transition.observations = rollout.observations[t + 1, rows]  # the copy: lets the memory be used again
        time = np.where(transition.played, rollout.time[t, rows] + 1, 0)
        time[list(transition.final_observations)] = 0  # the observation after a last one that is kept apart
        rollout.time[t + 1, rows] = time
        rollout.rewards[t, rows] = transition.rewards
        rollout.terminated[t, rows] = transition.terminated
        rollout.truncated[t, rows] = transition.truncated
        rollout.valid[t, rows] = transition.valid

    def _finish(self, t: int, rows: slice, transition: Transition) -> None:
        rollout = self.rollout
        for index, last in transition.final_observations.items():
            if transition.truncated[index] and not transition.terminated[index]:
                observation = np.ascontiguousarray(last, rollout.observations.dtype)
                observation = observation.reshape(1, *rollout.observations.shape[2:])
                if self._normalizer is not None:
                    observation = self._normalizer.apply(observation)
                rollout.final_observations.append((t, rows.start + index, observation[0]))
        self._on_transition(rows, transition)

    def _store(self, t: int, rows: slice, observations: Array) -> None:
        """Where observations are cast, and flattened where the network wants them flat."""
        rollout = self.rollout
        target = rollout.raw_observations[t, rows]
        target[:] = np.reshape(observations, target.shape)
        if self._normalizer is not None:
            rollout.observations[t, rows] = self._normalizer.apply(target)
