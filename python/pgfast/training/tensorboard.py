"""TensorBoard events of a run, where tensorboardX is installed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["TensorBoardLog", "tensorboard_available"]


def tensorboard_available() -> bool:
    """Whether tensorboardX is installed."""
    return find_spec("tensorboardX") is not None


class TensorBoardLog:
    """Writes the rows of a run as TensorBoard scalars, under the names of ``progress.csv``.

    On resume, ``purge_step`` is the first timestep that is not known yet: TensorBoard drops what an earlier process
    wrote from there on.

    Raises ``ImportError`` if tensorboardX is missing, ``OSError``.
    """

    def __init__(self, directory: Path, *, purge_step: int | None = None) -> None:
        try:
            writer = import_module("tensorboardX").SummaryWriter
        except ImportError as error:
            raise ImportError('TensorBoard events need tensorboardX: pip install "pgfast[tensorboard]"') from error
        self._writer: Any = writer(str(directory), purge_step=purge_step)

    def write(self, row: Mapping[str, float | int | None], timesteps: int) -> None:
        """Writes each known number of ``row`` at ``timesteps``; None and NaN are left out."""
        for name, value in row.items():
            if name != "timesteps" and value is not None and not math.isnan(value):
                self._writer.add_scalar(name, value, timesteps)

    def close(self) -> None:
        """Waits until everything is in the file. A second call does nothing."""
        self._writer.close()
