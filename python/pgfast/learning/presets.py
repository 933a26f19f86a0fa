"""Presets: tuned settings from the TOML files of pgfast.presets, and how the settings of an agent resolve."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from dataclasses import fields
from importlib import resources
from typing import Any, TypeVar

from pgfast.envs.atari import is_atari
from pgfast.envs.registration import env_spec
from pgfast.learning.settings import Settings

__all__ = ["closest_setting", "find_preset", "preset_names", "preset_timesteps", "presets", "resolve_settings"]

S = TypeVar("S", bound=Settings)

_DEFAULT_TIMESTEPS = 1_000_000
# The words of other libraries for our settings.
_SYNONYMS = {
    **dict.fromkeys(("gamma", "discount_factor"), "discount"),
    **dict.fromkeys(("lr", "step_size"), "learning_rate"),
    **dict.fromkeys(("vf_coef", "value_loss_coef"), "value_coef"),
    **dict.fromkeys(("ent_coef", "entropy_loss_coef", "entropy_beta"), "entropy_coef"),
    **dict.fromkeys(("net_arch", "hidden_size", "hidden_layers"), "hidden_sizes"),
    **dict.fromkeys(("n_envs", "num_workers", "nenvs"), "num_envs"),
    **dict.fromkeys(("num_steps", "nsteps", "rollout_length"), "n_steps"),
    **dict.fromkeys(("lam", "lambda_"), "gae_lambda"),
    **dict.fromkeys(("target_kl", "delta"), "max_kl"),
    **dict.fromkeys(("cg_max_steps", "cg_iters"), "cg_iterations"),
    **dict.fromkeys(("cg_damping",), "damping"),
    **dict.fromkeys(("norm_obs", "obs_norm"), "normalize_observations"),
    **dict.fromkeys(("norm_reward", "rew_norm"), "normalize_rewards"),
    **dict.fromkeys(("normalize_advantage", "norm_adv"), "normalize_advantages"),
    **dict.fromkeys(("activation_fn",), "activation"),
}


def presets(algo: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Settings by preset name and environment id; the id "atari" stands for every Atari game without its own table."""
    text = (resources.files("pgfast.presets") / f"{algo}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def preset_names(algo: str, env_id: str) -> list[str]:
    """The names of an algorithm's presets for an environment id."""
    keys = _keys(env_id)
    return [name for name, table in presets(algo).items() if any(key in table for key in keys)]


def preset_timesteps(algo: str, env_id: str | None, preset: str | None) -> int:
    """The length of the runs that a preset is tuned for, in timesteps."""
    return int(_preset(algo, env_id, preset).get("total_timesteps", _DEFAULT_TIMESTEPS))


def resolve_settings(
    settings_type: type[S], algo: str, env_id: str | None, preset: str | None, given: dict[str, Any]
) -> S:
    """Settings from ``given``, else from the preset of the algorithm and the id, else the dataclass's defaults.

    ``preset`` is the name of a preset for the id, or the id of another task, whose default preset is taken.

    Raises:
        TypeError: for a setting that the algorithm does not have.
        ValueError: for an unknown preset, or a value out of bounds.
    """
    known = [field.name for field in fields(settings_type)]
    for name in given:
        if name not in known:
            close = closest_setting(name, known)
            hint = f"; did you mean {close}?" if close else f"; it has {', '.join(known)}"
            raise TypeError(f"{algo} has no setting {name}{hint}")
    tuned = _preset(algo, env_id, preset)
    return settings_type(**{name: value for name, value in tuned.items() if name != "total_timesteps"} | given)


def closest_setting(name: str, known: Sequence[str]) -> str | None:
    """The known setting that an unknown name stands for in other libraries, else the one of the most similar name."""
    synonym = _SYNONYMS.get(name)
    return synonym if synonym in known else next(iter(difflib.get_close_matches(name, known, 1)), None)


def find_preset(algo: str, env_id: str | None, preset: str | None) -> dict[str, Any] | None:
    """The settings of a preset: one of the id's, or the default of the task ``preset``. None if there is neither."""
    if preset is None:
        return None
    tables = presets(algo)
    for key in () if env_id is None else _keys(env_id):
        if key in tables.get(preset, {}):
            return tables[preset][key]
    return tables.get("default", {}).get(preset)


def _preset(algo: str, env_id: str | None, preset: str | None) -> dict[str, Any]:
    found = find_preset(algo, env_id, preset)
    if found is not None or preset in (None, "default"):
        return found or {}
    names = "none" if env_id is None else ", ".join(preset_names(algo, env_id)) or "none"
    tasks = ", ".join(presets(algo).get("default", {}))
    raise ValueError(
        f'no preset "{preset}" of {algo} for {env_id or "an environment without an id"}; available: {names}, or the id '
        f"of another task: {tasks}"
    )


def _keys(env_id: str) -> tuple[str, ...]:
    return (env_id, "atari") if is_atari(env_spec(env_id)) else (env_id,)
