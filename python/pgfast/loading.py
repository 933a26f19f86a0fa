"""Agents from files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pgfast._typing import Array
from pgfast.agent import Agent
from pgfast.algorithms import ALGORITHMS
from pgfast.envs.source import EnvironmentLike, EnvironmentSource
from pgfast.runs.checkpoints import Checkpoint, list_checkpoints, read_checkpoint
from pgfast.runs.files import CheckpointError, checked_content
from pgfast.runs.model_metadata import ModelMetadata, checked_settings
from pgfast.runs.progress_log import read_progress, read_recorded
from pgfast.runs.saved import read_saved
from pgfast.runs.session import Position, read_config
from pgfast.state import unflatten

__all__ = ["algorithm_named", "load", "restore", "verify"]


def load(path: str | Path, *, env: EnvironmentLike | None = None) -> Agent:
    """Loads an agent from a file. Files are data: nothing in them is executed.

    Args:
        path: a model file; a checkpoint, which also has the optimizer's state; or a run directory, whose newest model
            is loaded.
        env: replaces the environment that the file names, which must be registered for everything but predictions.

    Returns:
        The agent, of the algorithm's class.

    Raises:
        CheckpointError: for a file that is missing or broken, or does not fit this version.
    """
    path = Path(path)
    return restore(path, *read_saved(path), env=env)


def restore(
    path: Path,
    arrays: dict[str, Array],
    content: dict[str, Any],
    *,
    env: EnvironmentLike | None,
    ray_address: str | None = None,
) -> Agent:
    """The agent that the content of a model file or a checkpoint describes; every part of it is checked.

    ``env`` and ``ray_address`` replace those of the content, unless they are None.

    Raises :class:`pgfast.CheckpointError`, which names ``path``.
    """
    with checked_content(path):
        metadata = ModelMetadata.parse(content)
        algorithm = algorithm_named(metadata.algo)
        settings = checked_settings(
            algorithm.learner_type.settings_type, metadata.settings, metadata.algo, metadata.pgfast
        )
        if ray_address is not None:
            settings = replace(settings, ray_address=ray_address)
        source = None
        if env is not None:
            source = EnvironmentSource(env, (settings.env_kwargs or {}) if isinstance(env, str) else {})
        elif metadata.env_id is not None:
            source = EnvironmentSource.of_file(metadata.env_id, settings.env_kwargs or {})
        try:
            agent = algorithm.restore(source, settings, metadata.space, arrays)
        except KeyError as error:
            raise ValueError(f"has no array {error}") from None
        agent.timesteps, agent.updates = metadata.timesteps, metadata.updates
        if "state" in content:  # a checkpoint
            agent.load_state(unflatten(arrays, content["state"]))
            if agent.timesteps != metadata.timesteps:
                raise ValueError(f"has a state of {agent.timesteps:,} and metadata of {metadata.timesteps:,} timesteps")
    return agent


def algorithm_named(name: str) -> type[Agent]:
    """The algorithm of a file. Raises ``ValueError`` if it is unknown."""
    if name not in ALGORITHMS:
        raise ValueError(f"algorithm {name!r:.40} is not one of {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]


def verify(path: str | Path) -> Agent:
    """Reads everything that a run directory, a checkpoint or a model file holds, and returns its agent.

    For a run directory: the model, every checkpoint, the configuration, and the CSV files, in which a row must end
    where each checkpoint was written. Raises :class:`pgfast.CheckpointError` for the first that is not whole.
    """
    path = Path(path)
    agent = load(path)
    if not (path / "config.json").exists():
        if (path / "checkpoints").is_dir() or (path / "progress.csv").exists():
            raise CheckpointError(path, "is not a whole run directory: it has no config.json")
        return agent
    config, _ = read_config(path / "config.json")
    with checked_content(path / "config.json"):
        settings_type = algorithm_named(config.algo).learner_type.settings_type
        checked_settings(settings_type, config.settings, config.algo, str(config.packages.get("pgfast")))
    progress = path / "progress.csv"
    for name in list_checkpoints(path / "checkpoints"):
        checkpoint = Checkpoint(name, *read_checkpoint(name))
        restore(*checkpoint, env=None)
        position, _ = Position.parse(checkpoint)
        read_recorded(progress, position.progress_bytes)
        if position.evaluations_bytes is not None:
            read_recorded(path / "evaluations.csv", position.evaluations_bytes)
        if position.episodes_bytes is not None:
            read_recorded(path / "episodes.csv", position.episodes_bytes)
    for log in (progress, path / "evaluations.csv", path / "episodes.csv"):
        if log.exists():
            read_progress(log)
    return agent
