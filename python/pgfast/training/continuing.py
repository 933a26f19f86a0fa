"""Trainings that continue the run of a run directory."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from pgfast.learning.settings import PLACEMENT
from pgfast.runs.files import checked_content
from pgfast.runs.model_metadata import ModelMetadata, checked_settings
from pgfast.runs.session import Session
from pgfast.state import unflatten
from pgfast.training.trainer import Trainer

__all__ = ["continue_session"]


def continue_session(trainer: Trainer, path: Path, *, exact: bool = False, at: int | None = None) -> Session:
    """The session that continues a run; the trainer takes over the state of its newest whole checkpoint.

    ``exact`` goes back to the newest checkpoint of a synchronization point. ``at`` is where the run must be.

    Raises:
        ValueError: if the run has another algorithm, environment, space or setting than the trainer, or is elsewhere.
        CheckpointError: if there is nothing to resume from.
        OSError: if it is not a run directory, or another process is writing it.
    """
    session = Session.resume(path, exact=exact)
    try:
        _require_same_run(trainer, session)
        timesteps = 0 if session.checkpoint is None else int(session.checkpoint.path.name)
        if at not in (None, timesteps):
            raise ValueError(f"{path} is at {timesteps:,} timesteps, this agent at {at:,}; resume the run anew")
        if session.checkpoint is not None:
            arrays, content = session.checkpoint.arrays, session.checkpoint.content
            with checked_content(session.checkpoint.path):
                space = ModelMetadata.parse(content).space
                if space != trainer.space:
                    raise ValueError(f"the run has {space}, this agent {trainer.space}")
                trainer.load_state(unflatten(arrays, content["state"]))
            trainer.close()  # the run continues in new environments
    except BaseException:
        session.close()
        raise
    return session


def _require_same_run(trainer: Trainer, session: Session) -> None:
    config, path = session.config, session.directory.path
    if config.algo != trainer.name:
        raise ValueError(f"{path} is a run of {config.algo}, this agent learns by {trainer.name}")
    if None not in (config.env_id, trainer.env_id) and config.env_id != trainer.env_id:
        raise ValueError(f"{path} is a run on {config.env_id}, this agent is made for {trainer.env_id}")
    with checked_content(session.directory.config_path):
        settings = checked_settings(
            type(trainer.settings), config.settings, config.algo, str(config.packages.get("pgfast"))
        )
    names = [field.name for field in fields(settings) if field.name not in PLACEMENT]
    pairs = [(name, getattr(settings, name), getattr(trainer.settings, name)) for name in names]
    different = [f"{name} {theirs!r:.80}, now {ours!r:.80}" for name, theirs, ours in pairs if theirs != ours]
    if different:
        raise ValueError(f"{path} was started with other settings: {'; '.join(different)}")
