"""Presets: tuned settings from the TOML files of pgfast.presets, and how the settings of an agent resolve."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import resources
from typing import Any, TypeVar

from pgfast.envs.atari import is_atari
from pgfast.envs.registration import env_spec
from pgfast.envs.source import EnvironmentSource
from pgfast.learning.settings import Settings
from pgfast.nn import NetworkSpec

__all__ = [
    *("DEFAULT_TIMESTEPS", "GENERAL", "Preset", "closest_setting", "find_preset", "presets"),
    *("require_known", "resolve_settings"),
]

S = TypeVar("S", bound=Settings)

GENERAL = "general"
"""The name of the presets for all tasks of a kind."""
DEFAULT_TIMESTEPS = 1_000_000
"""Length of a run without a preset."""
_SMALL_IMAGE = 32  # pixels of an axis below which an image is a grid of codes rather than a picture
# The words of other libraries for our settings.
_SYNONYMS = {
    **dict.fromkeys(("gamma", "discount_factor"), "discount"),
    **dict.fromkeys(("lr", "step_size"), "learning_rate"),
    **dict.fromkeys(("vf_coef", "value_loss_coef"), "value_coef"),
    **dict.fromkeys(("ent_coef", "entropy_loss_coef", "entropy_beta"), "entropy_coef"),
    **dict.fromkeys(("net_arch", "hidden_size", "hidden_layers"), "hidden_sizes"),
    **dict.fromkeys(("n_envs", "nenvs"), "num_envs"),
    **dict.fromkeys(("num_steps", "nsteps", "rollout_length"), "n_steps"),
    **dict.fromkeys(("lam", "lambda_"), "gae_lambda"),
    **dict.fromkeys(("n_epochs", "update_epochs", "num_sgd_iter", "k_epochs"), "num_epochs"),
    **dict.fromkeys(("batch_size", "mini_batch_size", "sgd_minibatch_size"), "minibatch_size"),
    **dict.fromkeys(("clip_coef", "clip_param", "clip_ratio", "eps_clip"), "clip_range"),
    **dict.fromkeys(("clip_range_vf", "vf_clip_param", "value_clip"), "value_clip_range"),
    **dict.fromkeys(("target_kl", "delta"), "max_kl"),
    "max_kl": "target_kl",
    **dict.fromkeys(("cg_max_steps", "cg_iters"), "cg_iterations"),
    **dict.fromkeys(("cg_damping",), "damping"),
    **dict.fromkeys(("kfac_clip",), "max_kl"),
    **dict.fromkeys(("kfac_update",), "inverse_every"),
    **dict.fromkeys(("stats_decay",), "factor_decay"),
    **dict.fromkeys(("norm_obs", "obs_norm"), "normalize_observations"),
    **dict.fromkeys(("norm_reward", "rew_norm"), "normalize_rewards"),
    **dict.fromkeys(("normalize_advantage", "norm_adv"), "normalize_advantages"),
    **dict.fromkeys(("activation_fn",), "activation"),
}


@dataclass(frozen=True)
class Preset:
    """Tuned settings, and the length of the runs that they are tuned for."""

    name: str
    settings: Mapping[str, Any]
    total_timesteps: int = DEFAULT_TIMESTEPS


def presets(algo: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Settings by preset name and environment id, or by kind of task for the name "general".

    The id "atari" stands for every Atari game without its own table.
    """
    text = (resources.files("pgfast.presets") / f"{algo}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def find_preset(algo: str, source: EnvironmentSource, name: str | None, given: Mapping[str, Any]) -> Preset | None:
    """Returns the preset of a task.

    Args:
        algo: the algorithm.
        source: makes the environments of the task; makes one if the preset depends on their spaces.
        name: that of a preset for the id; "default" for the preset of the id, or the general one for its kind of task
            if there is none; "general" for the latter in any case; or the id of another task, whose default preset is
            taken. None for no preset.
        given: the user's settings. With memory, the general settings of tasks with memory come on top.

    Raises:
        ValueError: for an unknown name.
    """
    if name is None:
        return None
    tables, keys = presets(algo), () if source.task_id is None else _keys(source.task_id)
    of_name = {} if name == GENERAL else tables.get(name, {})
    found = next((of_name[key] for key in keys if key in of_name), tables["default"].get(name))
    if found is None and name not in ("default", GENERAL):
        names = [other for other, table in tables.items() if any(key in table for key in keys)]
        raise ValueError(
            f'no preset "{name}" of {algo} for {source.task_id or "an environment without an id"}; available: '
            f"{', '.join(dict.fromkeys([*names, GENERAL]))}, or that of another task: {', '.join(tables['default'])}"
        )
    if found is None:
        name, found = GENERAL, tables[GENERAL][_kind(source, given)]
    settings = found | (tables[GENERAL].get("memory", {}) if given.get("memory", "none") != "none" else {})
    if isinstance(given.get("network"), NetworkSpec):
        settings.pop("separate_value_network", None)  # the description says itself whether there is a second one
    return Preset(name, settings, int(settings.pop("total_timesteps", DEFAULT_TIMESTEPS)))


def _kind(source: EnvironmentSource, given: Mapping[str, Any]) -> str:
    """The kind of a task, by which the general preset goes."""
    space = source.space_info(given.get("action_mask", "none"))
    images = [leaf.shape for leaf in space.observation.leaves if leaf.is_image]
    if images and given.get("network") != "mlp":
        return "grids" if min(min(sorted(shape)[-2:]) for shape in images) < _SMALL_IMAGE else "images"
    if any(component.kind == "box" for component in space.action.components):
        return "continuous"
    return "discrete" if any(leaf.kind == "box" for leaf in space.observation.leaves) else "tabular"


def require_known(settings_type: type[Settings], algo: str, names: Iterable[str]) -> None:
    """Raises ``TypeError`` for the name of a setting that the algorithm does not have."""
    known = [field.name for field in fields(settings_type)]
    for name in names:
        if name not in known:
            close = closest_setting(name, known)
            hint = f"; did you mean {close}?" if close else f"; it has {', '.join(known)}"
            raise TypeError(f"{algo} has no setting {name}{hint}")


def resolve_settings(settings_type: type[S], preset: Preset | None, given: Mapping[str, Any]) -> S:
    """Settings from ``given``, else from the preset, else the dataclass's defaults.

    Raises:
        ValueError: for a value out of bounds.
    """
    return settings_type(**{**(preset.settings if preset else {}), **given})


def closest_setting(name: str, known: Sequence[str]) -> str | None:
    """The known setting that an unknown name stands for in other libraries, else the one of the most similar name."""
    synonym = _SYNONYMS.get(name)
    return synonym if synonym in known else next(iter(difflib.get_close_matches(name, known, 1)), None)


def _keys(env_id: str) -> tuple[str, ...]:
    return (env_id, "atari") if is_atari(env_spec(env_id)) else (env_id,)
