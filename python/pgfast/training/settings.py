"""Settings that every algorithm shares, and where their values come from."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, fields, replace
from importlib import resources
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pgfast.envs.atari import is_atari
from pgfast.envs.make import env_spec

__all__ = ["Settings", "preset_names", "preset_timesteps", "resolve_settings"]

S = TypeVar("S", bound="Settings")

_DEFAULT_TIMESTEPS = 1_000_000
_AT_LEAST_ONE = ("num_envs", "n_steps", "sync_every", "report_every", "schedule_timesteps")
_FRACTIONS = ("discount", "gae_lambda")
_POSITIVE = ("max_grad_norm",)
_NOT_NEGATIVE = ("learning_rate", "entropy_coef", "value_coef")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every algorithm has. Construction raises ``ValueError`` for a value out of range."""

    seed: int = 0
    """Seed of everything random in the run."""
    sync_every: int = 100_000
    """Timesteps between synchronisation points, where environments start anew and an exact checkpoint is saved."""
    report_every: int = 10_000
    """Timesteps between rows of progress.csv."""
    vectorization: Literal["auto", "sync", "async"] = "auto"
    """How single environments are made a vector: in this process, or one process each ("async")."""

    def __post_init__(self) -> None:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal and values[name] not in get_args(kind):
                choices = ", ".join(f'"{choice}"' for choice in get_args(kind))
                raise ValueError(f"{name} must be one of {choices}, got {values[name]!r}")
        for name in _AT_LEAST_ONE:
            if values.get(name) is not None and values[name] < 1:
                raise ValueError(f"{name} must be at least 1, got {values[name]}")
        for name in _FRACTIONS:
            if name in values and not 0.0 <= values[name] <= 1.0:
                raise ValueError(f"{name} must be in [0, 1], got {values[name]}")
        for name in _POSITIVE:
            if name in values and not 0.0 < values[name] < float("inf"):
                raise ValueError(f"{name} must be positive and finite, got {values[name]}")
        for name in _NOT_NEGATIVE:
            if name in values and not 0.0 <= values[name] < float("inf"):
                raise ValueError(f"{name} must be at least 0 and finite, got {values[name]}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be in [0, 2^63), got {self.seed}")
        if any(size < 1 for size in values.get("hidden_sizes", ())):
            raise ValueError(f"hidden_sizes must be at least 1 each, got {values['hidden_sizes']}")
        if values.get("learning_rate_schedule") == "linear" and values.get("schedule_timesteps") is None:
            raise ValueError('learning_rate_schedule "linear" needs schedule_timesteps')


def _presets(algo: str) -> dict[str, dict[str, dict[str, Any]]]:
    """preset name -> environment id (or "atari" for every game without its own) -> settings."""
    text = (resources.files("pgfast.presets") / f"{algo}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def preset_names(algo: str, env_id: str) -> list[str]:
    """Names of the presets that an algorithm has for an environment id."""
    keys = (env_id, "atari") if is_atari(env_spec(env_id)) else (env_id,)
    return [name for name, table in _presets(algo).items() if any(key in table for key in keys)]


def preset_timesteps(algo: str, env_id: str, preset: str | None) -> int:
    """Length of a run that a preset is meant for."""
    chosen = {} if preset is None else _preset(algo, env_id, preset)
    return int(chosen.get("total_timesteps", _DEFAULT_TIMESTEPS))


def _preset(algo: str, env_id: str, preset: str) -> dict[str, Any]:
    table = _presets(algo).get(preset, {})
    if env_id in table:
        return table[env_id]
    if is_atari(env_spec(env_id)) and "atari" in table:
        return table["atari"]
    if preset == "default":
        return {}
    names = ", ".join(preset_names(algo, env_id)) or "none"
    raise ValueError(f'no preset "{preset}" of {algo} for {env_id}; there is: {names}')


def resolve_settings(
    settings_type: type[S], algo: str, env_id: str | None, preset: str | None, given: dict[str, Any]
) -> S:
    """Settings from what is given, else the preset of (algorithm, id), else the dataclass.

    Raises ``TypeError`` for a setting that the algorithm does not have, ``ValueError`` for an unknown preset or a value
    out of range.
    """
    known = [field.name for field in fields(settings_type)]
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]}?" if close else f"; it has {', '.join(known)}"
            raise TypeError(f"{algo} has no setting {name}{hint}")
    base = {} if env_id is None or preset is None else dict(_preset(algo, env_id, preset))
    base.pop("total_timesteps", None)
    return replace(settings_type(), **as_field_types({**base, **given}))


def as_field_types(values: dict[str, Any]) -> dict[str, Any]:
    """Lists from TOML or JSON as the tuples that settings hold."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
