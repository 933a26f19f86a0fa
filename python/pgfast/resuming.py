"""Runs that continue from their last checkpoint."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from pgfast.agent import Agent
from pgfast.envs.registration import require_id
from pgfast.envs.source import EnvironmentLike
from pgfast.loading import algorithm_named, restore
from pgfast.runs.files import CheckpointError, checked_content
from pgfast.runs.model_metadata import checked_settings
from pgfast.runs.session import Session

__all__ = ["open_run", "resume"]


def resume(
    run_dir: str | Path, *, env: EnvironmentLike | None = None, exact: bool = False, ray_address: str | None = None
) -> Agent:
    """The agent of a run at its newest whole checkpoint; its ``learn`` goes on writing the run directory.

    Args:
        run_dir: the run directory.
        env: the environment of a run that was not started from an id; else it replaces the id.
        exact: go back to the newest checkpoint of a synchronization point, which continues bit for bit. After any other
            save the environments start new episodes.
        ray_address: where the workers run from now on, as the setting of this name; None for that of the checkpoint.

    Returns:
        The agent, of the algorithm's class.

    Raises:
        CheckpointError: if there is nothing to resume from.
        OSError: if it is not a run directory, or another process is writing it.
        TypeError: if ``ray_address`` is no str.
    """
    agent, session = open_run(Path(run_dir), env=env, exact=exact, ray_address=ray_address)
    session.close()
    agent.continue_in(session.directory.path, exact=exact)
    return agent


def open_run(
    path: Path, *, env: EnvironmentLike | None = None, exact: bool = False, ray_address: str | None = None
) -> tuple[Agent, Session]:
    """The agent of :func:`resume`, and the session that continues its run, whose ``messages`` say from where."""
    if not (ray_address is None or isinstance(ray_address, str)):
        raise TypeError(f"resume: ray_address must be a str or None, got {type(ray_address).__name__}")
    session = Session.resume(path, exact=exact)
    try:
        if session.config.env_id is None and env is None:
            raise CheckpointError(
                path, "the run was not started from an environment id; give its environment, pgfast.resume(..., env=)"
            )
        if session.checkpoint is None:
            return _at_beginning(session, env, ray_address), session
        return restore(*session.checkpoint, env=env, ray_address=ray_address), session
    except BaseException:
        session.close()
        raise


def _at_beginning(session: Session, env: EnvironmentLike | None, ray_address: str | None) -> Agent:
    config = session.config
    with checked_content(session.directory.config_path):
        algorithm = algorithm_named(config.algo)
        settings_type, written_by = algorithm.learner_type.settings_type, str(config.packages.get("pgfast"))
        settings = checked_settings(settings_type, config.settings, config.algo, written_by)
        if ray_address is not None:
            settings = replace(settings, ray_address=ray_address)
        if env is None:
            assert config.env_id is not None
            require_id(config.env_id)
            env = config.env_id
        return algorithm(env, preset=None, **asdict(settings))
