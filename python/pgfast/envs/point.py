"""Point-v0 of the course: a point in a square that must reach the center."""

from __future__ import annotations

from collections import deque
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from pgfast._typing import Array, BoolArray

__all__ = ["PointEnv", "PointVectorEnv"]

_MAX_EPISODE_STEPS = 40
_LARGEST_MOVE = np.float32(0.025)  # along each axis
_START_DISTANCE = 0.9

_SIZE = 400  # of the picture, in pixels
_OVERSAMPLING = 4  # it is drawn larger by this factor and scaled down, which softens the edges
_SCALE = 180 * _OVERSAMPLING  # pixels to a unit of length, which leaves a margin
_BACKGROUND, _BORDER, _RING = (247, 246, 241), (196, 200, 204), (226, 229, 228)
_CENTER, _TRAIL, _POINT = (214, 92, 72), (160, 190, 220), (38, 92, 158)


def _box(bound: float) -> spaces.Space[Any]:
    return spaces.Box(-bound, bound, (2,), np.float32)


def _distance(positions: NDArray[np.float64]) -> Any:
    """Distance of ``[..., 2]`` to the center, ``[...]``."""
    # Not a norm or hypot: a row alone and a row among others must round alike.
    return np.sqrt(positions[..., 0] * positions[..., 0] + positions[..., 1] * positions[..., 1])


def _start(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draws a position from the part of the square that is farther than 0.9 from the center."""
    while True:
        position = rng.uniform(-1.0, 1.0, 2)
        if _distance(position) > _START_DISTANCE:
            return position


def _move(positions: NDArray[np.float64], actions: Array) -> NDArray[np.float64]:
    """Adds clipped actions and clips the sum to the square; all ``[..., 2]``. Raises ``ValueError``."""
    actions = np.asarray(actions)
    if actions.shape != positions.shape or not np.isfinite(actions).all():
        raise ValueError(f"Point-v0: actions must be finite, of shape {positions.shape}, got {actions.tolist()}")
    moved = positions + np.minimum(np.maximum(actions, -_LARGEST_MOVE), _LARGEST_MOVE)
    moved_inside: NDArray[np.float64] = np.minimum(np.maximum(moved, -1.0), 1.0)
    return moved_inside


class PointEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """A point in the square [-1, 1]^2 that must reach the center, as ``pgfast/Point-v0`` truncated after 40 steps.

    x' = clip(x + clip(a, -0.025, 0.025), -1, 1),  r = -||x'||

    The observation is the position, ``[2]`` float32. Starts are uniform in the part of the square that is farther than
    0.9 from the center; an episode never terminates. The way to the center takes 26 to 40 steps; the best policy has a
    mean return of -17.5.

    ``position`` ``[2]`` float64 is the whole state and may be set. ``step`` raises ``ValueError`` for an action that is
    not two finite numbers.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 (as in Gymnasium)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space, self.action_space = _box(1.0), _box(float(_LARGEST_MOVE))
        self.position: NDArray[np.float64]
        self._visited: deque[NDArray[np.float64]] = deque(maxlen=_MAX_EPISODE_STEPS + 1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Draws a start from ``np_random``; there are no options."""
        super().reset(seed=seed)
        self.position = _start(self.np_random)
        self._visited.clear()
        self._visited.append(self.position)
        return self.position.astype(np.float32), {}

    def step(self, action: Array) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Moves the point by ``action`` ``[2]``."""
        self.position = _move(self.position, action)
        self._visited.append(self.position)
        return self.position.astype(np.float32), -float(_distance(self.position)), False, False, {}

    def render(self) -> Any:
        """Draws the point and its trail, ``[400, 400, 3]`` uint8; None without a render mode."""
        if self.render_mode is None:
            return None
        try:
            pygame = import_module("pygame")
        except ImportError as error:
            message = 'pygame is not installed: pip install "pgfast[video]"'
            raise gymnasium.error.DependencyNotInstalled(message) from error
        draw, pixel = pygame.draw, _OVERSAMPLING
        surface = pygame.Surface((_SIZE * pixel, _SIZE * pixel))
        square = pygame.Rect(0, 0, 2 * (_SCALE + pixel), 2 * (_SCALE + pixel))
        middle = square.center = surface.get_rect().center
        visited = np.array([*self._visited, self.position]) * (_SCALE, -_SCALE) + middle  # y points up
        surface.fill(_BACKGROUND)
        draw.circle(surface, _RING, middle, _START_DISTANCE * _SCALE + pixel, 2 * pixel)
        draw.rect(surface, _BORDER, square, 2 * pixel)
        draw.lines(surface, _TRAIL, False, visited.tolist(), 4 * pixel)
        draw.circle(surface, _CENTER, middle, 5 * pixel)
        draw.circle(surface, _POINT, visited[-1].tolist(), 8 * pixel)
        return pygame.surfarray.array3d(pygame.transform.smoothscale(surface, (_SIZE, _SIZE))).swapaxes(0, 1)


class PointVectorEnv(VectorEnv[Array, Array, Array]):
    """``num_envs`` copies of :class:`PointEnv` in NumPy, with the time limit; autoreset mode NEXT_STEP.

    Returns the same bits as Gymnasium's ``SyncVectorEnv`` of single ones, about ten times as fast. ``positions``
    ``[N, 2]`` float64 may be set.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 (as in Gymnasium)

    def __init__(self, num_envs: int = 1, max_episode_steps: int = _MAX_EPISODE_STEPS) -> None:
        self.num_envs, self.max_episode_steps = num_envs, max_episode_steps
        self.single_observation_space, self.single_action_space = _box(1.0), _box(float(_LARGEST_MOVE))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.positions = np.zeros((num_envs, 2))
        self._generators: list[np.random.Generator] = []
        self._steps = np.zeros(num_envs, np.int64)

    def reset(
        self, *, seed: int | list[int] | Array | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Starts new episodes.

        ``seed`` is one per environment, or an int for seed, seed + 1, ...; None continues the random numbers. There are
        no options.
        """
        if options:
            raise ValueError(f"PointVectorEnv.reset: options are not supported, got {sorted(options)}")
        if seed is not None:
            seeds = (np.arange(self.num_envs) + seed if np.ndim(seed) == 0 else np.asarray(seed)).tolist()
            if len(seeds) != self.num_envs:
                raise ValueError(f"PointVectorEnv.reset: {self.num_envs} seeds are needed, got {len(seeds)}")
            self._generators = [seeding.np_random(single)[0] for single in seeds]
        elif not self._generators:
            self._generators = [seeding.np_random()[0] for _ in range(self.num_envs)]
        self._restart(np.ones(self.num_envs, np.bool_))
        return self.positions.astype(np.float32), {}

    def step(self, actions: Array) -> tuple[Array, Array, BoolArray, BoolArray, dict[str, Any]]:
        """Moves the points by ``actions`` ``[N, 2]``; the returned arrays are new."""
        if not self._generators:
            raise RuntimeError("PointVectorEnv.step: call reset first")
        ended = self._steps >= self.max_episode_steps  # environments that this step only resets
        self.positions = _move(self.positions, actions)
        self._steps += 1
        rewards = -_distance(self.positions)
        if ended.any():
            self._restart(ended)
            rewards[ended] = 0.0
        terminated = np.zeros(self.num_envs, np.bool_)
        return self.positions.astype(np.float32), rewards, terminated, self._steps >= self.max_episode_steps, {}

    def _restart(self, mask: BoolArray) -> None:
        for index in np.flatnonzero(mask):
            self.positions[index] = _start(self._generators[index])
        self._steps[mask] = 0
