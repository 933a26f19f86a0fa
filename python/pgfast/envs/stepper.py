"""One way to step any vector environment: what a rollout needs to know of each step, whatever the autoreset mode."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from pgfast._typing import Array, BoolArray
from pgfast.envs.failures import EnvironmentFailure, explain, require_shapes
from pgfast.envs.make import AnyVectorEnv, reset_with_seeds
from pgfast.envs.spaces import ActionInfo
from pgfast.profiling import ENVIRONMENTS

__all__ = ["REPORTS", "Stepper", "Transition"]

REPORTS = ("score", "valid", "reset", "game_over", "restarted")
"""Names that a vector environment may have in ``metadata["reports"]``."""
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
    restarted: BoolArray  # [n] the environment was replaced: the open game is discarded and a new one starts
    # Where `observations` already belongs to the next episode: environment -> last observation of the ended one.
    final_observations: dict[int, Array] = field(default_factory=dict)


class Stepper:
    """Steps a vector environment.

    Environments in autoreset mode NEXT_STEP give a row that only resets: it is not valid and not played. SAME_STEP and
    DISABLED (where this class asks for the reset) give the last observation apart.

    An environment whose ``metadata["reports"]`` names some of :data:`REPORTS` returns these in the infos of every step,
    ``[n]`` each: ``score`` (to report in place of the reward), ``valid`` (False if the action given was not the one
    played), ``reset`` (the step only reset: in place of the step after every end), ``game_over`` (in place of every
    end) and ``restarted``. Keys of these names mean nothing from other environments.

    Raises ``FloatingPointError`` for an observation or reward that is not finite in float32, naming environment, step
    and key; :class:`~pgfast.envs.failures.EnvironmentFailure` if an environment raises, is gone, gives other shapes
    than its spaces have or does not report what it should; ``ValueError`` if ``metadata["reports"]`` has other names.
    """

    def __init__(self, env: AnyVectorEnv) -> None:
        self.env = env
        self.steps = 0
        self._mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._reports = tuple(env.metadata.get("reports", ()))
        if not set(self._reports) <= set(REPORTS):
            raise ValueError(f'metadata["reports"] may name {", ".join(REPORTS)}, got {self._reports}')
        self._never = np.zeros(env.num_envs, np.bool_)
        self._action = ActionInfo.of(env.single_action_space)
        self._over = np.zeros(env.num_envs, np.bool_)
        self._check = np.issubdtype(np.dtype(env.single_observation_space.dtype), np.floating)

    def reset(self, seeds: list[int]) -> Array:
        """Observations ``[N, ...]`` of new games, one seed per environment."""
        self._over[:] = False
        self.steps = 0
        try:
            observations, _ = reset_with_seeds(self.env, seeds)
            require_shapes(self.env, 0, observations)
        except EnvironmentFailure:
            raise
        except Exception as error:
            raise explain(error, self.env, 0) from error
        self._require_finite("observation", observations)
        return np.asarray(observations)

    def step(self, actions: Array) -> Transition:
        """One step, with ``actions`` ``[n, ...]`` as a policy has them (:class:`~pgfast.envs.spaces.ActionInfo`)."""
        actions = self._action.to_environment(actions)
        self.steps += 1
        try:
            with ENVIRONMENTS:
                observations, rewards, terminated, truncated, infos = self.env.step(actions)
            told = {name: infos[name] for name in self._reports if name in infos}
            require_shapes(
                self.env, self.steps, observations, rewards=rewards, terminated=terminated, truncated=truncated, **told
            )
            if len(told) < len(self._reports):
                missing = [name for name in self._reports if name not in told]
                raise EnvironmentFailure(None, self.steps, f"it did not report {', '.join(missing)}")
        except EnvironmentFailure:
            raise
        except Exception as error:
            raise explain(error, self.env, self.steps) from error
        # Copies: an environment may use its arrays again before the rollout is looked at.
        rewards = np.array(rewards, np.float64)
        terminated = np.array(terminated, np.bool_)
        truncated = np.array(truncated, np.bool_)
        scores = np.array(told["score"], np.float64) if "score" in told else rewards
        restarted = np.array(told["restarted"], np.bool_) if "restarted" in told else self._never
        reset = np.asarray(told["reset"], np.bool_) if "reset" in told else self._over
        played = ~(reset | restarted)
        ended = (terminated | truncated) & played
        final: dict[int, Array] = {}
        if self._mode is AutoresetMode.NEXT_STEP:
            self._over = ended
        elif ended.any():
            observations, final = self._next_episodes(observations, ended, infos)
        self._require_finite("reward", rewards)
        if "score" in told:
            self._require_finite("score", scores)
        self._require_finite("observation", observations)
        for index, last in final.items():
            self._require_finite("final observation", last[None], first=index)
        return Transition(
            observations,
            rewards,
            scores,
            terminated & played,
            truncated & played | restarted,  # cut off, with nothing to bootstrap from: the rows before it are not valid
            np.asarray(told["valid"], np.bool_) & played if "valid" in told else played,
            played,
            np.asarray(told["game_over"], np.bool_) & played if "game_over" in told else ended,
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

    def _require_finite(self, key: str, values: Array, first: int = 0) -> None:
        if "observation" in key and not self._check:
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
            f"{key} of environment {first + int(rows[0])} at step {self.steps} is not finite in float32: "
            f"{values[int(rows[0])]}"
        )
