"""Atari 2600 games on ale-py's native vector environment, under the protocol of the published results.

Up to 30 no-ops after a reset, four frames per step with the maximum of the last two, 84 x 84 grey, four frames stacked.
A lost life ends the episode that is learned from, but not the game; where the game has a FIRE button, the step after a
lost life presses it. Rewards are clipped to their sign for learning; scores are reported raw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv

from pgfast._typing import Array, BoolArray, IntArray

__all__ = ["AtariVecEnv", "atari_game", "is_atari"]

_ENTRY_POINT = "ale_py.env:AtariEnv"
_GROUPS = 2  # one is emulated while the network decides for the other


def import_ale() -> Any:
    """The module ale_py, an optional extra. Raises ``ImportError``."""
    try:
        import ale_py
    except ImportError as error:
        raise ImportError('Atari games need ale-py: pip install "pgfast[atari]"') from error
    return ale_py


def register_atari() -> bool:
    """Registers ale-py's environments with Gymnasium; False where ale-py is not installed."""
    try:
        gymnasium.register_envs(import_ale())
    except ImportError:
        return False
    return True


def is_atari(spec: EnvSpec) -> bool:
    """True for an environment of ale-py."""
    return spec.entry_point == _ENTRY_POINT


@dataclass(frozen=True)
class AtariGame:
    """What an Atari id says about the game."""

    rom: str
    repeat_action_probability: float
    full_action_space: bool
    max_num_frames_per_episode: int


def atari_game(spec: EnvSpec) -> AtariGame:
    """The game behind a registered id.

    Raises ``ValueError`` for an id whose definition the vector environment cannot keep: a random frame skip, or RAM
    observations.
    """
    kwargs = spec.kwargs
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


class _Group:
    """Environments that are emulated together, and what the protocol remembers of their last step."""

    def __init__(self, env: Any, first: int, count: int) -> None:
        self.env = env
        self.rows = slice(first, first + count)
        self.over = np.zeros(count, np.bool_)  # the last step ended the game: this one resets
        self.fire = np.zeros(count, np.bool_)  # the last step lost a life: this one presses FIRE
        self.first_frame = np.zeros(count, np.int64)  # frames that the reset itself played
        self.pending: IntArray | None = None


class AtariVecEnv(VectorEnv[Array, Array, Array]):
    """``num_envs`` copies of an Atari game as a Gymnasium vector environment (autoreset on the next step).

    ``step`` gives observations ``[N, 4, 84, 84]`` uint8, rewards clipped to their sign, ``terminated`` on every lost
    life, ``truncated`` at the frame limit, and in ``infos``, ``[N]`` each: ``score`` (the raw reward), ``valid`` (False
    where the action given was not the one played: a reset or a forced FIRE), ``reset`` (True where the step only reset
    the game), ``game_over`` and ``lives``.

    An action out of range raises ``ValueError`` before it reaches an emulator (which would hang).

    Environments are emulated in two groups, so that a caller can decide for one while the other is busy: ``groups``,
    ``send_group`` and ``recv_group``. Emulation runs on ``num_threads`` threads; with one, a group is only emulated
    while it is waited for. Results do not depend on it.
    """

    def __init__(self, game: AtariGame, num_envs: int, *, seeds: list[int], num_threads: int) -> None:
        ale_py = import_ale()
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.num_envs = num_envs
        self.game = game
        self._overlap = num_threads > 1
        self._groups: list[_Group] = []
        count = min(_GROUPS, num_envs)
        for index in range(count):
            first, last = index * num_envs // count, (index + 1) * num_envs // count
            env = ale_py.AtariVectorEnv(
                game.rom,
                last - first,
                num_threads=max(1, min(num_threads // count, last - first)),
                repeat_action_probability=game.repeat_action_probability,
                full_action_space=game.full_action_space,
                max_num_frames_per_episode=game.max_num_frames_per_episode,
                life_loss_info=True,
                reward_clipping=False,
            )
            self._groups.append(_Group(env, first, last - first))
        first_env = self._groups[0].env
        self.single_observation_space = first_env.single_observation_space
        self.single_action_space = first_env.single_action_space
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, num_envs)
        actions = list(first_env.ale.get_action_set())
        self._fire_action = actions.index(ale_py.Action.FIRE) if ale_py.Action.FIRE in actions else None
        self._num_actions = len(actions)
        self._first_seeds: list[int] | None = seeds

    @property
    def groups(self) -> list[slice]:
        """The environments of each group."""
        return [group.rows for group in self._groups]

    def reset(
        self, *, seed: int | list[int] | Array | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Starts new games. ``seed``: one per environment, or an int for seed, seed + 1, ...; None goes on from the
        seeds the environments were made with."""
        if options:
            raise ValueError(f"AtariVecEnv.reset: options are not supported, got {sorted(options)}")
        if seed is None:
            seeds = None if self._first_seeds is None else np.asarray(self._first_seeds)
        elif isinstance(seed, (int, np.integer)):
            seeds = np.arange(int(seed), int(seed) + self.num_envs)
        else:
            seeds = np.asarray(seed, np.int64)
        if seeds is not None and seeds.shape != (self.num_envs,):
            raise ValueError(f"AtariVecEnv.reset: seed must have shape ({self.num_envs},), got {seeds.shape}")
        self._first_seeds = None
        observations, infos = [], []
        for group in self._groups:
            if group.pending is not None:
                self.recv_group(self._groups.index(group))
            obs, info = group.env.reset(seed=None if seeds is None else seeds[group.rows])
            group.over[:] = False
            group.fire[:] = False
            group.first_frame[:] = info["episode_frame_number"]
            observations.append(obs)
            infos.append(info)
        keys = ("lives", "episode_frame_number")
        return np.concatenate(observations), {key: np.concatenate([info[key] for info in infos]) for key in keys}

    def send_group(self, index: int, actions: IntArray) -> None:
        """Gives a group its actions and returns while it is emulated; ``recv_group`` must follow."""
        group = self._groups[index]
        if group.pending is not None:
            raise RuntimeError("AtariVecEnv.send_group: the group's last step was not received")
        self._require_in_range(actions)
        if self._fire_action is not None:
            actions = np.where(group.fire, self._fire_action, actions)
        group.pending = actions
        if self._overlap:
            group.env.send(actions)

    def recv_group(self, index: int) -> tuple[Array, Array, BoolArray, BoolArray, dict[str, Any]]:
        """Waits for the step that ``send_group`` began; the same five values as ``step``, for the group's rows."""
        group = self._groups[index]
        if group.pending is None:
            raise RuntimeError("AtariVecEnv.recv_group: no actions were sent")
        if not self._overlap:
            group.env.send(group.pending)
        group.pending = None
        observations, scores, terminated, truncated, info = group.env.recv()
        reset, forced = group.over, group.fire
        played = ~reset
        terminated = terminated & played
        truncated = truncated & played
        # A life lost on the very step that reaches the frame limit hides the truncation, but the game is over.
        frames = info["episode_frame_number"]
        group.first_frame = np.where(reset, frames, group.first_frame)
        at_limit = played & (frames - group.first_frame >= self.game.max_num_frames_per_episode)
        # In Pong `lives` is 0 all game long: only together with the flag does it say that the game is over.
        over = truncated | at_limit | (terminated & (info["lives"] == 0))
        group.over = over
        group.fire = terminated & ~over if self._fire_action is not None else np.zeros_like(over)
        scores = np.where(reset, 0, scores).astype(np.float64)
        infos = {
            "score": scores,
            "valid": played & ~forced,
            "reset": reset,
            "game_over": over,
            "lives": info["lives"],
        }
        return observations, np.sign(scores), terminated, truncated, infos

    def _require_in_range(self, actions: Array) -> None:
        if ((actions < 0) | (actions >= self._num_actions)).any():
            raise ValueError(f"AtariVecEnv: actions must be in [0, {self._num_actions}), got {actions.tolist()}")

    def step(self, actions: Array) -> tuple[Array, Array, BoolArray, BoolArray, dict[str, Any]]:
        """One step of every environment, with ``actions`` ``[N]`` integers."""
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,) or not np.issubdtype(actions.dtype, np.integer):
            raise ValueError(
                f"AtariVecEnv.step: actions must be integers of shape ({self.num_envs},), "
                f"got {actions.dtype} {actions.shape}"
            )
        self._require_in_range(actions)  # of every group, before any is sent
        for index, group in enumerate(self._groups):
            self.send_group(index, actions[group.rows].astype(np.int64))
        parts = [self.recv_group(index) for index in range(len(self._groups))]
        observations, rewards, terminated, truncated = (
            np.concatenate([part[column] for part in parts]) for column in range(4)
        )
        infos = {key: np.concatenate([part[4][key] for part in parts]) for key in parts[0][4]}
        return observations, rewards, terminated, truncated, infos

    def close_extras(self, **kwargs: Any) -> None:
        """Frees the emulators; ale-py's own close() keeps them and their threads."""
        self._groups.clear()
