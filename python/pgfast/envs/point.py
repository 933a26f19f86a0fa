"""Point-v0 of the course: a point in a square that is to go to the centre."""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from pgfast._typing import Array, BoolArray
from pgfast.envs.point_drawing import draw_point

__all__ = ["PointEnv", "PointVectorEnv"]

_MAX_EPISODE_STEPS = 40
_LARGEST_MOVE = 0.025  # along each axis
_START_DISTANCE = 0.9


def _box(bound: float) -> spaces.Space[Any]:
    return spaces.Box(-bound, bound, (2,), np.float32)


def _distance(positions: NDArray[np.float64]) -> Any:
    """Distance of ``[..., 2]`` to the centre, ``[...]``."""
    # Not a norm or hypot: a row alone and a row among others must round alike.
    return np.sqrt(positions[..., 0] * positions[..., 0] + positions[..., 1] * positions[..., 1])


def _start(rng: np.random.Generator) -> NDArray[np.float64]:
    """Uniform in the part of the square that is further than 0.9 from the centre."""
    while True:
        position = rng.uniform(-1.0, 1.0, 2)
        if _distance(position) > _START_DISTANCE:
            return position


def _move(owner: str, positions: NDArray[np.float64], actions: Array) -> NDArray[np.float64]:
    """Where clipped actions lead, clipped to the square; both ``[..., 2]``."""
    actions = np.asarray(actions)
    if actions.shape != positions.shape:
        raise ValueError(f"{owner}.step: the action must have shape {positions.shape}, got {actions.shape}")
    if not np.isfinite(actions).all():
        raise ValueError(f"{owner}.step: the action must be finite, got {actions.tolist()}")
    bound = np.float32(_LARGEST_MOVE)  # as the action space has it
    moved = positions + np.minimum(np.maximum(actions, -bound), bound)
    moved_inside: NDArray[np.float64] = np.minimum(np.maximum(moved, -1.0), 1.0)
    return moved_inside


class PointEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """A point in the square [-1, 1]^2 that is to go to the centre, as ``pgfast/Point-v0`` truncated after 40 steps.

    x' = clip(x + clip(a, -0.025, 0.025), -1, 1),  r = -||x'||

    The observation is the position, ``[2]`` float32. An episode starts further than 0.9 from the centre, uniformly, and
    never terminates. The way to the centre takes 26 to 40 steps; the best policy has a mean return of -17.5.

    ``position`` ``[2]`` float64 is the whole state and may be set. With ``render_mode="rgb_array"``, ``render`` gives a
    picture ``[400, 400, 3]`` uint8; ``trail`` also draws where the point came from.

    ``step`` raises ``ValueError`` for an action that is not two finite numbers, ``RuntimeError`` before a ``reset``.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 (as gymnasium has it)

    def __init__(self, render_mode: str | None = None, *, trail: bool = True) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f'PointEnv: render_mode must be "rgb_array" or None, got {render_mode!r}')
        self.render_mode = render_mode
        self.observation_space = _box(1.0)
        self.action_space = _box(_LARGEST_MOVE)
        self.trail = trail
        self.position: NDArray[np.float64] | None = None
        self._visited: deque[NDArray[np.float64]] = deque(maxlen=_MAX_EPISODE_STEPS + 1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """A new start, drawn from ``np_random``; there are no options."""
        super().reset(seed=seed)
        self.position = _start(self.np_random)
        self._visited.clear()
        self._visited.append(self.position)
        return self.position.astype(np.float32), {}

    def step(self, action: Array) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Moves the point by ``action`` ``[2]``."""
        if self.position is None:
            raise RuntimeError("PointEnv.step: call reset first")
        self.position = _move("PointEnv", self.position, action)
        self._visited.append(self.position)
        return self.position.astype(np.float32), -float(_distance(self.position)), False, False, {}

    def render(self) -> Any:
        """The picture ``[400, 400, 3]`` uint8, newly allocated; None without a render mode."""
        if self.render_mode is None:
            return None
        if self.position is None:
            raise RuntimeError("PointEnv.render: call reset first")
        return draw_point(self.position, np.array(self._visited) if self.trail else None)


class PointVectorEnv(VectorEnv[Array, Array, Array]):
    """``num_envs`` copies of :class:`PointEnv` in NumPy, with the time limit: the same numbers, bit for bit.

    Environment i has a random number generator of its own, as Gymnasium's ``SyncVectorEnv`` gives it one; so both tell
    the same story from the same seeds, in every autoreset mode.

    ``positions`` ``[N, 2]`` float64 is the state and may be set. Raises ``ValueError`` and ``RuntimeError`` as
    :class:`PointEnv` does, and ``RuntimeError`` for a step of an ended episode if autoreset is disabled.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        max_episode_steps: int = _MAX_EPISODE_STEPS,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    ) -> None:
        if num_envs < 1 or max_episode_steps < 1:
            raise ValueError(
                f"PointVectorEnv: num_envs and max_episode_steps must be at least 1, got {num_envs} and "
                f"{max_episode_steps}"
            )
        self.metadata = {"autoreset_mode": AutoresetMode(autoreset_mode)}
        self.num_envs = num_envs
        self.max_episode_steps = max_episode_steps
        self.single_observation_space = _box(1.0)
        self.single_action_space = _box(_LARGEST_MOVE)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.positions: NDArray[np.float64] | None = None
        self._mode = AutoresetMode(autoreset_mode)
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._steps = np.zeros(num_envs, np.int64)
        self._ended = np.zeros(num_envs, np.bool_)

    def reset(
        self, *, seed: int | list[int] | Array | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Starts new episodes. ``seed``: one per environment, or an int for seed, seed + 1, ...; None goes on with the
        generators as they are. ``options={"reset_mask": mask}`` with ``[N]`` bool resets these environments alone."""
        options = options or {}
        if set(options) - {"reset_mask"}:
            raise ValueError(f'PointVectorEnv.reset: the only option is "reset_mask", got {sorted(options)}')
        mask = np.asarray(options.get("reset_mask", np.ones(self.num_envs, np.bool_)))
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise ValueError(
                f"PointVectorEnv.reset: reset_mask must be bool of shape ({self.num_envs},) and True somewhere, "
                f"got {mask.dtype} {mask.shape}"
            )
        if seed is not None:
            seeds = np.asarray(seed).tolist()
            if isinstance(seeds, int):
                seeds = list(range(seeds, seeds + self.num_envs))
            if len(seeds) != self.num_envs:
                raise ValueError(f"PointVectorEnv.reset: {self.num_envs} seeds are needed, got {len(seeds)}")
            for index in np.flatnonzero(mask):
                self._generators[index], _ = seeding.np_random(seeds[index])
        if self.positions is None:
            self.positions = np.zeros((self.num_envs, 2))
            mask = np.ones_like(mask)
        self._restart(mask)
        return self.positions.astype(np.float32), {}

    def step(self, actions: Array) -> tuple[Array, Array, BoolArray, BoolArray, dict[str, Any]]:
        """One step of every environment, with ``actions`` ``[N, 2]``; all that it gives is newly allocated."""
        if self.positions is None:
            raise RuntimeError("PointVectorEnv.step: call reset first")
        over = self._ended
        any_over = over.any()
        if any_over and self._mode is AutoresetMode.DISABLED:
            raise RuntimeError(
                f"PointVectorEnv.step: the episodes of environments {np.flatnonzero(over).tolist()} have ended; "
                'reset them with options={"reset_mask": mask}'
            )
        before = self.positions
        self.positions = _move("PointVectorEnv", before, actions)
        self._steps += 1
        rewards = -_distance(self.positions)
        truncated = self._steps >= self.max_episode_steps
        infos: dict[str, Any] = {}
        if any_over:  # NEXT_STEP: these rows only reset
            self._restart(over)
            rewards[over] = 0.0
            truncated &= ~over
        self._ended = truncated
        observations = self.positions.astype(np.float32)
        if self._mode is AutoresetMode.SAME_STEP and truncated.any():
            for index in np.flatnonzero(truncated):
                infos = self._add_info(infos, {"final_obs": observations[index].copy(), "final_info": {}}, int(index))
            self._restart(truncated)
            observations = self.positions.astype(np.float32)
        return observations, rewards, np.zeros(self.num_envs, np.bool_), truncated.copy(), infos

    def _restart(self, mask: BoolArray) -> None:
        assert self.positions is not None
        for index in np.flatnonzero(mask):
            generator = self._generators[index]
            if generator is None:
                generator = self._generators[index] = seeding.np_random()[0]
            self.positions[index] = _start(generator)
        self._steps[mask] = 0
        self._ended = self._ended & ~mask
