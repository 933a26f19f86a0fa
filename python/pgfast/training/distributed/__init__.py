"""Several workers that train one agent: each has a part of the environments, and all compute the same update."""

from __future__ import annotations

from collections.abc import Callable

from pgfast.training.distributed.backend import Backend, Threads
from pgfast.training.distributed.driver import DriverCrew
from pgfast.training.distributed.on_ray import RayWorkers
from pgfast.training.trainer import Trainer

__all__ = ["start_crew"]


def start_crew(trainer: Trainer, message: Callable[[str], None]) -> None:
    """Starts the workers of a trainer's run where its settings say.

    Raises:
        ImportError: if Ray is not installed.
        ConnectionError: if there is no cluster at the address.
    """
    s = trainer.settings
    if s.ray_address == "none":
        backend: Backend = Threads(trainer.for_worker)
    else:
        backend = RayWorkers(trainer.for_worker, address=s.ray_address, threads=s.worker_threads)
    trainer.crew = DriverCrew(trainer, backend, message)
