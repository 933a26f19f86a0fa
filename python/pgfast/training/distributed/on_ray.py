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

_PATIENCE = 10.0  # seconds for a connection to the head of a cluster
_POLL = 0.5  # seconds after which the end of the listening is noticed
_MOST_FAILED_STARTS = 10  # per worker
_INSTRUCTION_SETS = ("v2", "v3", "v4")  # of x86-64, from the narrowest to the widest

Accepted = queue.SimpleQueue[tuple[int, str, Connection]]  # slot, instruction set, connection


class RayWorkers(Backend):
    """Workers on a Ray cluster, all with the widest instruction set that the driver and each of their machines have.

    Args:
        make_trainer: makes the trainer of a slot, which is pickled.
        address: of the cluster, "auto" for that of this machine; None or "local" starts Ray here, unless this process
            has Ray.
        threads: of each worker; as many processors of a cluster are reserved for it. Workers on a Ray that was started
            here share this machine.

    Raises:
        ImportError: if Ray is not installed.
        ConnectionError: if nothing answers at the address.
        ValueError: if it is no address.
    """

    def __init__(self, make_trainer: Callable[[int], Trainer], *, address: str | None, threads: int) -> None:
        super().__init__(make_trainer)
        self._ray = ray = _import_ray()
        is_shared = _cluster.join(ray, address)
        self._reserved = 0 if is_shared else threads  # processors of each worker
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
            num_cpus=self._reserved,
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
                narrower = _narrower(isa, self._isa)
                if narrower is None:
                    connection.close()
                    self._start_again(slot, f"it has the instruction set {isa}, the others {self._isa}")
                    continue
                if isa != self._isa:
                    self._isa = self._chosen_isa = narrower
                found[slot], self._isas[slot] = connection, isa
        self._require_starting()
        return found

    def outdated(self) -> tuple[list[int], str]:
        slots = [slot for slot, isa in self._isas.items() if isa != self._isa]
        return slots, f"all workers use the instruction set {self._isa} now, which the machine of each of them has"

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
                self._start_again(slot, f"it ended before it had connected: {error}", error)

    def _start_again(self, slot: int, reason: str, error: Exception | None = None) -> None:
        """Raises ``RuntimeError`` if this has been done too often."""
        self._failed_starts += 1
        if self._failed_starts > _MOST_FAILED_STARTS * len(self._actors):
            raise RuntimeError(f"worker {slot} cannot join the others: {reason}") from error
        self.stop(slot)
        self.start(slot)

    def needs(self) -> str:
        failed = f"; {self._failed_starts} ended while they started" if self._failed_starts else ""
        if not self._reserved:
            return f"they start on this machine{failed}"
        free = self._ray.available_resources().get("CPU", 0.0)
        return (
            f"each needs {self._reserved} free processors of one machine, and the cluster has {free:g} in all{failed}"
        )

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
        self._is_local = False

    def join(self, ray: Any, address: str | None) -> bool:
        """Returns whether Ray was started here for its workers alone: they need no reservation then."""
        if not ray.is_initialized():
            is_local = True
            if address is None or address == "local":  # with one processor, it starts no workers in advance
                ray.init(address="local", include_dashboard=False, num_cpus=1, logging_level=logging.ERROR)
            else:
                is_local = False
                _require_listener(address)
                ray.init(address=address, logging_level=logging.WARNING)
            self._users, self._is_ours, self._is_local = 0, True, is_local
        self._users += 1
        return self._is_ours and self._is_local

    def leave(self, ray: Any) -> None:
        self._users -= 1
        if self._is_ours and self._users == 0:
            self._is_ours = False
            ray.shutdown()


_cluster = _Cluster()


def _require_listener(address: str) -> None:
    """Raises ``ConnectionError`` if nothing accepts connections at ``address``, for which Ray would wait for minutes.

    Raises ``ValueError`` if it is no address.
    """
    if address == "auto" or "://" in address:
        return
    host, separator, port = address.rpartition(":")
    if not (host and separator and port.isdecimal() and int(port) < 1 << 16):
        raise ValueError(f'ray_address must be "auto", "local", "none" or host:port, got {address!r}')
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except OSError as error:
        raise ConnectionError(f"nothing answers at ray_address {address}: {error}") from None


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


def _narrower(first: str, second: str) -> str | None:
    """Returns the narrower of two instruction sets; None for those of different kinds of processors."""
    if first == second:
        return first
    if not {first, second} <= set(_INSTRUCTION_SETS):
        return None
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
