"""Settings that every algorithm shares, and where their values come from."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Hashable
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import resources
from numbers import Integral, Real
from types import UnionType
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

import numpy as np

from pgfast.envs.atari import is_atari
from pgfast.envs.make import env_spec

__all__ = [
    "OptimizerSettings",
    "PolicySettings",
    "SecondOrderSettings",
    "Settings",
    "preset_names",
    "preset_timesteps",
    "presets",
    "resolve_settings",
]

S = TypeVar("S", bound="Settings")

_DEFAULT_TIMESTEPS = 1_000_000
_AT_LEAST_ONE = (
    *("num_envs", "n_steps", "sync_every", "report_every", "schedule_timesteps", "value_epochs", "value_batch_size"),
    *("cg_iterations", "fisher_subsample", "line_search_steps"),
)
_AT_MOST = {"num_envs": 2**16, "n_steps": 2**24, "value_batch_size": 2**24, "value_epochs": 2**16}
_FRACTIONS = ("discount", "gae_lambda")
_POSITIVE = ("max_grad_norm", "max_kl", "backtrack_ratio", "env_timeout")
_NOT_NEGATIVE = ("learning_rate", "entropy_coef", "value_coef", "value_learning_rate", "damping")
_LOG_STD_LIMIT = 20.0  # exp(20) is half a billion


@cache
def _type_hints(settings_type: Hashable) -> dict[str, Any]:
    """Evaluated once: settings also come from files, and nothing is evaluated while one is read."""
    return get_type_hints(settings_type)


def _as_declared(name: str, value: Any, kind: Any) -> Any:
    """A value as its type hint has it: whole numbers for float, NumPy's numbers and lists are taken.

    Raises ``TypeError``, or ``ValueError`` for a number too large for float.
    """
    if get_origin(kind) is UnionType:
        if value is None:
            return None
        (kind,) = (part for part in get_args(kind) if part is not type(None))
    if get_origin(kind) is tuple:
        if isinstance(value, (tuple, list)):
            return tuple(_as_declared(name, entry, get_args(kind)[0]) for entry in value)
    elif get_origin(kind) is Literal:
        return value  # looked up among the choices
    elif kind is bool:
        if isinstance(value, (bool, np.bool_)):
            return bool(value)
    elif kind is int:
        if isinstance(value, Integral) and not isinstance(value, bool):
            return int(value)
    elif kind is float:
        if isinstance(value, Real) and not isinstance(value, bool):
            try:
                return float(value)
            except OverflowError:
                raise ValueError(f"{name} is too large for a float: {value!r:.40}") from None
    elif isinstance(value, kind):
        return value
    expected = "a tuple of int" if get_origin(kind) is tuple else f"{kind.__name__}"
    raise TypeError(f"{name} must be {expected}, got {type(value).__name__} {value!r:.40}")


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
    num_envs: int = 16
    """Environments stepped in parallel."""
    n_steps: int = 20
    """Steps of each environment per update."""
    discount: float = 0.99
    """Discount factor, in [0, 1]."""
    gae_lambda: float = 1.0
    """Decay of generalized advantage estimation; 1 gives Monte Carlo advantages, as far as the rollout reaches."""
    normalize_advantages: bool = False
    """Shift and scale the advantages of each batch to mean 0 and standard deviation 1."""
    normalize_observations: bool = False
    """Bring observations to mean 0 and standard deviation 1 by running statistics."""
    normalize_rewards: bool = False
    """Divide rewards by the running standard deviation of the discounted return."""
    network: Literal["mlp", "origin_cnn", "nature_cnn"] = "mlp"
    """Architecture of the network."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Units of the hidden layers of an mlp; none makes it linear."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Activation of the hidden layers of an mlp."""
    log_std_init: float = 0.0
    """Initial log standard deviation of the actions of a Box space."""
    state_dependent_std: bool = False
    """Make the log standard deviations of a Box space outputs of the network, instead of parameters of their own."""
    init_from: str | None = None
    """Model file, checkpoint or run directory whose parameters and normalizers to start from."""
    on_nonfinite: Literal["raise", "skip"] = "raise"
    """What to do where an observation, a reward, the loss or the gradient is not finite: end the training, or leave the
    update out and start new games; ten in a row end it too."""
    max_env_restarts: int = 0
    """Worker processes that may be replaced in a run because their environment raised, died or hung; needs
    vectorization "async"."""
    env_timeout: float | None = None
    """Seconds that a step of an environment may take. A worker that takes longer fails; without workers the process
    ends, with the stacks of all threads."""

    @property
    def plays_whole_episodes(self) -> bool:
        """Whether every rollout starts afresh and plays its episodes to their end."""
        return False

    def __post_init__(self) -> None:
        hints = _type_hints(cast(Hashable, type(self)))
        for field in fields(self):
            value = _as_declared(field.name, getattr(self, field.name), hints[field.name])
            object.__setattr__(self, field.name, value)
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, kind in hints.items():
            if get_origin(kind) is Literal and values[name] not in get_args(kind):
                choices = ", ".join(f'"{choice}"' for choice in get_args(kind))
                raise ValueError(f"{name} must be one of {choices}, got {values[name]!r}")
        for name in _AT_LEAST_ONE:
            if values.get(name) is not None and values[name] < 1:
                raise ValueError(f"{name} must be at least 1, got {values[name]}")
        for name, most in _AT_MOST.items():
            if name in values and values[name] > most:
                raise ValueError(f"{name} must be at most {most:,}, got {values[name]:,}")
        for name in _FRACTIONS:
            if name in values and not 0.0 <= values[name] <= 1.0:
                raise ValueError(f"{name} must be in [0, 1], got {values[name]}")
        for name in _POSITIVE:
            if values.get(name) is not None and not 0.0 < values[name] < float("inf"):
                raise ValueError(f"{name} must be positive and finite, got {values[name]}")
        for name in _NOT_NEGATIVE:
            if name in values and not 0.0 <= values[name] < float("inf"):
                raise ValueError(f"{name} must be at least 0 and finite, got {values[name]}")
        if self.max_env_restarts < 0:
            raise ValueError(f"max_env_restarts must be at least 0, got {self.max_env_restarts}")
        if self.max_env_restarts and self.vectorization != "async":
            raise ValueError('max_env_restarts needs worker processes, which vectorization "async" makes')
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be in [0, 2^63), got {self.seed}")
        if any(size < 1 for size in values.get("hidden_sizes", ())):
            raise ValueError(f"hidden_sizes must be at least 1 each, got {values['hidden_sizes']}")
        if not -_LOG_STD_LIMIT <= self.log_std_init <= _LOG_STD_LIMIT:
            raise ValueError(f"log_std_init must be in [-{_LOG_STD_LIMIT}, {_LOG_STD_LIMIT}], got {self.log_std_init}")
        if not 0.0 < values.get("backtrack_ratio", 0.5) < 1.0:
            raise ValueError(f"backtrack_ratio must be in (0, 1), got {values['backtrack_ratio']}")
        if values.get("learning_rate_schedule") == "linear" and values.get("schedule_timesteps") is None:
            raise ValueError('learning_rate_schedule "linear" needs schedule_timesteps')


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """What the algorithms have that step along a gradient."""

    learning_rate: float = 1e-3
    """Step size of the optimizer."""
    learning_rate_schedule: Literal["constant", "linear"] = "constant"
    """"linear" lets the learning rate fall to 0 at schedule_timesteps."""
    schedule_timesteps: int | None = None
    """Where a linear schedule ends; required with "linear", unchanged by resume."""
    optimizer: Literal["sgd", "adam", "rmsprop"] = "adam"
    """Update rule; "adam" has epsilon 1e-5, "rmsprop" is PyTorch's form, decay 0.99, epsilon 1e-5."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""


@dataclass(frozen=True, kw_only=True)
class PolicySettings(Settings):
    """What the algorithms of a policy with a separate baseline have."""

    num_envs: int = 16
    """Environments stepped in parallel."""
    n_steps: int = 128
    """Steps of each environment per update; with whole episodes, num_envs x n_steps is the least of the batch."""
    gae_lambda: float = 0.98
    """Decay of generalized advantage estimation; 1 gives Monte Carlo advantages, as far as the rollout reaches."""
    normalize_advantages: bool = True
    """Shift and scale the advantages of each batch to mean 0 and standard deviation 1."""
    baseline: Literal["zero", "time", "linear", "mlp"] = "mlp"
    """What is subtracted from returns: nothing, the mean return of each time, or a fitted function of the state."""
    value_learning_rate: float = 1e-3
    """Step size of Adam for the mlp baseline."""
    value_epochs: int = 10
    """Passes over each batch for the mlp baseline."""
    value_batch_size: int = 64
    """Rows of a minibatch for the mlp baseline."""
    whole_episodes: bool | None = None
    """Start every rollout afresh and play its episodes to their end; None: with the baselines "zero" and "time"."""

    @property
    def plays_whole_episodes(self) -> bool:
        """``whole_episodes``, its default resolved."""
        return self.baseline in ("zero", "time") if self.whole_episodes is None else self.whole_episodes


@dataclass(frozen=True, kw_only=True)
class SecondOrderSettings(PolicySettings):
    """Settings of the algorithms that step along a natural gradient."""

    max_kl: float = 0.01
    """Radius of a step: the mean KL divergence of the old policy from the new, in nats."""
    damping: float = 0.1
    """Added to the diagonal of the Fisher matrix."""
    cg_iterations: int = 10
    """Most iterations of conjugate gradient."""
    fisher_subsample: int = 1
    """Take one row in so many, chosen at random, for the Fisher matrix; 1 takes all."""


def presets(algo: str) -> dict[str, dict[str, dict[str, Any]]]:
    """preset name -> environment id (or "atari" for every game without its own) -> settings."""
    text = (resources.files("pgfast.presets") / f"{algo}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def preset_names(algo: str, env_id: str) -> list[str]:
    """Names of the presets that an algorithm has for an environment id."""
    keys = (env_id, "atari") if is_atari(env_spec(env_id)) else (env_id,)
    return [name for name, table in presets(algo).items() if any(key in table for key in keys)]


def preset_timesteps(algo: str, env_id: str, preset: str | None) -> int:
    """Length of a run that a preset is meant for."""
    chosen = {} if preset is None else _preset(algo, env_id, preset)
    return int(chosen.get("total_timesteps", _DEFAULT_TIMESTEPS))


def _preset(algo: str, env_id: str, preset: str) -> dict[str, Any]:
    table = presets(algo).get(preset, {})
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
