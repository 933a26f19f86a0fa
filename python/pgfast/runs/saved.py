"""Models in model files, checkpoints and run directories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pgfast._typing import Array
from pgfast.runs.checkpoints import latest_checkpoint, read_checkpoint
from pgfast.runs.files import CheckpointError
from pgfast.runs.models import read_model

__all__ = ["read_saved"]


def read_saved(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """``(arrays, JSON)`` of a model file, a checkpoint or a run directory's newest model.

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
