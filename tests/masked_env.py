"""An environment that forbids actions, and fails if one of them is taken."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import gymnasium
import numpy as np
from gymnasium import spaces

__all__ = ["MaskedEnv"]

Place = Literal["info", "observation", "method"]
SPACES = {
    "discrete": spaces.Discrete(5, start=-2),
    "multi_discrete": spaces.MultiDiscrete([3, 1, 4], start=[0, 7, -1]),
    "multi_binary": spaces.MultiBinary(3),
}


class MaskedEnv(gymnasium.Env[Any, Any]):
    """Draws a new mask at every step, and raises if the action is not among the allowed ones.

    An episode takes between one and four steps. Its last mask is as ``last`` says: "missing", "empty", or "nothing",
    which allows no action.

    Args:
        place: where the mask is found.
        kind: of the action space.
        form: "flat" or "tuple", an array for each group.
        last: the mask that comes with an episode's last observation.
        truncate: whether episodes are truncated or terminate.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 5}

    def __init__(
        self,
        place: Place = "info",
        kind: str = "discrete",
        form: str = "flat",
        last: str = "empty",
        truncate: bool = True,
        render_mode: str | None = None,
    ) -> None:
        self.place, self.form, self.last, self.truncate, self.render_mode = place, form, last, truncate, render_mode
        self.action_space = SPACES[kind]
        self.sizes = [int(self.action_space.n)] if kind == "discrete" else [2] * 3
        if isinstance(self.action_space, spaces.MultiDiscrete):
            self.sizes = self.action_space.nvec.tolist()
        self.observation_space: Any = spaces.Box(-1, 1, (3,))
        if place == "observation":
            mask = spaces.Box(0, 1, (sum(self.sizes),), np.int8)
            self.observation_space = spaces.Dict({"observation": self.observation_space, "action_mask": mask})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 5))
        return self._results()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.left == 0:
            raise RuntimeError("the episode is over")
        first = getattr(self.action_space, "start", 0)
        for group, choice in zip(self.mask, np.ravel(np.asarray(action) - first), strict=True):
            if not group[choice]:
                raise RuntimeError(f"action {action} is forbidden by {self.mask}")
        self.left -= 1
        observation, info = self._results()
        is_over = self.left == 0
        return observation, 1.0, is_over and not self.truncate, is_over and self.truncate, info

    def action_masks(self) -> Any:
        if self.place != "method":
            raise AttributeError("the masks are elsewhere")
        if self.left == 0 and self.last == "missing":
            raise RuntimeError("the episode is over")
        return self._given()

    def render(self) -> Any:
        return np.full((16, 16, 3), 40 * self.left, np.uint8)

    def _results(self) -> tuple[Any, dict[str, Any]]:
        self.mask = [self.np_random.random(size) < 0.5 for size in self.sizes]
        for group in self.mask:
            group[self.np_random.integers(group.size)] = True
        observation = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        if self.place == "observation":
            return {"observation": observation, "action_mask": self._given()}, {}
        if self.place == "method" or (self.left == 0 and self.last == "missing"):
            return observation, {}
        return observation, {"action_mask": self._given()}

    def _given(self) -> Any:
        groups = [group.astype(np.int8) for group in self.mask]
        if self.left == 0:
            if self.last == "empty" and self.place != "observation":
                return np.zeros(0, np.int8)
            groups = [0 * group for group in groups]
        return tuple(groups) if self.form == "tuple" else np.concatenate(groups)
