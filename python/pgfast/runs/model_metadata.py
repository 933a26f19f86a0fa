"""The metadata of model files and checkpoints: algorithm, environment, settings, spaces and counts."""

from __future__ import annotations

from dataclasses import asdict, fields
from importlib.metadata import version
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec

from pgfast.envs.spaces import SpaceInfo
from pgfast.learning.settings import MemorySettings, Settings
from pgfast.state import MAX_COUNT

__all__ = ["MODEL_FORMAT", "OLDER_SETTINGS", "ModelMetadata", "StoredCount", "checked_settings"]

S = TypeVar("S", bound=Settings)

_VERSION = version("pgfast")  # found here, as it imports modules, and reading a file must not

MODEL_FORMAT = 4
"""Every later version reads the formats from 3 on: a setting that a file lacks takes its default or the value below."""
OLDER_SETTINGS: dict[str, Any] = {"action_scaling": False}
"""The value of a setting in files that are older than it, unless it is the default."""

StoredCount: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]


class ModelMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """The algorithm, environment, settings and spaces of a model, and how far it has been trained."""

    algo: str
    env_id: str | None
    settings: dict[str, Any]
    space: SpaceInfo
    timesteps: StoredCount
    updates: StoredCount
    format: int = MODEL_FORMAT
    pgfast: str = _VERSION

    @classmethod
    def parse(cls, content: dict[str, Any]) -> ModelMetadata:
        """The metadata among the content of a file. Raises ``ValueError`` if it is not whole or of another format."""
        if content.get("format") not in range(3, MODEL_FORMAT + 1):
            raise ValueError(
                f"was written in format {content.get('format')!r:.40} by pgfast {content.get('pgfast')!s:.40}; "
                f"pgfast {_VERSION} reads formats 3 to {MODEL_FORMAT}"
            )
        if content["format"] == 3:
            content = {**content, "format": MODEL_FORMAT, "space": _space_of_format_3(content["space"])}
        metadata = msgspec.convert(content, cls)
        metadata.space.check()
        return metadata

    def require_same_policy(self, settings: Settings, space: SpaceInfo) -> None:
        """Raises ``ValueError`` unless the model's parameters mean the same in an agent with these settings."""
        if not space.action.fits(self.space.action) or not space.observation.fits(self.space.observation):
            raise ValueError(f"the model is of {self.space}, the environment has {space}")
        of_mlp = ("hidden_sizes", "activation", "state_dependent_std")
        names = ("network", "layer_norm", "memory", "memory_size", *of_mlp)
        of_model, of_agent = (
            MemorySettings(**{name: given[name] for name in names if name in given})  # what is missing has its default
            for given in (self.settings, vars(settings))
        )
        compared = [name for name in names if name not in of_mlp or of_agent.network in ("auto", "mlp")]
        if of_agent.memory == of_model.memory == "none":
            compared.remove("memory_size")
        for name in compared:
            given, expected = getattr(of_model, name), getattr(of_agent, name)
            if given != expected:
                raise ValueError(f"the model has {name} {given}, this agent {expected}")
        expected, given = settings.action_scaling, (OLDER_SETTINGS | self.settings)["action_scaling"]
        if given != expected and (space if expected else self.space).action.is_scalable:
            raise ValueError(f"the model has action_scaling {given}, this agent {expected}")

    def as_json(self) -> dict[str, Any]:
        """The metadata as JSON values."""
        return {**msgspec.structs.asdict(self), "space": asdict(self.space)}


class _Space3(msgspec.Struct, frozen=True):
    """The spaces of a file in format 3: observations are one Box."""

    observation_shape: tuple[int, ...]
    byte_observations: bool
    action: dict[str, Any]


def _space_of_format_3(space: Any) -> dict[str, Any]:
    found = msgspec.convert(space, _Space3)
    bounds = {"dtype": "uint8", "low": 0, "high": 255} if found.byte_observations else {"dtype": "float32"}
    leaf = {"path": (), "kind": "box", "shape": found.observation_shape, **bounds}
    component = {"path": (), **found.action}
    return {"observation": {"leaves": [leaf]}, "action": {"components": [component]}}


def checked_settings(settings_type: type[S], settings: dict[str, Any], algo: str, written_by: str) -> S:
    """The settings of a file; one that it lacks takes the value that older versions had.

    Raises ``TypeError`` or ``ValueError`` for an unknown setting, which names the version ``written_by`` and this one,
    or for a value that is not allowed.
    """
    unknown = settings.keys() - {field.name for field in fields(settings_type)}
    if unknown:
        raise ValueError(
            f"has settings that {algo} does not have in pgfast {_VERSION}: "
            f"{', '.join(sorted(unknown)):.200}; it was written by pgfast {written_by:.40}"
        )
    return settings_type(**(OLDER_SETTINGS | settings))
