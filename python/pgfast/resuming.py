"""Runs that continue from their last checkpoint."""

from __future__ import annotations

from pathlib import Path

from pgfast.agent import ALGORITHMS, Agent
from pgfast.loading import restore
from pgfast.runs.files import CheckpointError, checked_content
from pgfast.runs.session import Session

__all__ = ["resume"]


def resume(path: Path) -> tuple[Agent, Session]:
    """The agent of a run at its newest whole checkpoint, or at its beginning, and the session that continues the run.

    A checkpoint of a synchronization point continues bit for bit; after any other save the environments start new
    episodes, and the session's ``messages`` say so.

    Raises:
        CheckpointError: if there is nothing to resume from.
        OSError: if it is not a run directory, or another process is writing it.
    """
    session = Session.resume(path)
    try:
        if session.config.get("env_id") is None:
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
        algorithm, env_id, settings = ALGORITHMS[config["algo"]], config["env_id"], config["settings"]
        return algorithm(env_id, preset=None, **settings)
