"""Value functions: the value of a state, subtracted from returns so that gradients vary less.

They are fitted to the returns of every update, together with the workers behind ``reduce``. None reads an action, which
leaves the expected gradient as it is (Williams, 1992, section 5). ``time`` counts steps since the reset.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np

from pgfast._streams import BASELINE_BATCHES
from pgfast._typing import Array, BoolArray, FloatArray, IntArray
from pgfast.kernels import fisher_matrix, natural_gradient
from pgfast.nn import Network, Tape
from pgfast.optim import Adam, require_slots_of
from pgfast.policies import Policy
from pgfast.profiling import VALUE_FIT
from pgfast.random import Rng
from pgfast.reduce import Reduce
from pgfast.state import Tree, flatten, require_same_shape, restored_if_raised

__all__ = [
    "LinearValues",
    "MLPValues",
    "Observed",
    "Returns",
    "SharedValues",
    "TimeValues",
    "ValueFunction",
    "ZeroValues",
]

_MOST_LINEAR = 2000  # a matrix of 4004 x 4004 features is solved in each update


class Observed(Protocol):
    """The part of a rollout that has values, ``[T + 1, N, ...]``."""

    observations: Array
    time: IntArray
    values: FloatArray | None


class Returns(Protocol):
    """The part of a batch that is fitted to, ``[B, ...]``; ``len`` is the number of valid rows."""

    @property
    def observations(self) -> Array: ...
    @property
    def time(self) -> IntArray: ...
    @property
    def returns(self) -> FloatArray: ...
    @property
    def valid(self) -> BoolArray | None: ...
    def numbering(self, reduce: Reduce) -> tuple[IntArray, int]: ...
    def __len__(self) -> int: ...


class ValueFunction(ABC):
    """V, fitted once per update."""

    @abstractmethod
    def values(self, observations: Array, time: IntArray) -> FloatArray:
        """V ``[B]`` of observations ``[B, ...]``, ``time`` ``[B]`` steps after a reset."""

    def of_rollout(self, rollout: Observed) -> FloatArray:
        """V ``[T + 1, N]`` of the observations of a rollout."""
        observations, time = rollout.observations, rollout.time
        return self.values(observations.reshape(-1, *observations.shape[2:]), time.reshape(-1)).reshape(time.shape)

    @abstractmethod
    def fit(self, batch: Returns, reduce: Reduce) -> None:
        """Learns from the returns of the valid rows of all workers; one worker may have none.

        A fit that raises leaves everything as it was.
        """

    def state(self) -> Tree:
        """Everything that later values and fits depend on."""
        return {}

    def load_state(self, tree: Tree) -> None:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` if the tree does not fit."""
        if tree:
            raise ValueError(f"{type(self).__name__} has no state, got {sorted(tree)}")


class ZeroValues(ValueFunction):
    """V = 0: with gae_lambda = 1 advantages are returns."""

    def values(self, observations: Array, time: IntArray) -> FloatArray:
        return np.zeros(len(time), np.float32)

    def fit(self, batch: Returns, reduce: Reduce) -> None:
        pass


class SharedValues(ValueFunction):
    """The value head of a policy's network, which the policy's own updates train."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def values(self, observations: Array, time: IntArray) -> FloatArray:
        return self._policy.values(observations)

    def of_rollout(self, rollout: Observed) -> FloatArray:
        """The values that the rollout was played with."""
        assert rollout.values is not None
        return rollout.values

    def fit(self, batch: Returns, reduce: Reduce) -> None:
        pass


class TimeValues(ValueFunction):
    """V(t) = the mean return of the last batch t steps after a reset; 0 for a time that it did not reach."""

    def __init__(self) -> None:
        self._means: FloatArray = np.zeros(0, np.float32)

    def values(self, observations: Array, time: IntArray) -> FloatArray:
        known = time < len(self._means)
        found: FloatArray = np.zeros(len(time), np.float32)
        found[known] = self._means[time[known]]
        return found

    def fit(self, batch: Returns, reduce: Reduce) -> None:
        rows = _valid_rows(batch)
        time, returns = batch.time[rows], batch.returns[rows]
        with VALUE_FIT:
            longest = int(max(reduce.gather(int(time.max(initial=-1)) + 1)))
            counts = reduce.sum(np.bincount(time, minlength=longest))
            sums = reduce.sum(np.bincount(time, weights=returns, minlength=longest))
            self._means = (sums / np.maximum(counts, 1)).astype(np.float32)

    def state(self) -> Tree:
        """``means`` by time."""
        return {"means": self._means}

    def load_state(self, tree: Tree) -> None:
        means = tree["means"]
        if means.ndim != 1 or means.dtype != np.float32:
            raise ValueError(f"means by time must be float32 of one axis, got {means.dtype} {means.shape}")
        self._means = means.copy()


class LinearValues(ValueFunction):
    """V(s, t) = w . f with features f = (s, s^2, t/100, (t/100)^2, (t/100)^3, 1), s clipped to +-10 or a byte / 255.

    w solves (F'F / B + ridge I) w = F'R / B, by the kernels that a natural gradient is computed with.

    Source: Duan et al. (2016), section 4.1 of their supplement, the linear feature baseline.
    """

    def __init__(self, observation_size: int, ridge: float = 1e-5) -> None:
        if observation_size > _MOST_LINEAR:
            raise ValueError(
                f"LinearValues: observations of {observation_size} numbers are too many, the most is {_MOST_LINEAR}"
            )
        self._ridge = ridge
        self._weights: FloatArray = np.zeros(2 * observation_size + 4)

    def _features(self, observations: Array, time: IntArray) -> Array:
        flat = observations.reshape(len(time), -1).astype(np.float64)
        state = flat / 255.0 if observations.dtype == np.uint8 else np.clip(flat, -10.0, 10.0)
        t = time[:, np.newaxis] / 100.0
        return np.concatenate([state, state**2, t, t**2, t**3, np.ones_like(t)], axis=1)

    def values(self, observations: Array, time: IntArray) -> FloatArray:
        # einsum rather than @: BLAS may add in another order on another number of threads.
        found: FloatArray = np.einsum("bf,f->b", self._features(observations, time), self._weights).astype(np.float32)
        return found

    def fit(self, batch: Returns, reduce: Reduce) -> None:
        with VALUE_FIT:
            count = reduce.sum(len(batch))
            features = self._features(batch.observations, batch.time)
            if batch.valid is not None:
                features *= batch.valid[:, np.newaxis]
            squares = reduce.sum(fisher_matrix(features, count=count))
            moment = reduce.sum(np.einsum("bf,b->f", features, batch.returns.astype(np.float64)) / count)
            self._weights = natural_gradient(squares, moment, self._ridge)

    def state(self) -> Tree:
        """``weights`` of the features."""
        return {"weights": self._weights}

    def load_state(self, tree: Tree) -> None:
        require_same_shape("the weights of linear values", tree["weights"], self._weights)
        self._weights = tree["weights"].copy()


class MLPValues(ValueFunction):
    """A network with one output, fitted to mean((R - V)^2) by minibatches of Adam.

    Args:
        network: with one output; its parameters are written in place.
        learning_rate: of Adam.
        epochs: passes over each batch, in a new order every time.
        batch_size: rows of a minibatch, of all workers together.
        seed: of the orders.
    """

    def __init__(self, network: Network, *, learning_rate: float, epochs: int, batch_size: int, seed: int) -> None:
        if network.output_size != 1:
            raise ValueError(f"MLPValues: the network must have one output, got {network.output_size}")
        self.network = network
        self._optimizer = Adam(learning_rate)
        self._epochs = epochs
        self._batch_size = batch_size
        self._rng = Rng.internal(seed, BASELINE_BATCHES)
        self._tape: Tape | None = None
        self._gradient: FloatArray = np.zeros_like(network.parameters)

    def values(self, observations: Array, time: IntArray) -> FloatArray:
        return self.network.forward(observations).reshape(-1)

    def fit(self, batch: Returns, reduce: Reduce) -> None:
        """``epochs`` passes of minibatches, cut from one order of the rows of all workers.

        Raises ``ValueError`` or ``FloatingPointError`` if a gradient or a step is not finite.
        """
        rows = _valid_rows(batch)
        observations, returns = batch.observations[rows], batch.returns[rows]
        with VALUE_FIT, restored_if_raised(self):
            numbers, count = batch.numbering(reduce)
            own_row = np.full(count, -1)  # by the number of a row among those of all workers; -1 for others
            own_row[numbers] = np.arange(len(numbers))
            for _ in range(self._epochs):
                order = own_row[np.argsort(self._rng.uniform(count), kind="stable")]
                for first in range(0, count, self._batch_size):
                    chosen = order[first : first + self._batch_size]
                    own = chosen[chosen >= 0]
                    self._differentiate(observations[own], returns[own], len(chosen))
                    self._optimizer.step(self.network.parameters, reduce.sum(self._gradient))

    def _differentiate(self, observations: Array, returns: FloatArray, count: int) -> None:
        """Writes the gradient of sum((R - V)^2) / count."""
        if not len(returns):
            self._gradient[:] = 0.0
            return
        if self._tape is None or self._tape.rows < len(returns):
            self._tape = Tape(self.network, len(returns))
        self._tape.record(observations)
        errors = self._tape.outputs[: len(returns)] - returns[:, np.newaxis]
        self._tape.vjp(errors * errors.dtype.type(2.0 / count), self._gradient)

    def state(self) -> Tree:
        """The parameters, the optimizer's state and the ``position`` of the random numbers."""
        return {
            "parameters": self.network.parameters,
            "optimizer": self._optimizer.state(),
            "position": self._rng.position,
        }

    def load_state(self, tree: Tree) -> None:
        parameters, optimizer, position = tree["parameters"], tree["optimizer"], int(tree["position"])
        if not 0 <= position < 2**63:
            raise ValueError(f"the position of the random numbers must be in [0, 2^63), got {position}")
        require_same_shape("the parameters of a value network", parameters, self.network.parameters)
        require_slots_of(self.network.parameters, flatten(optimizer)[0])
        self._optimizer.load_state(optimizer)
        self.network.parameters[:] = parameters
        self._rng.position = position


def _valid_rows(batch: Returns) -> Any:
    """An index of the valid rows; all rows are a view."""
    return slice(None) if batch.valid is None else batch.valid
