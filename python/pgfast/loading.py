"""Agents from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pgfast._typing import Array
from pgfast.agent import ALGORITHMS, Agent
from pgfast.envs.make import env_spec
from pgfast.envs.source import EnvironmentLike, EnvironmentSource
from pgfast.runs.checkpoints import list_checkpoints, read_checkpoint
from pgfast.runs.files import CheckpointError, checked_content, read_json
from pgfast.runs.model_metadata import ModelMetadata
from pgfast.runs.progress_log import read_progress
from pgfast.runs.saved import read_saved
from pgfast.state import unflatten

__all__ = ["load", "restore", "verify"]


def load(path: str | Path, *, env: EnvironmentLike | None = None) -> Agent:
    """An agent from a model file, a checkpoint or a run directory.

    A run directory loads its newest model; a checkpoint loads the optimizer's state too. ``env`` replaces the
    environment that the file names; without one the agent can only predict. Files are data: nothing in them is
    executed.

    Raises:
        CheckpointError: for a file that is missing or broken, does not fit this version, or names an environment that
            is not registered.
    """
    path = Path(path)
    return restore(path, *read_saved(path), env=env)


def restore(path: Path, arrays: dict[str, Array], content: dict[str, Any], *, env: EnvironmentLike | None) -> Agent:
    """The agent that the content of a model file or a checkpoint describes; every part of it is checked.

    Raises :class:`pgfast.CheckpointError`, which names ``path``.
    """
    with checked_content(path):
        metadata = ModelMetadata.parse(content)
        algorithm = ALGORITHMS.get(metadata.algo)
        if algorithm is None:
            raise ValueError(f"algorithm {metadata.algo!r} is not one of {', '.join(ALGORITHMS)}")
        settings = metadata.settings_as(algorithm.learner_type.settings_type)
        if env is None and metadata.env_id is not None:
            env_spec(metadata.env_id)
            env = metadata.env_id
        try:
            agent = algorithm.restore(None if env is None else EnvironmentSource(env), settings, metadata.space, arrays)
        except KeyError as error:
            raise ValueError(f"has no array {error}") from None
        agent.timesteps, agent.updates = metadata.timesteps, metadata.updates
        if "state" in content:  # a checkpoint
            agent.load_state(unflatten(arrays, content["state"]))
    return agent


def verify(path: Path) -> Agent:
    """Reads everything that a run directory, a checkpoint or a model file holds, and returns its agent.

    For a run directory: the model, every checkpoint, the settings and ``progress.csv``, which must be as long as the
    newest checkpoint says. Raises :class:`pgfast.CheckpointError` for the first that is not whole.
    """
    agent = load(path)
    if not (path / "config.json").exists():
        return agent
    read_json(path / "config.json")
    length = (path / "progress.csv").stat().st_size if (path / "progress.csv").exists() else 0
    for checkpoint in list_checkpoints(path / "checkpoints"):
        arrays, content = read_checkpoint(checkpoint)
        restore(checkpoint, arrays, content, env=None)
        if type(content.get("progress_bytes")) is not int or content["progress_bytes"] > length:
            raise CheckpointError(path / "progress.csv", f"is shorter than {checkpoint.name} says")
    if length:
        read_progress(path / "progress.csv")
    return agent
