"""Runs that continue from their last checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pgfast.agent import Agent
from pgfast.loading import algorithm_named, restore
from pgfast.runs.files import CheckpointError, checked_content
from pgfast.runs.model_metadata import checked_settings
from pgfast.runs.session import Session

__all__ = ["resume"]


def resume(path: Path, *, exact: bool = False) -> tuple[Agent, Session]:
    """The agent of a run at its newest whole checkpoint, or at its beginning, and the session that continues the run.

    A checkpoint of a synchronization point continues bit for bit, and ``exact`` goes back to the newest one; after any
    other save the environments start new episodes. The session's ``messages`` say which.

    Raises:
        CheckpointError: if there is nothing to resume from.
        OSError: if it is not a run directory, or another process is writing it.
    """
    session = Session.resume(path, exact=exact)
    try:
        if session.config.env_id is None:
            raise CheckpointError(path, "the run was not started from an environment id, so it cannot be resumed")
        return (
            _at_beginning(session) if session.checkpoint is None else restore(*session.checkpoint, env=None)
        ), session
    except BaseException:
        session.close()
        raise


def _at_beginning(session: Session) -> Agent:
    config = session.config
    with checked_content(session.directory.config_path):
        algorithm = algorithm_named(config.algo)
        settings_type, written_by = algorithm.learner_type.settings_type, str(config.packages.get("pgfast"))
        settings = checked_settings(settings_type, config.settings, config.algo, written_by)
        assert config.env_id is not None
        return algorithm(config.env_id, preset=None, **asdict(settings))
