"""Workers as actors of a Ray cluster.

Ray places, starts and ends them. Their messages go over connections of their own, authenticated by a random key: a
reduction takes a fraction of a millisecond instead of the milliseconds of a remote call.
"""

from __future__ import annotations

import logging
import os
import queue
import secrets
import socket
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, answer_challenge, deliver_challenge
from typing import Any

from pgfast._native import native_info, set_num_threads
from pgfast.training.distributed.backend import Backend
from pgfast.training.distributed.member import serve
from pgfast.training.distributed.messages import Channel
from pgfast.training.trainer import Trainer

__all__ = ["RayWorkers"]

_POLL = 0.5  # seconds after which the end of the listening is noticed
_MOST_FAILED_STARTS = 10  # per worker
_INSTRUCTION_SETS = ("v2", "v3", "v4")  # of x86-64, from the narrowest to the widest

Accepted = queue.SimpleQueue[tuple[int, str, Connection]]  # slot, instruction set, connection


class RayWorkers(Backend):
    """Workers on a Ray cluster, all with the widest instruction set that the driver and every machine have.

    Args:
        make_trainer: makes the trainer of a slot, which is pickled.
        address: of the cluster, "auto" for that of this machine; None or "local" starts Ray here, unless this process
            has Ray.
        workers: that will be started.
        threads: of each worker; as many processors are reserved for it.

    Raises:
        ImportError: if Ray is not installed.
        ConnectionError: if there is no cluster at the address.
    """

    def __init__(
        self, make_trainer: Callable[[int], Trainer], *, address: str | None, workers: int, threads: int
    ) -> None:
        super().__init__(make_trainer)
        self._ray = ray = _import_ray()
        _cluster.join(ray, address, workers * threads)
        self._threads = threads
        self._actors: dict[int, Any] = {}
        self._starting: dict[int, Any] = {}  # the calls of workers that have not connected
        self._isa = native_info()["isa"]  # of all workers
        self._chosen_isa = os.environ.get("PGFAST_ISA")  # None while each machine chooses
        self._isas: dict[int, str] = {}  # of the workers that have connected
        self._failed_starts = 0
        self._key = secrets.token_bytes(32)
        self._accepted: Accepted = queue.SimpleQueue()
        server = socket.create_server((ray.util.get_node_ip_address(), 0), backlog=128)
        self._address = server.getsockname()
        stop = threading.Event()
        self._stop_listening = weakref.finalize(self, stop.set)
        # Not a method: a thread that held this object would keep dropped agents and their actors alive.
        listening = (server, self._key, self._accepted, stop)
        threading.Thread(target=_listen, args=listening, name="accept workers", daemon=True).start()

    def start(self, slot: int) -> None:
        isa = self._chosen_isa
        actor = self._ray.remote(_Worker).options(
            num_cpus=self._threads,
            max_restarts=0,
            max_task_retries=0,
            runtime_env={"env_vars": {"PGFAST_ISA": isa}} if isa else None,
        )
        self._actors[slot] = worker = actor.remote()
        trainer = self._make_trainer(slot)
        self._starting[slot] = worker.run.remote(self._address, self._key, self._threads, slot, trainer)

    def connected(self, seconds: float) -> dict[int, Connection]:
        found: dict[int, Connection] = {}
        with suppress(queue.Empty):
            while True:
                slot, isa, connection = self._accepted.get(timeout=0.0 if found else seconds)
                self._starting.pop(slot, None)
                found[slot], self._isas[slot] = connection, isa
                self._isa = _narrower(isa, self._isa)
        self._require_starting()
        return found

    def outdated(self) -> dict[int, str]:
        slots = [slot for slot, isa in self._isas.items() if isa != self._isa]
        if slots:
            self._chosen_isa = self._isa
        reason = f"all workers use the instruction set {self._isa} now, the widest that every machine has"
        return dict.fromkeys(slots, reason)

    def _require_starting(self) -> None:
        """Starts workers again that ended before they connected. Raises ``RuntimeError`` if that does not help."""
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
            except ray.exceptions.RayError as error:
                self._failed_starts += 1
                if self._failed_starts > _MOST_FAILED_STARTS * len(self._actors):
                    raise RuntimeError(f"workers end before they have connected, the last one with: {error}") from error
                self.stop(slot)
                self.start(slot)

    def needs(self) -> str:
        free = self._ray.available_resources().get("CPU", 0.0)
        failed = f"; {self._failed_starts} ended while they started" if self._failed_starts else ""
        return f"each needs {self._threads} free processors of one machine, and the cluster has {free:g} in all{failed}"

    def stop(self, slot: int) -> None:
        self._starting.pop(slot, None)
        self._isas.pop(slot, None)
        actor = self._actors.pop(slot, None)
        if actor is not None:
            self._ray.kill(actor)

    def close(self) -> None:
        self._stop_listening()
        _cluster.leave(self._ray)


class _Worker:
    """The actor of a worker."""

    def run(self, address: Any, key: bytes, threads: int, slot: int, trainer: Trainer) -> None:
        """Connects to the driver, and serves it until the end."""
        set_num_threads(threads)
        connection = Client(address, "AF_INET", authkey=key)
        connection.send_bytes(f"{slot} {native_info()['isa']}".encode())
        serve(Channel(connection), trainer)


class _Cluster:
    """Ray in this process, which the first of several agents may start and the last one ends."""

    def __init__(self) -> None:
        self._users = 0
        self._is_ours = False

    def join(self, ray: Any, address: str | None, processors: int) -> None:
        """``processors`` are needed; if this machine has fewer, they are shared."""
        if not ray.is_initialized():
            address = address or "local"
            own: dict[str, Any] = {}
            if address == "local":
                own = {"include_dashboard": False, "num_cpus": max(processors, os.cpu_count() or 1)}
            ray.init(address=address, logging_level=logging.ERROR, **own)
            self._users, self._is_ours = 0, True
        self._users += 1

    def leave(self, ray: Any) -> None:
        self._users -= 1
        if self._is_ours and self._users == 0:
            self._is_ours = False
            ray.shutdown()


_cluster = _Cluster()


def _listen(server: socket.socket, key: bytes, accepted: Accepted, stop: threading.Event) -> None:
    """Accepts connections until ``stop`` is set, each with a thread for its handshake: the other end may be silent."""
    server.settimeout(_POLL)
    with server:
        while not stop.is_set():
            try:
                other, _ = server.accept()
            except OSError:  # no one has come, or has left already
                continue
            other.settimeout(None)
            shake = threading.Thread(target=_shake_hands, args=(Connection(other.detach()), key, accepted), daemon=True)
            shake.start()


def _shake_hands(connection: Connection, key: bytes, accepted: Accepted) -> None:
    try:
        deliver_challenge(connection, key)
        answer_challenge(connection, key)
        slot, isa = connection.recv_bytes(64).decode().split()
        accepted.put((int(slot), isa, connection))
    except (AuthenticationError, EOFError, OSError, ValueError):
        connection.close()


def _narrower(first: str, second: str) -> str:
    """Returns the narrower of two instruction sets. Raises ``RuntimeError`` for those of different processors."""
    if first == second:
        return first
    if not {first, second} <= set(_INSTRUCTION_SETS):
        raise RuntimeError(
            f"driver and workers need one kind of processor: they have the instruction sets {second} and {first}"
        )
    return min(first, second, key=_INSTRUCTION_SETS.index)


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
