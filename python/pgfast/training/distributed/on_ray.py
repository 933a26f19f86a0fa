"""Workers as actors of a Ray cluster.

Ray places, starts and ends them. Their messages go over connections of their own, authenticated by a random key: a
reduction takes a fraction of a millisecond instead of the milliseconds of a remote call.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

from pgfast._native import set_num_threads
from pgfast.training.distributed.backend import Backend
from pgfast.training.distributed.member import serve
from pgfast.training.distributed.messages import Channel
from pgfast.training.trainer import Trainer

__all__ = ["RayWorkers"]

_HANDSHAKE = 10.0  # seconds


class RayWorkers(Backend):
    """Workers on a Ray cluster.

    Args:
        make_trainer: makes the trainer of a slot, which is pickled.
        address: of the cluster, "auto" for that of this machine; None starts Ray here unless it runs already.
        threads: of each worker; as many processors are reserved for it.

    Raises:
        ImportError: if Ray is not installed.
        ConnectionError: if there is no cluster at the address.
    """

    def __init__(self, make_trainer: Callable[[int], Trainer], *, address: str | None, threads: int) -> None:
        super().__init__(make_trainer)
        self._ray = ray = _import_ray()
        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            ray.init(
                address=address, include_dashboard=False if address is None else None, logging_level=logging.WARNING
            )
        self._threads = threads
        self._actors: dict[int, Any] = {}
        self._starting: dict[int, Any] = {}  # the calls of workers that have not connected
        self._key = secrets.token_bytes(32)
        self._listener = Listener((ray.util.get_node_ip_address(), 0), "AF_INET", backlog=64, authkey=self._key)
        self._accepted: queue.SimpleQueue[tuple[int, Connection]] = queue.SimpleQueue()
        threading.Thread(target=self._accept, name="accept workers", daemon=True).start()

    def start(self, slot: int) -> None:
        actor = self._ray.remote(_Worker).options(num_cpus=self._threads, max_restarts=0, max_task_retries=0).remote()
        trainer = self._make_trainer(slot)
        self._starting[slot] = actor.run.remote(self._listener.address, self._key, self._threads, slot, trainer)
        self._actors[slot] = actor

    def connected(self, seconds: float) -> dict[int, Connection]:
        found: dict[int, Connection] = {}
        with suppress(queue.Empty):
            while True:
                slot, connection = self._accepted.get(timeout=0.0 if found else seconds)
                self._starting.pop(slot, None)
                found[slot] = connection
        self._require_starting()
        return found

    def _require_starting(self) -> None:
        """Starts workers again whose machine was lost. Raises ``RuntimeError`` for an error in starting one."""
        ray, running = self._ray, self._starting
        ended, _ = ray.wait(list(running.values()), num_returns=len(running), timeout=0.0) if running else ([], [])
        for slot in [slot for slot, run in running.items() if run in ended]:
            try:
                ray.get(running[slot])
            except ray.exceptions.RayTaskError as error:
                cause = error.as_instanceof_cause()
                raise RuntimeError(
                    f"worker {slot} could not start: {type(error.cause).__name__}: {error.cause}"
                ) from cause
            except ray.exceptions.RayError:
                self.stop(slot)
                self.start(slot)

    def needs(self) -> str:
        free = self._ray.available_resources().get("CPU", 0.0)
        return f"each needs {self._threads} free processors of one machine, and the cluster has {free:g} in all"

    def stop(self, slot: int) -> None:
        self._starting.pop(slot, None)
        actor = self._actors.pop(slot, None)
        if actor is not None:
            self._ray.kill(actor)

    def close(self) -> None:
        self._listener.close()
        if self._owns_ray:
            self._ray.shutdown()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except (AuthenticationError, EOFError):
                continue
            except OSError:  # the listener is closed
                return
            with suppress(EOFError, OSError, ValueError):
                if connection.poll(_HANDSHAKE):
                    self._accepted.put((int.from_bytes(connection.recv_bytes(8), "big"), connection))


class _Worker:
    """The actor of a worker."""

    def run(self, address: Any, key: bytes, threads: int, slot: int, trainer: Trainer) -> None:
        """Connects to the driver, and serves it until the end."""
        set_num_threads(threads)
        connection = Client(address, "AF_INET", authkey=key)
        connection.send_bytes(slot.to_bytes(2, "big"))
        serve(Channel(connection), trainer)


def _import_ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ImportError(
            'num_workers needs Ray: pip install "pgfast[ray]"; with ray_address="none" the workers are threads'
        ) from None
    return ray
