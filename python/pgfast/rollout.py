"""Rollouts: T steps of N environments, time-major, with what an update needs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pgfast._streams import ACTIONS
from pgfast._typing import Array, BoolArray, FloatArray, IntArray
from pgfast.envs.normalization import ObservationNormalizer
from pgfast.envs.spaces import ActionInfo
from pgfast.envs.stepper import Stepper, Transition
from pgfast.envs.watchdog import Watchdog
from pgfast.policies import PolicyTape
from pgfast.profiling import FORWARD

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
    step. ``on_transition(transition)`` sees every step, in order. Where a step or a reset of the environments takes
    longer than ``env_timeout`` seconds, the process ends.
    """

    def __init__(
        self,
        tape: PolicyTape,
        stepper: Stepper,
        rollout: Rollout,
        *,
        seed: int,
        on_transition: Callable[[Transition], None],
        normalizer: ObservationNormalizer | None = None,
        env_timeout: float | None = None,
    ) -> None:
        self.tape = tape
        self.stepper = stepper
        self.rollout = rollout
        self._keeps_forward = tape.rows > rollout.num_envs
        self._seed = seed
        self._on_transition = on_transition
        self._normalizer = normalizer
        self._watchdog = Watchdog(env_timeout)

    def restart(self, stepper: Stepper, seeds: list[int]) -> None:
        """Goes on with new games in other environments."""
        with self._watchdog:
            self._restart(stepper, seeds)

    def _restart(self, stepper: Stepper, seeds: list[int]) -> None:
        self.stepper = stepper
        rollout = self.rollout
        self._store(rollout.steps, stepper.reset(seeds))
        rollout.time[-1] = 0

    def collect(self, first_step: int) -> None:
        """T steps of every environment; ``first_step`` counts the steps of the run and names the random numbers."""
        rollout = self.rollout
        self._carry_over()
        with self._watchdog:
            for t in range(rollout.steps):
                transition = self._step(t, first_step)
                self._record(t, transition)
        if self._keeps_forward:
            with FORWARD:
                self.tape.record(rollout.observations[-1], rollout.rows)

    def collect_episodes(self, first_step: int, min_rows: int, seeds: list[int]) -> None:
        """Whole episodes: every environment starts afresh and plays until the batch is full and its game is over.

        The batch is full when ``min_rows`` rows are valid. An environment that has stopped is stepped on with the
        others, and its rows are not valid. T is what this takes.

        Raises ``RuntimeError`` where a game does not end.
        """
        self.rollout.set_steps(0)
        with self._watchdog:
            self._restart(self.stepper, seeds)
            self._carry_over()
            self._collect_episodes(first_step, min_rows)

    def _collect_episodes(self, first_step: int, min_rows: int) -> None:
        rollout = self.rollout
        playing = np.ones(rollout.num_envs, np.bool_)
        count = t = 0
        while playing.any():
            if t == _MOST_EPISODE_STEPS:
                raise RuntimeError(
                    f"environment {int(np.flatnonzero(playing)[0])} did not end its episode within {t:,} steps; "
                    "give it a time limit (gymnasium.wrappers.TimeLimit) or learn with whole_episodes=False"
                )
            rollout.reserve(t + 1)
            transition = self._step(t, first_step)
            stopped = ~playing
            if stopped.any():  # what they play on is nobody's game
                transition.valid = transition.valid & playing
                transition.scores = np.where(stopped, 0.0, transition.scores)
                for flags in ("terminated", "truncated", "played", "game_over"):
                    setattr(transition, flags, getattr(transition, flags) & playing)
            self._record(t, transition)
            count += int(np.count_nonzero(rollout.valid[t]))
            if transition.restarted.any():
                count = int(np.count_nonzero(rollout.valid))
            if count >= min_rows:
                playing &= (rollout.time[t + 1] > 0) & ~transition.game_over  # at time 0 no game is open
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

    def _step(self, t: int, first_step: int) -> Transition:
        rollout = self.rollout
        actions = rollout.actions[t]
        with FORWARD:
            self.tape.act(
                rollout.observations[t],
                t * rollout.num_envs if self._keeps_forward else 0,
                actions,
                seed=self._seed,
                stream=ACTIONS,
                environment=0,
                step=first_step + t,
            )
        self._watchdog.alive()
        return self.stepper.step(actions)

    def _record(self, t: int, transition: Transition) -> None:
        rollout = self.rollout
        self._store(t + 1, transition.observations)
        time = np.where(transition.played, rollout.time[t] + 1, 0)
        time[list(transition.final_observations)] = 0  # the observation after a last one that is kept apart
        rollout.time[t + 1] = time
        rollout.rewards[t] = transition.rewards
        rollout.terminated[t] = transition.terminated
        rollout.truncated[t] = transition.truncated
        rollout.valid[t] = transition.valid
        for restarted in np.flatnonzero(transition.restarted):  # the game that was open leaves the losses
            rollout.valid[max(0, t - int(rollout.time[t, restarted])) : t + 1, restarted] = False
        for index, last in transition.final_observations.items():
            if transition.truncated[index] and not transition.terminated[index]:
                observation = np.ascontiguousarray(last, rollout.observations.dtype)
                observation = observation.reshape(1, *rollout.observations.shape[2:])
                if self._normalizer is not None:
                    observation = self._normalizer.apply(observation)
                rollout.final_observations.append((t, index, observation[0]))
        self._on_transition(transition)

    def _store(self, t: int, observations: Array) -> None:
        """Where observations are cast, and flattened where the network wants them flat."""
        rollout = self.rollout
        target = rollout.raw_observations[t]
        target[:] = np.reshape(observations, target.shape)
        if self._normalizer is not None:
            rollout.observations[t] = self._normalizer.apply(target)
