"""One game played to be looked at: every step gives the frames that a person would have seen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import SyncVectorEnv
from numpy.typing import NDArray

from pgfast._typing import Array
from pgfast.envs.atari import AtariGame, AtariVecEnv, atari_game, import_ale, is_atari
from pgfast.envs.make import AnyVectorEnv, env_spec
from pgfast.envs.options import EnvironmentOptions
from pgfast.envs.source import EnvironmentSource
from pgfast.envs.stepper import Stepper

__all__ = ["AtariPlayback", "open_playback"]

_DEFAULT_FRAMES_PER_SECOND = 30.0  # as gymnasium's own recorder takes it
_ATARI_FRAMES_PER_SECOND = 60.0
_ATARI_FRAMES_PER_STEP = 4
_ROUNDING = 0.51  # the observation is rounded to whole grey levels, the twin's screen is not


@dataclass(frozen=True, slots=True)
class PlaybackStep:
    """What one step led to."""

    observations: Array  # [1, ...] to act on next
    frames: list[Array]  # uint8 [height, width, 3] each, in order
    score: float
    game_over: bool


class Playback(ABC):
    """One environment that shows what happens in it. Play one game: ``reset``, then ``step`` until it is over."""

    env: AnyVectorEnv
    frames_per_second: float

    @abstractmethod
    def reset(self, seed: int) -> tuple[Array, list[Array]]:
        """(observations ``[1, ...]``, frames so far) of a new game."""

    @abstractmethod
    def step(self, actions: Array) -> PlaybackStep:
        """Plays ``actions`` ``[1, ...]`` as a policy has them."""

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()


def open_playback(source: EnvironmentSource) -> Playback:
    """The playback of an agent's environment.

    Raises ``ValueError`` for an environment that cannot be drawn or that was given as a vector environment,
    ``ImportError`` if it draws with a package that is missing.
    """
    if source.env_id is not None:
        spec = env_spec(source.env_id)
        return AtariPlayback(atari_game(spec)) if is_atari(spec) else RenderedPlayback(_make_rendered(spec), spec.id)
    if source.num_envs is not None:
        raise ValueError(
            "a vector environment cannot be drawn; save the agent and load it with an environment id or a function "
            "that makes one environment as env="
        )
    env = source.make(1, EnvironmentOptions(vectorization="sync"))
    if env.render_mode != "rgb_array":
        env.close()
        raise ValueError(
            f'the environment has render_mode {env.render_mode!r}; make it with render_mode="rgb_array" for a video'
        )
    return RenderedPlayback(env, "the environment")


class RenderedPlayback(Playback):
    """An environment that draws itself: one frame after the reset and one after every step.

    Raises ``ValueError`` (what is drawn is not a picture), ``ImportError`` (a package for drawing is missing),
    ``RuntimeError`` (drawing failed).
    """

    def __init__(self, env: AnyVectorEnv, name: str) -> None:
        self.env = env
        self.frames_per_second = float(env.metadata.get("render_fps") or _DEFAULT_FRAMES_PER_SECOND)
        self._name = name
        self._stepper = Stepper(env)

    def reset(self, seed: int) -> tuple[Array, list[Array]]:
        """(observations, the first frame)"""
        return self._stepper.reset([seed]), [self._draw()]

    def step(self, actions: Array) -> PlaybackStep:
        """One step, one frame. Raises as :class:`~pgfast.envs.stepper.Stepper` does."""
        transition = self._stepper.step(actions)
        # The environment is reset by the step after the last one, so that this is still the ended game.
        return PlaybackStep(
            transition.observations, [self._draw()], float(transition.scores[0]), bool(transition.game_over[0])
        )

    def _draw(self) -> Array:
        try:
            drawn: Any = self.env.render()
        except gymnasium.error.DependencyNotInstalled as error:
            raise ImportError(f"{self._name} cannot be drawn: {error}") from error
        except Exception as error:  # renderers raise what they like
            hint = "; without a screen, MUJOCO_GL=egl or MUJOCO_GL=osmesa may help" if "OpenGL" in str(error) else ""
            raise RuntimeError(f"{self._name} cannot be drawn: {error}{hint}") from error
        frame = np.asarray(drawn[0])
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(
                f"{self._name} must draw uint8 frames of shape (height, width, 3), got {frame.dtype} {frame.shape}"
            )
        return frame


def _make_rendered(spec: EnvSpec) -> AnyVectorEnv:
    try:
        plain = gymnasium.make(spec)
        modes = plain.metadata.get("render_modes") or []
        plain.close()
        # Asked for a mode it does not have, an environment would be made with a warning, or fail in its own words.
        if "rgb_array" not in modes:
            raise ValueError(f'{spec.id} cannot be drawn: its render modes are {list(modes)}, without "rgb_array"')
        return SyncVectorEnv([lambda: gymnasium.make(spec, render_mode="rgb_array")])
    except gymnasium.error.DependencyNotInstalled as error:
        raise ImportError(f"{spec.id} cannot be drawn: {error}") from error


class AtariPlayback(Playback):
    """An Atari game under the training's own preprocessing, and its frames in colour: all 60 per second.

    The vector environment that agents learn in gives the observations, but neither colours nor the frames between two
    steps. So every action that it plays is played on a twin as well: a single emulator with the same seed, hence with
    the same no-ops and the same sticky actions. After every step the twin must have the same score, the same lives and
    the same screen as the observation shows; ``RuntimeError`` otherwise.
    """

    env: AtariVecEnv

    def __init__(self, game: AtariGame) -> None:
        self.env = AtariVecEnv(game, 1, num_threads=1)
        self.frames_per_second = _ATARI_FRAMES_PER_SECOND
        self._twin = _Emulator(game)
        self._steps = 0

    def reset(self, seed: int) -> tuple[Array, list[Array]]:
        """(observations, the frames until the first decision: the first one, FIRE and the no-ops)"""
        self._steps = 0
        observations, infos = self.env.reset(seed=[seed])
        frames = self._twin.reset(seed, int(infos["episode_frame_number"][0]))
        self._require_same(observations, ("the lives", int(infos["lives"][0]), self._twin.lives))
        return observations, frames

    def step(self, actions: Array) -> PlaybackStep:
        """One step of four frames, fewer where the game ends. Raises ``RuntimeError`` if the twin went another way."""
        self._steps += 1
        observations, _, _, _, infos = self.env.step(actions)
        twin_score, frames = self._twin.step(int(actions[0]) if infos["valid"][0] else None)
        score, game_over = float(infos["score"][0]), bool(infos["game_over"][0])
        self._require_same(
            observations,
            ("the score", score, twin_score),
            ("the lives", int(infos["lives"][0]), self._twin.lives),
            ("the game's end", game_over, self._twin.over),
        )
        return PlaybackStep(observations, frames, score, game_over)

    def _require_same(self, observations: Array, *compared: tuple[str, object, object]) -> None:
        for what, expected, got in compared:
            if expected != got:
                raise self._difference(what, expected, got)
        # Scores and lives are too rare to notice at once. A game's last step has no screen of its own to compare with:
        # the vector environment leaves the loop over the frames before it looks at the last one.
        if not self._twin.over:
            distance = np.abs(observations[0, -1] - self._twin.observation()).max()
            if distance > _ROUNDING:
                raise self._difference("the screen", "its observation", f"one {distance:.1f} away from it")

    def _difference(self, what: str, expected: object, got: object) -> RuntimeError:
        return RuntimeError(
            f"{self.env.game.rom}: {what} differs between the vector environment ({expected}) and the emulator that "
            f"draws ({got}) at step {self._steps}; this version of ale-py may not be supported"
        )


class _Emulator:
    """A single Atari, played as :class:`AtariVecEnv` plays its own, frame by frame."""

    def __init__(self, game: AtariGame) -> None:
        ale_py = import_ale()
        self._ale = ale_py.ALEInterface()
        self._ale.setLoggerMode(ale_py.LoggerMode.Error)
        self._ale.setFloat("repeat_action_probability", game.repeat_action_probability)
        self._rom = ale_py.roms.get_rom_path(game.rom)
        self._ale.loadROM(self._rom)
        actions = self._ale.getLegalActionSet() if game.full_action_space else self._ale.getMinimalActionSet()
        self._actions = list(actions)
        self._noop, self._fire_action = ale_py.Action.NOOP, ale_py.Action.FIRE
        self._most_frames = game.max_num_frames_per_episode
        self._screens: list[Array] = []  # the last two, grey
        self._frames_played = 0

    @property
    def lives(self) -> int:
        """Lives left."""
        return int(self._ale.lives())

    @property
    def over(self) -> bool:
        """Whether the game has ended, or reached its frame limit."""
        return bool(self._ale.game_over()) or self._frames_played >= self._most_frames

    def reset(self, seed: int, num_frames: int) -> list[Array]:
        """Starts a game and plays its first frames: FIRE where there is one, then no-ops."""
        self._ale.setInt("random_seed", seed)
        self._ale.loadROM(self._rom)  # seeds the emulator's random numbers
        self._ale.reset_game()
        frames = [self._ale.getScreenRGB()]
        action = self._fire_action if self._fire_action in self._actions else self._noop
        while self._ale.getEpisodeFrameNumber() < num_frames:
            self._ale.act(action)
            frames.append(self._ale.getScreenRGB())
            action = self._noop
        self._screens = [self._ale.getScreenGrayscale()]
        self._frames_played = 0
        return frames

    def step(self, action: int | None) -> tuple[float, list[Array]]:
        """(score, frames) of one step; None presses FIRE."""
        score, frames = 0.0, []
        for _ in range(_ATARI_FRAMES_PER_STEP):
            score += self._ale.act(self._fire_action if action is None else self._actions[action])
            self._frames_played += 1
            frames.append(self._ale.getScreenRGB())
            self._screens = [*self._screens[-1:], self._ale.getScreenGrayscale()]
            if self.over:
                break
        return score, frames

    def observation(self) -> NDArray[np.float64]:
        """The maximum of the last two frames, 84 x 84, before rounding."""
        screen = np.max(self._screens, axis=0).astype(np.float64)
        return _shrink(_shrink(screen, 84).T, 84).T


def _shrink(screen: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """``[H, W]`` to ``[size, W]`` by averages over H / size pixels, which share the pixels they split."""
    edges = np.linspace(0, len(screen), size + 1)[:, None]
    above = np.clip(edges - np.arange(len(screen)), 0.0, 1.0)  # [size + 1, H] share of each pixel above each edge
    averages: NDArray[np.float64] = np.diff(above, axis=0) @ screen * (size / len(screen))
    return averages
