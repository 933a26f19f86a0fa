"""Value functions: estimates of a state's return, subtracted from returns to reduce the variance of gradients.

They are fitted to the returns of every update, over all workers of ``reduce``. They do not depend on the action, so the
expected gradient is unchanged (Williams, 1992, section 5). ``time`` counts the steps since the reset.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from pgfast._native import core
from pgfast._streams import BASELINE_BATCHES
from pgfast._typing import Array, BoolArray, FloatArray, IntArray
from pgfast.kernels import fisher_matrix, natural_gradient
from pgfast.nn import Leaf, Network, Tape
from pgfast.optim import Adam
from pgfast.policies import Policy
from pgfast.profiling import VALUE_FIT
from pgfast.random import Rng
from pgfast.reduce import Reduce
from pgfast.state import Tree, require_same_shape, restored_if_raised

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


def __dir__() -> list[str]:
    return __all__


_MAX_LINEAR_SIZE = 2000  # of an observation: each update solves a system of 4004 equations


class Observed(Protocol):
    """The observations of a rollout, ``[T + 1, N, ...]``, and their values if the policy has a value head."""

    observations: Array
    time: IntArray
    values: FloatArray | None


class Returns(Protocol):
    """The rows of a batch that a value function is fitted to, ``[B, ...]``; ``len`` counts the valid ones."""

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
    """An estimate V of the return from a state, fitted once per update."""

    @abstractmethod
    def values(self, observations: Array, time: IntArray) -> FloatArray:
        """Returns V ``[B]`` of ``observations`` ``[B, ...]`` seen ``time`` ``[B]`` steps after the reset."""

    def values_at(self, observations: Array, time: IntArray, state: FloatArray | None) -> FloatArray:
        """Returns :meth:`values`, or those of a policy's head that depend on ``state`` ``[B, state_size]``.

        The state is that of the policy's memory before the observations, and None without memory.
        """
        return self.values(observations, time)

    def of_rollout(self, rollout: Observed) -> FloatArray:
        """Returns V ``[T + 1, N]`` of the observations of a rollout."""
        observations, time = rollout.observations, rollout.time
        return self.values(observations.reshape(-1, *observations.shape[2:]), time.reshape(-1)).reshape(time.shape)

    @abstractmethod
    def fit(self, batch: Returns, reduce: Reduce) -> None:
        """Fits V to the returns of the valid rows of all workers; a worker may have none.

        A fit that raises changes nothing.
        """

    def state(self) -> Tree:
        """Returns everything that later values and fits depend on."""
        return {}

    def load_state(self, tree: Tree) -> None:
        """Restores a state.

        Raises:
            KeyError, TypeError, ValueError: if the tree does not fit.
        """
        if tree:
            raise ValueError(f"{type(self).__name__} has no state, got {sorted(tree)}")


class ZeroValues(ValueFunction):
    """V = 0; with gae_lambda = 1 the advantages are the returns."""

    def values(self, observations: Array, time: IntArray) -> FloatArray:
        return np.zeros(len(time), np.float32)

    def fit(self, batch: Returns, reduce: Reduce) -> None:
        """Does nothing, as V is constant."""


class SharedValues(ValueFunction):
    """The value head of a policy's network, trained by the updates of the policy."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def values(self, observations: Array, time: IntArray) -> FloatArray:
        return self._policy.values(observations)

    def values_at(self, observations: Array, time: IntArray, state: FloatArray | None) -> FloatArray:
        if state is None:
            return self.values(observations, time)
        values = self._policy.step(observations, state).values
        assert values is not None
        return values

    def of_rollout(self, rollout: Observed) -> FloatArray:
        """Returns the values computed during the rollout."""
        assert rollout.values is not None
        return rollout.values

    def fit(self, batch: Returns, reduce: Reduce) -> None:
        """Does nothing, as the updates of the policy train the value head."""


class TimeValues(ValueFunction):
    """V(t) = the mean return of the last batch t steps after the reset, or 0 if the batch did not reach t."""

    def __init__(self) -> None:
        self._means: FloatArray = np.zeros(0, np.float32)

    def values(self, observations: Array, time: IntArray) -> FloatArray:
        reached = time < len(self._means)
        values: FloatArray = np.zeros(len(time), np.float32)
        values[reached] = self._means[time[reached]]
        return values

    def fit(self, batch: Returns, reduce: Reduce) -> None:
        rows = _valid_rows(batch)
        time, returns = batch.time[rows], batch.returns[rows]
        with VALUE_FIT:
            length = int(max(reduce.gather(int(time.max(initial=-1)) + 1)))
            counts = reduce.sum(np.bincount(time, minlength=length))
            sums = reduce.sum(np.bincount(time, weights=returns, minlength=length))
            self._means = (sums / np.maximum(counts, 1)).astype(np.float32)

    def state(self) -> Tree:
        """Returns ``means``, by time."""
        return {"means": self._means}

    def load_state(self, tree: Tree) -> None:
        means = tree["means"]
        if means.ndim != 1 or means.dtype != np.float32:
            raise ValueError(f"means by time must be float32 with one axis, got {means.dtype} {means.shape}")
        self._means = means.copy()


class LinearValues(ValueFunction):
    """A linear function of features of the observation and the time, fitted by ridge regression.

    V(s, t) = w . f,  f = (s, s^2, t/100, (t/100)^2, (t/100)^3, 1)
    (F'F / B + ridge I) w = F'R / B

    s are the numbers of the observation, clipped to [-10, 10]; bytes are scaled to [0, 1] instead, and codes are taken
    one-hot. The rows of F are the features f of the batch. The kernels of the natural gradient solve the system, since
    F'F / B has the form of a Fisher matrix.

    Args:
        observation: the leaves of the observation, or the count of its numbers; s has at most 2000.
        ridge: at least 0.

    Raises:
        ValueError: if s has more than 2000 numbers.

    Source: Duan et al. (2016), section 4.1 of their supplement, the linear feature baseline.
    """

    def __init__(self, observation: int | Sequence[Leaf], ridge: float = 1e-5) -> None:
        self._leaves = (Leaf("", (observation,)),) if isinstance(observation, int) else tuple(observation)
        size = sum(sum(leaf.choices) if leaf.kind == "codes" else leaf.size for leaf in self._leaves)
        if size > _MAX_LINEAR_SIZE:
            raise ValueError(f"LinearValues: observations must have at most {_MAX_LINEAR_SIZE} numbers, got {size}")
        self._ridge = ridge
        self._weights: FloatArray = np.zeros(2 * size + 4)

    def _features(self, observations: Array, time: IntArray) -> Array:
        fields = [observations] if len(self._leaves) == 1 else [observations[leaf.name] for leaf in self._leaves]
        state = [_numbers(leaf, field.reshape(len(time), -1)) for leaf, field in zip(self._leaves, fields, strict=True)]
        squares = [numbers**2 for numbers in state]
        t = time[:, np.newaxis] / 100.0
        return np.concatenate([*state, *squares, t, t**2, t**3, np.ones_like(t)], axis=1)

    def values(self, observations: Array, time: IntArray) -> FloatArray:
        # einsum rather than @: the order in which BLAS adds may depend on the number of threads.
        values: FloatArray = np.einsum("bf,f->b", self._features(observations, time), self._weights).astype(np.float32)
        return values

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
        """Returns ``weights``, those of the features."""
        return {"weights": self._weights}

    def load_state(self, tree: Tree) -> None:
        require_same_shape("the weights of linear values", tree["weights"], self._weights)
        self._weights = tree["weights"].copy()


def _numbers(leaf: Leaf, rows: Array) -> Array:
    """The numbers of a leaf as features, float64 ``[B, ...]``, from its entries ``[B, size]``."""
    if leaf.kind == "codes":
        first = np.cumsum([0, *leaf.choices[:-1]])
        one_hot = np.zeros((len(rows), sum(leaf.choices)))
        np.put_along_axis(one_hot, (rows + first).astype(np.int64), 1.0, axis=1)
        return one_hot
    numbers = rows.astype(np.float64)
    if rows.dtype == np.uint8:
        return (numbers - leaf.low) / (leaf.high - leaf.low)
    return np.clip(numbers, -10.0, 10.0)


class MLPValues(ValueFunction):
    """A network with one output, fitted to the returns by Adam on minibatches.

    loss = mean((R - V)^2)

    Args:
        network: with one output; its parameters are written in place.
        learning_rate: of Adam.
        epochs: passes over each batch, each in a new random order.
        batch_size: rows of a minibatch, summed over all workers.
        seed: of the orders.

    Raises:
        ValueError: if the network does not have one output, or ``learning_rate`` is negative or not finite.
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
        """Makes ``epochs`` passes over minibatches, cut from one order of the rows of all workers.

        Raises:
            ValueError: if a gradient is not finite.
            FloatingPointError: if a step would write a number that is not finite.
        """
        rows = _valid_rows(batch)
        observations, returns = batch.observations[rows], batch.returns[rows].astype(self.network.dtype, copy=False)
        with VALUE_FIT, restored_if_raised(self):
            numbers, count = batch.numbering(reduce)
            of_minibatch = max(1, min(self._batch_size, len(numbers)))
            if self._tape is None or self._tape.rows < of_minibatch:
                self._tape = Tape(self.network, of_minibatch)
            for _ in range(self._epochs):
                core.fit_pass(
                    self._tape.native,
                    self._optimizer.native,
                    self.network.parameters,
                    self._gradient,
                    observations,
                    returns,
                    numbers,
                    self._rng.uniform(count),
                    self._batch_size,
                    None if reduce.workers == 1 else reduce.sum,
                )

    def state(self) -> Tree:
        """Returns the parameters, the optimizer's state and the ``position`` of the random numbers."""
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
        self._optimizer.require_fit(optimizer, self.network.parameters)
        self._optimizer.load_state(optimizer)
        self.network.parameters[:] = parameters
        self._rng.position = position


def _valid_rows(batch: Returns) -> Any:
    """An index that selects the valid rows; it is a slice, hence a view, if all rows are valid."""
    return slice(None) if batch.valid is None else batch.valid
