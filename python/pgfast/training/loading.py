"""Agents from files."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from pgfast._typing import Array
from pgfast.algos import A2C, NPG, TRPO, VPG
from pgfast.envs.make import env_spec
from pgfast.envs.source import EnvironmentLike, EnvironmentSource
from pgfast.envs.spaces import SpaceInfo
from pgfast.training.agent import MODEL_FORMAT, Agent
from pgfast.training.checkpoints import latest_checkpoint, list_checkpoints, read_checkpoint
from pgfast.training.files import CheckpointError, read_json
from pgfast.training.models import read_model
from pgfast.training.progress_log import read_progress
from pgfast.training.settings import Settings, as_field_types

__all__ = ["ALGORITHMS", "load", "read_model_of", "restore_agent", "verify"]

ALGORITHMS: dict[str, type[Agent]] = {algorithm.name: algorithm for algorithm in (VPG, NPG, TRPO, A2C)}


def load(path: str | Path, *, env: EnvironmentLike | None = None) -> Agent:
    """An agent from a model file, a checkpoint or a run directory.

    A run directory gives its newest model; a checkpoint gives the optimizer's state too. ``env`` replaces the
    environment that the file names; a file that names none gives an agent that can only predict until it is given one.
    Files are data: nothing in them is executed.

    Raises :class:`pgfast.CheckpointError` for a file that is missing or broken, does not fit this version, or names an
    environment that is not registered.
    """
    path = Path(path)
    arrays, state = read_model_of(path)
    return _restore(path, arrays, state, env=env)


def _restore(path: Path, arrays: dict[str, Array], state: dict[str, Any], *, env: EnvironmentLike | None) -> Agent:
    agent = restore_agent(path, arrays, state, env=env)
    if "scores" in state:  # a checkpoint
        try:
            agent.load_state(arrays, state)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(path, f"{type(error).__name__}: {error}") from None
    return agent


def read_model_of(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """(arrays, JSON) of a model file, a checkpoint or a run directory's newest model.

    Raises :class:`pgfast.CheckpointError`.
    """
    try:
        if not path.exists():
            raise CheckpointError(path, "there is no such file or directory")
        if path.is_file():
            return read_model(path)
        if (path / "manifest.json").exists():
            return read_checkpoint(path)
        if (path / "model.safetensors").exists():
            return read_model(path / "model.safetensors")
        checkpoint = latest_checkpoint(path / "checkpoints")
    except (OSError, ValueError) as error:  # a name that is too long, or has a null byte; a directory without rights
        raise CheckpointError(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if checkpoint is None:
        raise CheckpointError(path, "neither a run directory with a model nor a checkpoint")
    return read_checkpoint(checkpoint)


def restore_agent(path: Path, arrays: dict[str, Array], state: dict[str, Any], *, env: EnvironmentLike | None) -> Agent:
    """The agent that a file's content describes; every part of it is checked."""
    try:
        if state["format"] != MODEL_FORMAT:
            raise ValueError(f"format {state['format']} is not known to this version, {MODEL_FORMAT} is")
        algorithm = ALGORITHMS.get(state["algo"])
        if algorithm is None:
            raise ValueError(f"algorithm {state['algo']!r} is not one of {', '.join(ALGORITHMS)}")
        settings = _settings(algorithm.settings_type, state["settings"])
        space = SpaceInfo.from_json(state["space"])
        env_id = state["env_id"]
        if env is None and env_id is not None:
            if not isinstance(env_id, str):
                raise TypeError("env_id must be a string")
            env_spec(env_id)
        timesteps, updates = int(state["timesteps"]), int(state["updates"])
        if not (0 <= timesteps < 10**12 and 0 <= updates < 10**12):
            raise ValueError(f"timesteps and updates must be in [0, 10^12), got {timesteps} and {updates}")
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise CheckpointError(path, f"{type(error).__name__}: {error}") from None
    except ValueError as error:
        raise CheckpointError(path, f"{error}") from None
    chosen = env if env is not None else env_id
    try:
        agent = algorithm.restore(None if chosen is None else EnvironmentSource(chosen), settings, space, arrays)
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise CheckpointError(path, f"{error}") from None
    except KeyError as error:
        raise CheckpointError(path, f"has no array {error}") from None
    agent.timesteps, agent.updates = timesteps, updates
    return agent


def _settings(settings_type: type[Settings], values: dict[str, Any]) -> Settings:
    known = {field.name for field in fields(settings_type)}
    if set(values) != known:
        raise ValueError(f"settings differ from this version's: {sorted(set(values) ^ known)}")
    return settings_type(**as_field_types(values))


def verify(path: Path) -> Agent:
    """Reads everything that a run directory, a checkpoint or a model file holds; gives its agent.

    Of a run directory that is the model, every checkpoint, the settings and the progress, which must be as long as the
    newest checkpoint says. Raises :class:`pgfast.CheckpointError` at the first that is not whole.
    """
    agent = load(path)
    if not (path / "config.json").exists():
        return agent
    read_json(path / "config.json")
    length = (path / "progress.csv").stat().st_size if (path / "progress.csv").exists() else 0
    for checkpoint in list_checkpoints(path / "checkpoints"):
        arrays, state = read_checkpoint(checkpoint)
        _restore(checkpoint, arrays, state, env=None)
        if type(state.get("progress_bytes")) is not int or state["progress_bytes"] > length:
            raise CheckpointError(path / "progress.csv", f"is shorter than {checkpoint.name} says")
    if length:
        read_progress(path / "progress.csv")
    return agent
