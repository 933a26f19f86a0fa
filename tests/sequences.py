"""Sequences for the tests of networks with memory: T steps of N sequences, and networks that are one cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from pgfast import nn
from pgfast.nn import Layer
from pgfast.reference.memory import Sequences

Draw = Callable[..., NDArray[np.float64]]
AssertClose = Callable[[NDArray[Any], NDArray[np.float64]], None]
Kind = Literal["gru", "lstm"]
KINDS: tuple[Kind, ...] = ("gru", "lstm")
each_kind = pytest.mark.parametrize("kind", KINDS)


def dense(*sizes: int) -> tuple[Layer, ...]:
    return tuple(Layer("dense", size, activation="tanh") for size in sizes)


class Run(NamedTuple):
    """T steps of N sequences with episode starts and held rows, in numbers that float32 represents exactly."""

    x: NDArray[np.float64]
    state: NDArray[np.float64]
    starts: NDArray[np.bool_]
    held: NDArray[np.bool_]

    def of(self, dtype: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_], NDArray[np.bool_]]:
        """Returns the arguments of a network."""
        return self.x.astype(dtype), self.state.astype(dtype), self.starts, self.held

    @property
    def sequences(self) -> Sequences:
        return Sequences(self.state, self.starts, self.held)


def make_run(draw: Draw, steps: int, sequences: int, inputs: int, states: int) -> Run:
    flags = np.random.default_rng(steps * sequences).random((2, steps * sequences)) < 0.2
    return Run(draw(steps * sequences, inputs), draw(sequences, states), *flags)


def cell(kind: Kind, inputs: int, size: int, dtype: Any = np.float64) -> nn.Network:
    """Returns a network that is one cell, with parameters far from their initial values."""
    network = nn.Network.of_layers((inputs,), [Layer(kind, size)], dtype=dtype)
    change = np.random.default_rng(1).standard_normal(network.parameters.size, np.float32)
    start = nn.Network.of_layers((inputs,), [Layer(kind, size)]).parameters
    network.parameters[:] = start + change / np.float32(8.0 * max(1.0, size / 16))
    return network
