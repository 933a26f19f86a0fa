"""One way to step any vector environment: what a rollout needs to know of each step, whatever the autoreset mode."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from pgfast._typing import Array, BoolArray, IntArray
from pgfast.envs.atari import AtariVecEnv
from pgfast.envs.make import AnyVectorEnv, reset_with_seeds

__all__ = ["Stepper", "Transition"]


@dataclass(slots=True)
class Transition:
    """One step of a group of n environments."""

    observations: Array  # [n, ...] to act on next
    rewards: Array  # [n] to learn from
    scores: Array  # [n] to report
    terminated: BoolArray  # [n]
    truncated: BoolArray  # [n]
    valid: BoolArray  # [n] the action given was the one played
    played: BoolArray  # [n] the step was part of a game, not a reset
    game_over: BoolArray  # [n]
    # Where `observations` already belongs to the next episode: environment -> last observation of the ended one.
    final_observations: dict[int, Array] = field(default_factory=dict)


class Stepper:
    """Steps a vector environment group by group: ``send``, then ``recv``.

    Environments in autoreset mode NEXT_STEP give a row that only resets: it is not valid and not played. SAME_STEP and
    DISABLED (where this class asks for the reset) give the last observation apart. An environment may say more in its
    infos, as :class:`~pgfast.envs.AtariVecEnv` does: ``score``, ``valid``, ``reset`` and ``game_over``, ``[N]`` each.

    Raises ``FloatingPointError`` for a NaN or infinite observation or reward, naming environment, step and key.
    """

    def __init__(self, env: AnyVectorEnv) -> None:
        self.env = env
        self.steps = 0
        self._mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._atari = env if isinstance(env, AtariVecEnv) else None
        self._first_action = int(getattr(env.single_action_space, "start", 0))
        self._actions: IntArray | None = None
        self._over = np.zeros(env.num_envs, np.bool_)
        self._check = np.issubdtype(np.dtype(env.single_observation_space.dtype), np.floating)

    @property
    def groups(self) -> list[slice]:
        """The environments that are stepped together."""
        return self._atari.groups if self._atari is not None else [slice(0, self.env.num_envs)]

    def reset(self, seeds: list[int]) -> Array:
        """Observations ``[N, ...]`` of new games, one seed per environment."""
        self._over[:] = False
        self.steps = 0
        observations = reset_with_seeds(self.env, seeds)
        self._require_finite("observation", observations, 0)
        return np.asarray(observations)

    def send(self, group: int, actions: IntArray) -> None:
        """Gives a group its actions, ``[n]``."""
        if self._atari is not None:
            self._atari.send_group(group, actions)
        else:
            self._actions = actions

    def recv(self, group: int) -> Transition:
        """The step that ``send`` began."""
        if self._atari is None:
            return self._step()
        observations, rewards, terminated, truncated, infos = self._atari.recv_group(group)
        return Transition(
            observations,
            rewards,
            infos["score"],
            terminated,
            truncated,
            infos["valid"],
            ~infos["reset"],
            infos["game_over"],
        )

    def _step(self) -> Transition:
        assert self._actions is not None
        actions = self._actions + self._first_action if self._first_action else self._actions
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        self.steps += 1
        # Copies: an environment may use its arrays again before the rollout is looked at.
        rewards = np.array(rewards, np.float64)
        terminated = np.array(terminated, np.bool_)
        truncated = np.array(truncated, np.bool_)
        played = ~self._over if "reset" not in infos else ~np.asarray(infos["reset"], np.bool_)
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
            np.array(infos.get("score", rewards), np.float64),
            terminated & played,
            truncated & played,
            np.array(infos.get("valid", played), np.bool_),
            played,
            np.array(infos.get("game_over", ended), np.bool_),
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
        if (key != "reward" and not self._check) or np.isfinite(values).all():
            return
        rows = np.flatnonzero(~np.isfinite(np.reshape(values, (len(values), -1))).all(axis=1))
        raise FloatingPointError(
            f"{key} of environment {first + int(rows[0])} at step {step} is not finite: {values[int(rows[0])]}"
        )


def discrete_action_count(space: spaces.Space[Any]) -> int:
    """Choices of a Discrete space. Raises ``ValueError`` for any other space."""
    if not isinstance(space, spaces.Discrete):
        raise ValueError(f"the action space must be Discrete, got {space}")
    return int(space.n)


def box_observation_shape(space: spaces.Space[Any]) -> tuple[int, ...]:
    """Shape of a Box observation. Raises ``ValueError`` for any other space."""
    if not isinstance(space, spaces.Box):
        raise ValueError(
            f"the observation space must be a Box, got {space}; "
            "gymnasium.wrappers.FlattenObservation makes one of most spaces"
        )
    return tuple(int(size) for size in space.shape)
