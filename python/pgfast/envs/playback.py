"""Environments that return, at every step, the frames to show a viewer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import SyncVectorEnv

from pgfast._typing import Array, BoolArray
from pgfast.envs.action_masks import MaskSource
from pgfast.envs.atari import AtariGame, AtariVecEnv, atari_game, is_atari
from pgfast.envs.make import AnyVectorEnv
from pgfast.envs.options import EnvironmentOptions
from pgfast.envs.registration import env_spec
from pgfast.envs.screenless import choose_mujoco_backend, choose_pygame_driver
from pgfast.envs.source import EnvironmentSource
from pgfast.envs.stepper import Stepper

__all__ = ["AtariPlayback", "open_playback"]

_DEFAULT_FRAMES_PER_SECOND = 30.0  # as in Gymnasium's recorder
_ATARI_FRAMES_PER_SECOND = 60.0
_ATARI_FRAMES_PER_STEP = 4
_FREE_CAMERA, _PLANE = -1, 0  # MuJoCo's numbers of the camera that stays where it is, and of a kind of geometry


@dataclass(frozen=True, slots=True)
class PlaybackStep:
    """The result of one step."""

    observations: Array  # [1, ...] to act on next
    frames: list[Array]  # uint8 [height, width, 3] each, in order
    raw_reward: float
    episode_over: bool


class Playback(ABC):
    """One environment and its frames. For one episode, call ``reset``, then ``step`` until the episode is over."""

    env: AnyVectorEnv
    frames_per_second: float

    @property
    def masks(self) -> BoolArray | None:
        """The mask ``[1, M]`` of the actions that the latest observations allow; None if there are no masks."""
        return None

    @abstractmethod
    def reset(self, seed: int) -> tuple[Array, list[Array]]:
        """Starts an episode; returns (observations ``[1, ...]``, frames so far)."""

    @abstractmethod
    def step(self, actions: Array) -> PlaybackStep:
        """Takes ``actions`` ``[1, ...]`` in a policy's form."""

    def close(self) -> None:
        self.env.close()


def open_playback(
    source: EnvironmentSource, action_mask: MaskSource = "none", *, action_scaling: bool = False
) -> Playback:
    """Makes the playback of an agent's environment; masks and scaling are those of a :class:`Stepper`.

    Raises ``ValueError`` for an environment that cannot be drawn or that was given as a vector environment,
    ``ImportError`` if it draws with a package that is missing, ``RuntimeError`` if it needs a screen.
    """
    choose_pygame_driver()
    if source.env_id is not None:
        spec, kwargs = env_spec(source.env_id), source.env_kwargs
        if is_atari(spec):
            return AtariPlayback(atari_game(spec, kwargs))
        env = _make_rendered(spec, {**kwargs, "render_mode": "rgb_array"})
        return RenderedPlayback(env, spec.id, action_mask, action_scaling)
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
    return RenderedPlayback(env, "the environment", action_mask, action_scaling)


class RenderedPlayback(Playback):
    """An environment that renders itself: one frame after the reset and one after every step.

    Raises ``ValueError`` (a frame is not a picture), ``ImportError`` (a package for drawing is missing),
    ``RuntimeError`` (drawing failed).
    """

    def __init__(self, env: AnyVectorEnv, name: str, action_mask: MaskSource, action_scaling: bool) -> None:
        self.env = env
        self.frames_per_second = float(env.metadata.get("render_fps") or _DEFAULT_FRAMES_PER_SECOND)
        self._name = name
        self._stepper = Stepper(env, action_mask, action_scaling=action_scaling)
        renderer = getattr(env.envs[0].unwrapped, "mujoco_renderer", None) if isinstance(env, SyncVectorEnv) else None
        if renderer is not None:
            self._prepare_mujoco(renderer)

    def _prepare_mujoco(self, renderer: Any) -> None:
        """Finds a way to draw, and follows a body that leaves its place, unless the environment was given a camera."""
        try:
            choose_mujoco_backend()
        except RuntimeError as error:
            self.env.close()
            raise RuntimeError(f"{self._name} cannot be drawn: {error}") from None
        if renderer.camera_id == _FREE_CAMERA:
            try:
                renderer.camera_id = renderer.model.camera("track").id
            except KeyError:  # a model whose body stays in place
                return
            _extend_floor(renderer.model)

    @property
    def masks(self) -> BoolArray | None:
        return self._stepper.masks

    def reset(self, seed: int) -> tuple[Array, list[Array]]:
        return self._stepper.reset([seed]), [self._draw()]

    def step(self, actions: Array) -> PlaybackStep:
        """Raises as :class:`~pgfast.envs.stepper.Stepper` does."""
        transition = self._stepper.step(actions)
        # The environment resets at the step after the last one, so this frame still shows the ended episode.
        return PlaybackStep(
            transition.observations, [self._draw()], float(transition.raw_rewards[0]), bool(transition.episode_over[0])
        )

    def _draw(self) -> Array:
        try:
            drawn: Any = self.env.render()
        except gymnasium.error.DependencyNotInstalled as error:
            raise ImportError(f"{self._name} cannot be drawn: {error}") from error
        except Exception as error:  # renderers may raise anything
            hint = "; without a screen, MUJOCO_GL=egl or MUJOCO_GL=osmesa may help" if "OpenGL" in str(error) else ""
            raise RuntimeError(f"{self._name} cannot be drawn: {error}{hint}") from error
        frame = np.asarray(drawn[0])
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(
                f"{self._name} must draw uint8 frames of shape (height, width, 3), got {frame.dtype} {frame.shape}"
            )
        return frame


def _extend_floor(model: Any) -> None:
    """Draws planes without an end, as they are in the simulation: a trained cheetah runs past the drawn one."""
    for plane in np.flatnonzero(model.geom_type == _PLANE):
        extent, material = model.geom_size[plane, :2], model.geom_matid[plane]
        if (extent > 0).all():
            if material >= 0:
                model.mat_texrepeat[material] /= 2 * extent  # from here on per unit of length
            extent[:] = 0


def _make_rendered(spec: EnvSpec, kwargs: dict[str, Any]) -> AnyVectorEnv:
    try:
        plain = gymnasium.make(spec)
        modes = plain.metadata.get("render_modes") or []
        plain.close()
        # For a mode that an environment lacks, gymnasium.make only warns, or fails with an unrelated message.
        if "rgb_array" not in modes:
            raise ValueError(f'{spec.id} cannot be drawn: its render modes are {list(modes)}, without "rgb_array"')
        return SyncVectorEnv([lambda: gymnasium.make(spec, **kwargs)])
    except gymnasium.error.DependencyNotInstalled as error:
        raise ImportError(f"{spec.id} cannot be drawn: {error}") from error


class AtariPlayback(Playback):
    """An Atari game under the preprocessing of training, with its frames in color: all 60 per second.

    The vector environment that agents learn in returns neither colors nor the frames between two steps. A second one,
    in color and without frame skip, gets the same seed and the same actions; no-ops and sticky actions are therefore
    the same. Raises ``RuntimeError`` as soon as reward, lives, end or frame number differ between the two.
    """

    env: AtariVecEnv

    def __init__(self, game: AtariGame) -> None:
        self.env = AtariVecEnv(game, 1, num_threads=1)
        self.frames_per_second = _ATARI_FRAMES_PER_SECOND
        height, width = game.screen_size()
        self._color_env = game.make_emulators(
            1,
            num_threads=1,
            grayscale=False,
            frameskip=1,
            maxpool=False,
            stack_num=1,
            img_height=height,
            img_width=width,
        )
        self._steps = 0

    def reset(self, seed: int) -> tuple[Array, list[Array]]:
        """Starts a game; returns (observations, the frame of the first decision)."""
        self._steps = 0
        observations, infos = self.env.reset(seed=[seed])
        screens, color_infos = self._color_env.reset(seed=np.array([seed]))
        self._require_same(infos, color_infos)
        return observations, [screens[0, 0]]

    def step(self, actions: Array) -> PlaybackStep:
        """Takes four frames, or fewer if the game ends."""
        self._steps += 1
        observations, _, _, _, infos = self.env.step(actions)
        if not infos["valid"][0]:
            actions = np.array([self.env.fire_action])
        raw_reward, over = 0.0, False
        frames: list[Array] = []
        while len(frames) < _ATARI_FRAMES_PER_STEP and not over:
            screens, rewards, terminated, truncated, color_infos = self._color_env.step(actions)
            frames.append(screens[0, 0])
            raw_reward += float(rewards[0])
            over = bool(terminated[0] or truncated[0])
        self._require_same(infos, {**color_infos, "raw_reward": [raw_reward], "game_over": [over]})
        return PlaybackStep(observations, frames, raw_reward, over)

    def close(self) -> None:
        super().close()
        self._color_env = None  # ale-py's close() keeps emulators and threads

    def _require_same(self, infos: dict[str, Any], color_infos: dict[str, Any]) -> None:
        for name in ("raw_reward", "lives", "game_over", "episode_frame_number"):
            if name in infos and infos[name][0] != color_infos[name][0]:
                raise RuntimeError(
                    f"{self.env.game.rom}: {name} differs between the vector environment ({infos[name][0]}) and the "
                    f"one that draws ({color_infos[name][0]}) at step {self._steps}; this version of ale-py may not be "
                    "supported"
                )
