"""Atari 2600 games on ale-py's native vector environment, under the protocol of the published results.

Up to 30 no-ops after a reset, four frames per step with the maximum of the last two, 84 x 84 gray, four frames stacked.
A lost life ends the episode of learning but not the game. In games with a FIRE button, the step after a lost life
presses it. Rewards are clipped to their sign for learning; returns are reported raw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv

from pgfast._typing import Array, BoolArray

__all__ = ["AtariGame", "AtariVecEnv", "atari_game", "import_ale", "is_atari", "register_atari"]

_ENTRY_POINT = "ale_py.env:AtariEnv"


def import_ale() -> Any:
    """The module ale_py, an optional extra. Raises ``ImportError``."""
    try:
        import ale_py
    except ImportError as error:
        raise ImportError('Atari games need ale-py: pip install "pgfast[atari]"') from error
    return ale_py


def register_atari() -> bool:
    """Registers ale-py's environments with Gymnasium; returns False if ale-py is not installed."""
    try:
        gymnasium.register_envs(import_ale())
    except ImportError:
        return False
    return True


def is_atari(spec: EnvSpec) -> bool:
    """Whether ale-py makes the environment."""
    return spec.entry_point == _ENTRY_POINT


@dataclass(frozen=True)
class AtariGame:
    """The settings that an Atari id stands for."""

    rom: str
    repeat_action_probability: float
    full_action_space: bool
    max_num_frames_per_episode: int

    def make_emulators(self, num_envs: int, **preprocessing: Any) -> Any:
        """Returns ale-py's vector environment of this game, with raw rewards."""
        return import_ale().AtariVectorEnv(
            self.rom,
            num_envs,
            repeat_action_probability=self.repeat_action_probability,
            full_action_space=self.full_action_space,
            max_num_frames_per_episode=self.max_num_frames_per_episode,
            reward_clipping=False,
            **preprocessing,
        )

    def screen_size(self) -> tuple[int, int]:
        """(height, width) of the console's frames in pixels."""
        ale_py = import_ale()
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        ale = ale_py.ALEInterface()
        ale.loadROM(ale_py.roms.get_rom_path(self.rom))
        height, width = ale.getScreenDims()
        return height, width


def atari_game(spec: EnvSpec, env_kwargs: Mapping[str, Any] = MappingProxyType({})) -> AtariGame:
    """Returns the game of a registered id, with other arguments than it is registered with.

    Raises:
        ValueError: for what the vector environment cannot represent: a random frame skip, RAM observations, or other
            arguments than those of :class:`AtariGame`.
    """
    known = [field.name for field in fields(AtariGame)[1:]]
    unknown = sorted(env_kwargs.keys() - set(known))
    if unknown:
        raise ValueError(f"{spec.id} takes the env_kwargs {', '.join(known)}, got {', '.join(unknown)}")
    kwargs = {**spec.kwargs, **env_kwargs}
    if kwargs.get("frameskip") not in (1, 4):
        raise ValueError(
            f"{spec.id} skips {kwargs.get('frameskip')} frames at random; use the id with NoFrameskip (4 frames per "
            "step, no sticky actions) or ALE/...-v5 (4 frames per step, sticky actions)"
        )
    if kwargs.get("obs_type", "rgb") == "ram":
        raise ValueError(f"{spec.id} observes RAM; only the screen is supported")
    return AtariGame(
        rom=kwargs["game"],
        repeat_action_probability=float(kwargs["repeat_action_probability"]),
        full_action_space=bool(kwargs["full_action_space"]),
        max_num_frames_per_episode=int(kwargs["max_num_frames_per_episode"]),
    )


class AtariVecEnv(VectorEnv[Array, Array, Array]):
    """``num_envs`` copies of an Atari game as a Gymnasium vector environment (autoreset on the next step).

    ``step`` returns observations ``[N, 4, 84, 84]`` uint8, rewards clipped to their sign, ``terminated`` on every lost
    life, ``truncated`` at the frame limit, and in ``infos``, ``[N]`` each: ``raw_reward``, ``valid`` (False for a reset
    or a forced FIRE, which ignore the action given), ``reset`` (True if the step only reset the game), ``game_over``,
    ``lives`` and ``episode_frame_number`` (frames since the game's start, no-ops included).

    An action out of range raises ``ValueError`` before it reaches an emulator, which would hang.

    Emulators run on ``num_threads`` threads; results do not depend on the number.
    """

    def __init__(self, game: AtariGame, num_envs: int, *, num_threads: int) -> None:
        ale_py = import_ale()
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        reports = ("raw_reward", "valid", "reset", "game_over")
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "reports": reports}
        self.num_envs = num_envs
        self.game = game
        self._emulator = game.make_emulators(num_envs, num_threads=min(num_threads, num_envs), life_loss_info=True)
        self.single_observation_space = self._emulator.single_observation_space
        self.single_action_space = self._emulator.single_action_space
        self.observation_space = self._emulator.observation_space
        self.action_space = self._emulator.action_space
        actions = list(self._emulator.ale.get_action_set())
        self.fire_action = actions.index(ale_py.Action.FIRE) if ale_py.Action.FIRE in actions else None
        self._num_actions = len(actions)
        self._over = np.zeros(num_envs, np.bool_)  # the last step ended the game: the next one resets
        self._fire = np.zeros(num_envs, np.bool_)  # the last step lost a life: the next one presses FIRE
        self._last_frame = np.zeros(num_envs, np.int64)  # frame number at which the game reaches its limit

    def reset(
        self, *, seed: int | list[int] | Array | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Starts new games.

        ``seed`` is one per environment, or an int for seed, seed + 1, ...; None continues the emulators' random
        numbers. There are no options.
        """
        if options:
            raise ValueError(f"AtariVecEnv.reset: options are not supported, got {sorted(options)}")
        if isinstance(seed, (int, np.integer)):
            seed = np.arange(int(seed), int(seed) + self.num_envs)
        elif seed is not None:
            seed = np.asarray(seed, np.int64)
            if seed.shape != (self.num_envs,):
                raise ValueError(f"AtariVecEnv.reset: seed must have shape ({self.num_envs},), got {seed.shape}")
        observations, info = self._emulator.reset(seed=seed)
        self._over[:] = False
        self._fire[:] = False
        self._last_frame[:] = info["episode_frame_number"] + self.game.max_num_frames_per_episode
        return observations, {key: info[key] for key in ("lives", "episode_frame_number")}

    def step(self, actions: Array) -> tuple[Array, Array, BoolArray, BoolArray, dict[str, Any]]:
        """Takes ``actions`` ``[N]``, integers."""
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,) or actions.dtype.kind not in "iu":
            raise ValueError(
                f"AtariVecEnv.step: actions must be integers of shape ({self.num_envs},), "
                f"got {actions.dtype} {actions.shape}"
            )
        if ((actions < 0) | (actions >= self._num_actions)).any():
            raise ValueError(f"AtariVecEnv: actions must be in [0, {self._num_actions}), got {actions.tolist()}")
        if self.fire_action is not None:
            actions = np.where(self._fire, self.fire_action, actions)
        self._emulator.send(actions.astype(np.int64, copy=False))
        observations, raw_rewards, terminated, truncated, info = self._emulator.recv()
        reset, forced = self._over, self._fire
        stepped = ~reset
        terminated = terminated & stepped
        truncated = truncated & stepped
        # A life lost on the step that reaches the frame limit hides the truncation, but the game is over.
        frames = info["episode_frame_number"]
        np.copyto(self._last_frame, frames + self.game.max_num_frames_per_episode, where=reset)
        at_limit = stepped & (frames >= self._last_frame)
        # In Pong `lives` is always 0, so it marks the end of a game only together with the flag.
        over = truncated | at_limit | (terminated & (info["lives"] == 0))
        self._over = over
        self._fire = terminated & ~over if self.fire_action is not None else np.zeros_like(over)
        raw_rewards = np.multiply(raw_rewards, stepped, dtype=np.float64)
        infos = {
            "raw_reward": raw_rewards,
            "valid": stepped & ~forced,
            "reset": reset,
            "game_over": over,
            "lives": info["lives"],
            "episode_frame_number": frames,
        }
        return observations, np.sign(raw_rewards), terminated, truncated, infos

    def close_extras(self, **kwargs: Any) -> None:
        """Frees the emulators; ale-py's close() keeps them and their threads."""
        self._emulator = None
