"""Baselines: what a state is worth, subtracted from returns so that gradients vary less.

``values(observations, time)`` gives V ``[B]`` (float32) of observations ``[B, ...]`` that were ``time`` ``[B]`` steps
after a reset; ``fit(observations, time, returns)`` learns from the returns ``[B]`` of an update. A baseline never reads
an action, so that it leaves the expected gradient as it is (Williams, 1992, section 5).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from pgfast import kernels
from pgfast._streams import BASELINE_BATCHES
from pgfast._typing import Array, FloatArray, IntArray
from pgfast.nn import Network, Tape
from pgfast.optim import Adam, require_slots_of
from pgfast.random import Rng

__all__ = ["Baseline", "LinearBaseline", "MLPBaseline", "TimeBaseline", "ZeroBaseline"]


_MOST_LINEAR = 2000  # a matrix of 4004 x 4004 features is solved in each update


class Baseline(ABC):
    """A value function that is fitted once per update."""

    @abstractmethod
    def values(self, observations: Array, time: IntArray) -> FloatArray:
        """V, ``[B]`` float32."""

    @abstractmethod
    def fit(self, observations: Array, time: IntArray, returns: FloatArray) -> None:
        """Learns from the returns ``[B]`` float32 of a batch."""

    def state(self) -> dict[str, Array]:
        """What :meth:`values` depends on, as arrays."""
        return {}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Takes over what :meth:`state` gave. Raises ``KeyError``, or ``ValueError`` where it does not fit."""
        if state:
            raise ValueError(f"a {type(self).__name__} has no state, got {sorted(state)}")

    def training_state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """(arrays, JSON) that a later :meth:`fit` depends on besides."""
        return {}, {}

    def load_training_state(self, arrays: Mapping[str, Array], state: Mapping[str, Any]) -> None:
        """Takes over what :meth:`training_state` gave. Raises as :meth:`load_state` does."""
        if arrays or state:
            raise ValueError(f"a {type(self).__name__} keeps nothing for its fits, got {sorted([*arrays, *state])}")


class ZeroBaseline(Baseline):
    """V = 0: with gae_lambda = 1 advantages are returns."""

    def values(self, observations: Array, time: IntArray) -> FloatArray:
        """Zeros."""
        return np.zeros(len(time), np.float32)

    def fit(self, observations: Array, time: IntArray, returns: FloatArray) -> None:
        """Learns nothing."""


class TimeBaseline(Baseline):
    """V(t) = the mean return of the last batch t steps after a reset; 0 for a time that it did not reach."""

    def __init__(self) -> None:
        self._means: FloatArray = np.zeros(0, np.float32)

    def values(self, observations: Array, time: IntArray) -> FloatArray:
        """V of each time."""
        known = time < len(self._means)
        found: FloatArray = np.zeros(len(time), np.float32)
        found[known] = self._means[time[known]]
        return found

    def fit(self, observations: Array, time: IntArray, returns: FloatArray) -> None:
        """Takes the means of this batch."""
        counts = np.bincount(time)
        self._means = (np.bincount(time, weights=returns) / np.maximum(counts, 1)).astype(np.float32)

    def state(self) -> dict[str, Array]:
        """``means`` by time."""
        return {"means": self._means}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Takes over the means."""
        means = state["means"]
        if means.ndim != 1 or means.dtype != np.float32:
            raise ValueError(f"a time baseline has float32 means of one axis, got {means.dtype} {means.shape}")
        self._means = means.copy()


class LinearBaseline(Baseline):
    """V(s, t) = w . f with features f = (s, s^2, t/100, (t/100)^2, (t/100)^3, 1), s cut off at +-10 or a byte / 255.

    w solves (F'F / B + ridge I) w = F'R / B, by the kernels that a natural gradient is computed with.

    Source: Duan et al. (2016), section 4.1 of their supplement, the linear feature baseline.
    """

    def __init__(self, observation_size: int, ridge: float = 1e-5) -> None:
        if observation_size > _MOST_LINEAR:
            raise ValueError(
                f"LinearBaseline: observations of {observation_size} numbers are too many, the most is {_MOST_LINEAR}"
            )
        self._ridge = ridge
        self._weights: FloatArray = np.zeros(2 * observation_size + 4)

    def _features(self, observations: Array, time: IntArray) -> Array:
        flat = observations.reshape(len(time), -1).astype(np.float64)
        state = flat / 255.0 if observations.dtype == np.uint8 else np.clip(flat, -10.0, 10.0)
        t = time[:, np.newaxis] / 100.0
        return np.concatenate([state, state**2, t, t**2, t**3, np.ones_like(t)], axis=1)

    def values(self, observations: Array, time: IntArray) -> FloatArray:
        """V of each row."""
        # einsum rather than @: BLAS may add in another order on another number of threads.
        found: FloatArray = np.einsum("bf,f->b", self._features(observations, time), self._weights).astype(np.float32)
        return found

    def fit(self, observations: Array, time: IntArray, returns: FloatArray) -> None:
        """Least squares with a ridge, in float64."""
        features = self._features(observations, time)
        moment = np.einsum("bf,b->f", features, returns.astype(np.float64)) / len(returns)
        self._weights = kernels.natural_gradient(kernels.fisher_matrix(features), moment, self._ridge)

    def state(self) -> dict[str, Array]:
        """``weights``."""
        return {"weights": self._weights}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Takes over the weights."""
        weights = state["weights"]
        if weights.shape != self._weights.shape or weights.dtype != np.float64:
            raise ValueError(f"this linear baseline has float64 weights {self._weights.shape}, got {weights.shape}")
        self._weights = weights.copy()


class MLPBaseline(Baseline):
    """A network with one output, fitted to mean((R - V)^2) by minibatches of Adam.

    Args:
        network: with one output; its parameters are written in place.
        learning_rate: of Adam.
        epochs: passes over each batch, in a new order every time.
        batch_size: rows of a minibatch.
        seed: of the orders.
    """

    def __init__(self, network: Network, *, learning_rate: float, epochs: int, batch_size: int, seed: int) -> None:
        if network.output_size != 1:
            raise ValueError(f"MLPBaseline: the network must have one output, got {network.output_size}")
        self.network = network
        self._optimizer = Adam(learning_rate)
        self._epochs = epochs
        self._batch_size = batch_size
        self._rng = Rng.internal(seed, BASELINE_BATCHES)
        self._tape: Tape | None = None
        self._gradient: FloatArray = np.zeros_like(network.parameters)

    def values(self, observations: Array, time: IntArray) -> FloatArray:
        """V of each row."""
        return self.network.forward(observations).reshape(-1)

    def fit(self, observations: Array, time: IntArray, returns: FloatArray) -> None:
        """``epochs`` passes of minibatches.

        Raises ``FloatingPointError`` where a step would write a number that is not finite; all is as before then.
        """
        parameters, (arrays, scalars) = self.network.parameters.copy(), self.training_state()
        try:
            self._fit(observations, returns)
        except FloatingPointError:
            self.network.parameters[:] = parameters
            self.load_training_state(arrays, scalars)
            raise

    def _fit(self, observations: Array, returns: FloatArray) -> None:
        rows = min(self._batch_size, len(returns))
        if self._tape is None or self._tape.rows < rows:
            self._tape = Tape(self.network, rows)
        for _ in range(self._epochs):
            order = np.argsort(self._rng.uniform(len(returns)), kind="stable")
            for first in range(0, len(order), self._batch_size):
                chosen = order[first : first + self._batch_size]
                inputs = observations[chosen]
                errors = self._tape.forward(inputs) - returns[chosen, np.newaxis]
                self._tape.vjp(inputs, errors * np.float32(2.0 / len(chosen)), self._gradient)
                self._optimizer.step(self.network.parameters, self._gradient)

    def state(self) -> dict[str, Array]:
        """``parameters``."""
        return {"parameters": self.network.parameters}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Takes over the parameters."""
        own, given = self.network.parameters, state["parameters"]
        if given.shape != own.shape or given.dtype != own.dtype:
            raise ValueError(f"this baseline has {own.dtype} parameters {own.shape}, got {given.dtype} {given.shape}")
        own[:] = given

    def training_state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """The optimizer's state, and the position of the random numbers."""
        state = self._optimizer.state_dict()
        arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
        scalars = {name: value for name, value in state.items() if name not in arrays}
        return arrays, {**scalars, "position": self._rng.position}

    def load_training_state(self, arrays: Mapping[str, Array], state: Mapping[str, Any]) -> None:
        """Takes over the optimizer's state. Raises ``ValueError`` or ``KeyError`` where it does not fit."""
        scalars = dict(state)
        position = int(scalars.pop("position"))
        if not 0 <= position < 2**63:
            raise ValueError(f"the position of the random numbers must be in [0, 2^63), got {position}")
        require_slots_of(self.network.parameters, arrays)
        self._optimizer.load_state_dict({**scalars, **arrays})
        self._rng.position = position
