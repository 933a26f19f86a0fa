"""Messages between the driver and the workers of a run.

A message is a head in MessagePack, with the dtypes and shapes of its arrays, and then their bytes: reading one runs no
code, and copies no array.
"""

from __future__ import annotations

import os
import socket
import struct
import weakref
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

import msgspec
import numpy as np

from pgfast._native import core
from pgfast._typing import Array
from pgfast.envs.failures import EnvironmentFailure

__all__ = ["Channel", "Encoded", "Message", "describe_error", "encode", "error_of"]

Message: TypeAlias = dict[str, Any]
Encoded: TypeAlias = Sequence[bytes | memoryview]
"""The parts of a message, to be sent one after the other."""

_SIZE = struct.Struct(">I")  # of the head
_ARRAY = 1  # the code of MessagePack's extension type
_KINDS = "biuf"  # of dtypes
_ERRORS: tuple[type[Exception], ...] = (core.NonFiniteError, FloatingPointError, ValueError, TypeError, RuntimeError)
_KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}  # a machine that vanishes is noticed in 20 s


def encode(message: Message) -> Encoded:
    """The parts of a message of numbers, strings, lists, dicts and arrays, which must not change until it is sent."""
    arrays: list[Array] = []

    def describe(value: Any) -> Any:
        if isinstance(value, np.generic):
            return value.item()
        if not isinstance(value, np.ndarray) or value.dtype.kind not in _KINDS:
            raise TypeError(f"a message cannot hold {type(value).__name__}")
        arrays.append(np.ascontiguousarray(value))
        return msgspec.msgpack.Ext(_ARRAY, msgspec.msgpack.encode((value.dtype.str, value.shape)))

    head = msgspec.msgpack.encode(message, enc_hook=describe)
    return [_SIZE.pack(len(head)) + head, *(array.reshape(-1).view(np.uint8).data for array in arrays if array.size)]


class Channel:
    """One end of a connection, authenticated already.

    Args:
        connection: is closed, after its socket was taken over.
        timeout: seconds in which the other end must read or write a part of a message; None for any time.

    Its methods raise ``OSError`` or ``EOFError`` if the other end has closed or is too slow.
    """

    def __init__(self, connection: Connection, timeout: float | None = None) -> None:
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        connection.close()
        weakref.finalize(self, self._socket.close)  # without a warning if an agent is dropped that was not closed
        self._socket.settimeout(timeout)
        if self._socket.family == socket.AF_INET:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPALIVE.items():
                if hasattr(socket, name):  # on Linux
                    self._socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    @property
    def socket(self) -> socket.socket:
        """To wait for messages of several channels."""
        return self._socket

    def send(self, message: Encoded) -> None:
        """Sends a message."""
        for part in message:
            self._socket.sendall(part)

    def receive(self) -> Message:
        """Waits for a message."""
        arrays: list[Array] = []

        def make(code: int, data: memoryview) -> Array:
            name, shape = msgspec.msgpack.decode(data, type=tuple[str, tuple[int, ...]])
            if code != _ARRAY or np.dtype(name).kind not in _KINDS:
                raise ValueError(f"a message has an extension of type {code} and dtype {name}")
            arrays.append(np.empty(shape, name))
            return arrays[-1]

        (size,) = _SIZE.unpack(self._read(bytearray(_SIZE.size)))
        message: Message = msgspec.msgpack.decode(self._read(bytearray(size)), ext_hook=make)
        for array in arrays:
            if array.size:
                self._read(array.reshape(-1).view(np.uint8).data)
        return message

    def close(self) -> None:
        """Closes this end."""
        self._socket.close()

    def _read(self, buffer: Any) -> Any:
        """Fills a buffer, and returns it."""
        rest = memoryview(buffer)
        while rest:
            count = self._socket.recv_into(rest)
            if count == 0:
                raise EOFError
            rest = rest[count:]
        return buffer


def describe_error(error: BaseException, first_environment: int) -> Message:
    """The content of a message about an error of a worker whose first environment has this number in the run."""
    if isinstance(error, EnvironmentFailure):
        number = error.environment
        known = None if number is None else first_environment + number
        return {"environment": known, "step": error.step, "cause": error.cause}
    kind = next((kind.__name__ for kind in _ERRORS if isinstance(error, kind)), "")
    return {"kind": kind, "text": str(error) if kind else f"{type(error).__name__}: {error}"}


def error_of(content: Message) -> Exception:
    """The error that :func:`describe_error` has described; a ``RuntimeError`` instead of one of another kind."""
    if "cause" in content:
        return EnvironmentFailure(content["environment"], content["step"], content["cause"])
    kind = next((kind for kind in _ERRORS if kind.__name__ == content["kind"]), RuntimeError)
    return kind(content["text"])
