"""An environment's spaces as plain data, which model files store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gymnasium import spaces

from pgfast.envs.actions import ActionInfo
from pgfast.envs.observations import ObservationInfo

__all__ = ["SpaceInfo"]


@dataclass(frozen=True)
class SpaceInfo:
    """An observation space and an action space."""

    observation: ObservationInfo
    action: ActionInfo

    @classmethod
    def of(cls, observation: spaces.Space[Any], action: spaces.Space[Any]) -> SpaceInfo:
        """Raises ``ValueError`` for observations or actions of a kind or a size that no agent supports."""
        info = cls(ObservationInfo.of(observation), ActionInfo.of(action))
        info.check()
        return info

    def check(self) -> None:
        """Raises ``ValueError`` for spaces that no agent supports."""
        self.observation.check()
        self.action.check()

    def fits(self, other: SpaceInfo) -> bool:
        """Whether an agent for these spaces can act in environments with those of ``other``."""
        return self.observation.fits(other.observation) and self.action == other.action

    def __str__(self) -> str:
        return f"observations {self.observation} and actions {self.action}"
