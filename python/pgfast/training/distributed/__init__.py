"""Several workers that train one agent: each has a part of the environments, and all compute the same update."""

from __future__ import annotations

from collections.abc import Callable

from pgfast.training.distributed.backend import Backend, Threads
from pgfast.training.distributed.driver import DriverCrew
from pgfast.training.distributed.on_ray import RayWorkers
from pgfast.training.trainer import Trainer

__all__ = ["start_crew"]


def start_crew(trainer: Trainer, message: Callable[[str], None], is_stopped: Callable[[], bool]) -> None:
    """Starts the workers of a trainer's run where its settings say.

    Args:
        trainer: the driver's; its ``crew`` are the workers.
        message: shows a message to the user.
        is_stopped: whether to wait no longer for workers that have not started.

    Raises:
        ImportError: if Ray is not installed.
        ConnectionError: if there is no cluster at the address.
    """
    s = trainer.settings
    backend: Backend
    if s.ray_address == "none":
        backend = Threads(trainer.for_worker)
    else:
        backend = RayWorkers(trainer.for_worker, address=s.ray_address, threads=s.worker_threads)
    try:
        trainer.crew = DriverCrew(trainer, backend, message, is_stopped)
    except BaseException:
        backend.close()
        raise
