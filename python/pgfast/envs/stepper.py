"""One way to step any vector environment: what a rollout needs to know of each step, whatever the autoreset mode."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from pgfast._typing import Array, BoolArray
from pgfast.envs.atari import AtariVecEnv
from pgfast.envs.failures import EnvironmentFailure, explain, require_shapes
from pgfast.envs.make import AnyVectorEnv, reset_with_seeds
from pgfast.envs.spaces import ActionInfo
from pgfast.envs.workers import WorkerVectorEnv
from pgfast.profiling import ENVIRONMENTS

__all__ = ["Stepper", "Transition"]

_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(slots=True)
class Transition:
    """One step of n environments."""

    observations: Array  # [n, ...] to act on next
    rewards: Array  # [n] to learn from
    scores: Array  # [n] to report
    terminated: BoolArray  # [n]
    truncated: BoolArray  # [n]
    valid: BoolArray  # [n] the action given was the one played
    played: BoolArray  # [n] the step was part of a game, not a reset
    game_over: BoolArray  # [n]
    restarted: BoolArray  # [n] a worker process was replaced: the game that was open is nobody's, another begins
    # Where `observations` already belongs to the next episode: environment -> last observation of the ended one.
    final_observations: dict[int, Array] = field(default_factory=dict)


class Stepper:
    """Steps a vector environment.

    Environments in autoreset mode NEXT_STEP give a row that only resets: it is not valid and not played. SAME_STEP and
    DISABLED (where this class asks for the reset) give the last observation apart. What
    :class:`~pgfast.envs.AtariVecEnv` says in its infos (``score``, ``valid``, ``reset``, ``game_over``) is listened to,
    under wrappers too; keys of these names mean nothing from other environments.

    Raises ``FloatingPointError`` for an observation or reward that is not finite in float32, naming environment, step
    and key; :class:`~pgfast.envs.failures.EnvironmentFailure` where an environment raises, is gone, or gives other
    shapes than its spaces have.
    """

    def __init__(self, env: AnyVectorEnv) -> None:
        self.env = env
        self.steps = 0
        self._mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._is_atari = isinstance(env.unwrapped, AtariVecEnv)
        self._has_workers = isinstance(env.unwrapped, WorkerVectorEnv)
        self._never = np.zeros(env.num_envs, np.bool_)
        self._action = ActionInfo.of(env.single_action_space)
        self._over = np.zeros(env.num_envs, np.bool_)
        self._check = np.issubdtype(np.dtype(env.single_observation_space.dtype), np.floating)

    def reset(self, seeds: list[int]) -> Array:
        """Observations ``[N, ...]`` of new games, one seed per environment."""
        self._over[:] = False
        self.steps = 0
        try:
            observations = reset_with_seeds(self.env, seeds)
            require_shapes(self.env, 0, observations)
        except EnvironmentFailure:
            raise
        except Exception as error:
            raise explain(error, self.env, 0) from error
        self._require_finite("observation", observations, 0)
        return np.asarray(observations)

    def step(self, actions: Array) -> Transition:
        """One step, with ``actions`` ``[n, ...]`` as a policy has them (:class:`~pgfast.envs.spaces.ActionInfo`)."""
        actions = self._action.to_environment(actions)
        self.steps += 1
        try:
            with ENVIRONMENTS:
                observations, rewards, terminated, truncated, infos = self.env.step(actions)
            require_shapes(
                self.env, self.steps, observations, rewards=rewards, terminated=terminated, truncated=truncated
            )
        except EnvironmentFailure:
            raise
        except Exception as error:
            raise explain(error, self.env, self.steps) from error
        told = infos if self._is_atari else {}
        restarted = infos["restarted"] if self._has_workers else self._never
        # Copies: an environment may use its arrays again before the rollout is looked at.
        rewards = np.array(rewards, np.float64)
        terminated = np.array(terminated, np.bool_)
        truncated = np.array(truncated, np.bool_)
        played = ~np.asarray(told["reset"], np.bool_) if self._is_atari else ~(self._over | restarted)
        ended = (terminated | truncated) & played
        final: dict[int, Array] = {}
        if self._mode is AutoresetMode.NEXT_STEP:
            self._over = ended
        elif ended.any():
            observations, final = self._next_episodes(observations, ended, infos)
        self._require_finite("reward", rewards, self.steps)
        self._require_finite("observation", observations, self.steps)
        for index, last in final.items():
            self._require_finite("final observation", last[None], self.steps, first=index)
        return Transition(
            observations,
            rewards,
            np.array(told.get("score", rewards), np.float64),
            terminated & played,
            truncated & played | restarted,  # cut off, with nothing to bootstrap from: the rows before it are not valid
            np.array(told.get("valid", played), np.bool_),
            played,
            np.array(told.get("game_over", ended), np.bool_),
            restarted,
            final,
        )

    def _next_episodes(
        self, observations: Array, ended: BoolArray, infos: dict[str, Any]
    ) -> tuple[Array, dict[int, Array]]:
        """First observations of the episodes that follow those that ended, and the last ones of these."""
        indices = np.flatnonzero(ended)
        if self._mode is AutoresetMode.SAME_STEP:
            last = infos["final_obs"]
            return observations, {int(i): np.array(last[i]) for i in indices}
        final = {int(i): np.array(observations[i]) for i in indices}
        fresh, _ = self.env.reset(options={"reset_mask": ended})
        return np.asarray(fresh), final

    def _require_finite(self, key: str, values: Array, step: int, first: int = 0) -> None:
        if key != "reward" and not self._check:
            return
        values = np.asarray(values)
        if values.min() >= -_FLOAT32_MAX and values.max() <= _FLOAT32_MAX:  # a NaN is neither
            return
        with np.errstate(over="ignore"):
            finite = np.isfinite(np.asarray(values, np.float32))
        if finite.all():  # just above the largest, and rounded to it
            return
        rows = np.flatnonzero(~np.reshape(finite, (len(values), -1)).all(axis=1))
        raise FloatingPointError(
            f"{key} of environment {first + int(rows[0])} at step {step} is not finite in float32: "
            f"{values[int(rows[0])]}"
        )
