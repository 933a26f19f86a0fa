"""Steps any vector environment, and returns the same transitions in every autoreset mode."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from pgfast._native import core
from pgfast._typing import Array, BoolArray
from pgfast.envs.action_masks import ActionMasks, MaskSource, without_mask
from pgfast.envs.actions import ActionInfo
from pgfast.envs.failures import EnvironmentFailure, explain
from pgfast.envs.interface import autoreset_mode, reset_results, step_results
from pgfast.envs.make import AnyVectorEnv, reset_with_seeds
from pgfast.envs.observations import ObservationInfo, ObservationLeaf
from pgfast.profiling import ENVIRONMENTS

__all__ = ["REPORTS", "Stepper", "Transition"]

REPORTS = ("raw_reward", "valid", "reset", "game_over", "restarted")
"""Names that a vector environment may have in ``metadata["reports"]``."""


@dataclass(slots=True)
class Transition:
    """One step of n environments."""

    observations: Array  # [n, ...] raw rows to act on next
    rewards: Array  # [n] to learn from
    raw_rewards: Array  # [n] to report
    terminated: BoolArray  # [n]
    truncated: BoolArray  # [n]
    valid: BoolArray  # [n] the environment took the action that it was given
    stepped: BoolArray  # [n] the step belongs to an episode; False if it only reset the environment
    episode_over: BoolArray  # [n] the episode that is reported ended
    restarted: BoolArray  # [n] the environment was replaced: the open episode is discarded and a new one starts
    # Environment -> last observation of its ended episode, if `observations` already holds the first of the next one.
    final_observations: dict[int, Array] = field(default_factory=dict)
    infos: dict[str, Any] = field(default_factory=dict)  # as the vector environment returned them

    @property
    def starts(self) -> BoolArray:
        """Whether ``observations`` are the first of an episode, ``[n]``."""
        starts = ~self.stepped
        if self.final_observations:
            starts[list(self.final_observations)] = True
        return starts


class Stepper:
    """Steps a vector environment.

    With ``action_scaling``, the [-1, 1] of actions stands for the bounds of a Box where both are finite.
    ``first_environment`` is the number of environment 0 in messages about numbers that are not finite.

    In autoreset mode NEXT_STEP, the row after an episode's end only resets: it is neither valid nor stepped. In
    SAME_STEP and DISABLED (this class then asks for the reset) last observations are returned separately.

    If ``metadata["reports"]`` of an environment names some of :data:`REPORTS`, the infos of every step hold these,
    ``[n]`` each: ``raw_reward`` (reported instead of the reward), ``valid`` (False if the environment took another
    action than it was given), ``reset`` (the step only reset; by default, the step after every end), ``game_over`` (the
    reported episode ended; by default, at every end) and ``restarted``. From other environments, keys of these names
    are ignored.

    If ``action_mask`` says where, ``masks`` ``[N, M]`` are the masks of the actions that the latest observations allow,
    else None. Those of last observations, whose action only resets, allow all actions.

    Raises ``FloatingPointError`` for an observation or reward that is not finite in float32, naming environment, step
    and key; :class:`~pgfast.envs.failures.EnvironmentFailure` if an environment raises, has died, returns shapes that
    differ from its spaces, omits a report or allows no action; ``ValueError`` if ``metadata`` has no
    ``"autoreset_mode"``, or other names in ``"reports"``, or if there can be no masks where ``action_mask`` says.
    """

    def __init__(
        self,
        env: AnyVectorEnv,
        action_mask: MaskSource = "none",
        *,
        action_scaling: bool = False,
        first_environment: int = 0,
    ) -> None:
        self.env, self._action_scaling, self._first_environment = env, action_scaling, first_environment
        self.steps = 0
        self._mode = autoreset_mode(env)
        self._reports = tuple(env.metadata.get("reports", ()))
        if not set(self._reports) <= set(REPORTS):
            raise ValueError(f'metadata["reports"] may name {", ".join(REPORTS)}, got {self._reports}')
        self._never = np.zeros(env.num_envs, np.bool_)
        self._action = ActionInfo.of(env.single_action_space)
        self._over = np.zeros(env.num_envs, np.bool_)
        self._observation = ObservationInfo.of(without_mask(env.single_observation_space, action_mask))
        self._checked = [leaf for leaf in self._observation.leaves if leaf.dtype.startswith("float")]
        self._masks = None if action_mask == "none" else ActionMasks(env, action_mask, self._action)
        self.masks: BoolArray | None = None

    def reset(self, seeds: list[int]) -> Array:
        """Starts new episodes, one seed per environment; returns raw rows of observations ``[N, ...]``."""
        self._over[:] = False
        self.steps = 0
        try:
            returned, infos = reset_results(reset_with_seeds(self.env, seeds))
            observations = self._rows(returned)
            if self._masks is not None:
                self.masks = self._masks.read(returned, infos, 0, self._never)
        except EnvironmentFailure:
            raise
        except Exception as error:
            raise explain(error, self.env, 0) from error
        self._require_finite_observations("observation", observations)
        return observations

    def step(self, actions: Array) -> Transition:
        """Takes n ``actions`` in a policy's form (:class:`~pgfast.envs.actions.ActionInfo`)."""
        actions = self._action.to_environment(actions, action_scaling=self._action_scaling)
        self.steps += 1
        try:
            with ENVIRONMENTS:
                returned, rewards, terminated, truncated, infos = step_results(self.env.step(actions))
            reported = self._reported(infos) if self._reports else {}
            observations = self._rows(returned)
            reset = _flags(reported["reset"]) if "reset" in reported else self._over
            restarted = np.array(reported["restarted"], np.bool_) if "restarted" in reported else self._never
            read = core.read_step(self.env.num_envs, rewards, terminated, truncated, reset, restarted)
            if read is None:
                self._require_shapes(rewards=rewards, terminated=terminated, truncated=truncated)
            # Copies: an environment may reuse its arrays.
            rewards, stepped, terminated, truncated, ended = read
        except EnvironmentFailure:
            raise
        except Exception as error:
            raise explain(error, self.env, self.steps) from error
        raw_rewards = np.array(reported["raw_reward"], np.float64) if "raw_reward" in reported else rewards
        final: dict[int, Array] = {}
        if self._masks is not None:
            self._read_masks(returned, infos, self._never if self._mode is AutoresetMode.SAME_STEP else ended)
        if self._mode is AutoresetMode.NEXT_STEP:
            self._over = ended
        elif ended.any():
            observations, final = self._next_episodes(observations, ended, infos)
        self._require_finite("reward", rewards)
        if "raw_reward" in reported:
            self._require_finite("raw reward", raw_rewards)
        self._require_finite_observations("observation", observations)
        for index, last in final.items():
            self._require_finite_observations("final observation", last[np.newaxis], first=index)
        return Transition(
            observations,
            rewards,
            raw_rewards,
            terminated,
            truncated,
            np.asarray(reported["valid"], np.bool_) & stepped if "valid" in reported else stepped,
            stepped,
            np.asarray(reported["game_over"], np.bool_) & stepped if "game_over" in reported else ended,
            restarted,
            final,
            infos,
        )

    def _reported(self, infos: dict[str, Any]) -> dict[str, Any]:
        """The reports that the environment has announced."""
        reported = {name: infos[name] for name in self._reports if name in infos}
        self._require_shapes(**reported)
        if len(reported) < len(self._reports):
            missing = [name for name in self._reports if name not in reported]
            raise EnvironmentFailure(None, self.steps, f"it did not report {', '.join(missing)}")
        return reported

    def _require_shapes(self, **rows: Any) -> None:
        """Raises :class:`EnvironmentFailure` unless ``rows`` are ``[N]`` each."""
        expected = (self.env.num_envs,)
        for name, values in rows.items():
            if np.shape(values) != expected:
                raise EnvironmentFailure(None, self.steps, f"{name} has shape {np.shape(values)}, not {expected}")

    def _next_episodes(
        self, observations: Array, ended: BoolArray, infos: dict[str, Any]
    ) -> tuple[Array, dict[int, Array]]:
        """(first observations of the next episodes, last observations of the ended ones)"""
        indices = np.flatnonzero(ended)
        if self._mode is AutoresetMode.SAME_STEP:
            if "final_obs" not in infos:
                raise EnvironmentFailure(
                    None,
                    self.steps,
                    'infos must hold "final_obs" at the end of an episode in autoreset mode SAME_STEP',
                )
            return observations, {int(i): self._last_row(infos["final_obs"], int(i)) for i in indices}
        final = {int(i): np.array(observations[i]) for i in indices}
        try:
            fresh, fresh_infos = reset_results(self.env.reset(options={"reset_mask": ended}))
        except Exception as error:
            raise explain(error, self.env, self.steps) from error
        if self.masks is not None:
            going_on = self.masks[~ended]
            self._read_masks(fresh, fresh_infos, ~ended)
            self.masks[~ended] = going_on
        return self._rows(fresh), final

    def _read_masks(self, returned: Any, infos: dict[str, Any], ignored: BoolArray) -> None:
        assert self._masks is not None
        try:
            self.masks = self._masks.read(returned, infos, self.steps, ignored)
        except EnvironmentFailure:
            raise
        except Exception as error:  # a method of the environments may raise anything
            raise explain(error, self.env, self.steps) from error

    def _rows(self, observations: Any) -> Array:
        """Raw rows ``[N, ...]``. Raises :class:`EnvironmentFailure` if they do not fit the space."""
        leaves = self._observation.leaves
        shape = leaves[0].shape if len(leaves) == 1 else ()
        try:
            rows = self._observation.rows(observations)
        except ValueError as error:
            raise EnvironmentFailure(None, self.steps, str(error)) from error
        if rows.shape != (self.env.num_envs, *shape):
            expected = (self.env.num_envs, *shape)
            raise EnvironmentFailure(None, self.steps, f"observations have shape {rows.shape}, not {expected}")
        return rows

    def _last_row(self, final: Any, index: int) -> Array:
        """The raw row of an environment's last observation, which infos hold as an object or in a tree of arrays."""
        if isinstance(final, (dict, tuple)):
            return np.array(self._observation.rows(final)[index])
        rows, _ = self._observation.batch(final[index])
        return np.array(rows[0])

    def _require_finite_observations(self, key: str, rows: Array, first: int = 0) -> None:
        for leaf in self._checked:
            self._require_finite(key, self._observation.field(rows, leaf), first, leaf)

    def _require_finite(self, key: str, values: Array, first: int = 0, leaf: ObservationLeaf | None = None) -> None:
        found = core.first_not_finite(values)
        if found < 0:
            return
        row = found // (values.size // len(values))
        number = self._first_environment + first + row
        raise FloatingPointError(
            f"{key}{f' {leaf.name}' if leaf and leaf.name else ''} of environment {number} at step {self.steps} "
            f"is not finite in float32: {values[row]}"
        )


def _flags(values: Any) -> BoolArray:
    return np.ascontiguousarray(values, np.bool_)
