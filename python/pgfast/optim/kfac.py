"""Kronecker-factored approximate curvature."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pgfast._native import core
from pgfast._typing import BoolArray, FloatArray
from pgfast.nn import Network, Tape
from pgfast.optim.first_order import SGD
from pgfast.profiling import OPTIMIZER
from pgfast.reduce import ALONE, Reduce
from pgfast.state import require_count, require_same_shape

__all__ = ["KFAC", "KroneckerFactors"]

_TINY = float(np.finfo(np.float64).tiny)


class KroneckerFactors(NamedTuple):
    """The statistics of a layer; its Fisher matrix is about kron(inputs, outputs).

    The layer's parameters are a matrix W ``[inputs, outputs]`` with the bias as its last row. Of a layer normalization,
    ``inputs`` ``[2, size]`` is the diagonal of the Fisher matrix of weight and bias, and ``outputs`` is None.
    """

    inputs: FloatArray
    outputs: FloatArray | None
    parameters: slice


class _Averages(NamedTuple):
    """The averages of the statistics over some observations, never changed in place."""

    values: FloatArray
    observations: int


class _Factored(NamedTuple):
    """The Cholesky factors of damped averages, never changed in place."""

    factors: FloatArray
    observations: int  # of the averages; 0 for none
    raised: int  # dampings


class KFAC:
    """The natural gradient of a network by Kronecker factors, with momentum and a bound on the step's KL divergence.

    The Fisher matrix of each layer is approximated by kron(A, S): A is the second moment of its inputs and a 1 for the
    bias, S that of the log-likelihood's gradients with respect to its outputs before the activation. Both are
    exponential averages over the observations. With damping,

    x = (A + pi sqrt(damping) I)^-1 g (S + sqrt(damping) / pi I)^-1, where pi^2 = (tr A / dim A) / (tr S / dim S)

    for each layer, and a step is

    v <- momentum v + (1 - momentum) min(1, sqrt(2 max_kl / (learning_rate^2 x'g))) x
    parameters <- parameters - learning_rate v

    x'g is x'Fx with the damped F. A step is a mean of bounded natural gradients, so it changes the outputs'
    distribution by about ``max_kl`` at most, while the factors change slowly. Layer normalizations, whose parameters
    are few, have the diagonal of their Fisher matrix. Parameters after those of the network are the log_std of a
    Gaussian, whose Fisher matrix is exactly 2 I.

    The statistics of a batch need memory for the inputs and gradients of every layer at every position that they use:
    for large images, take a ``position_stride``.

    A network with memory is refused: its weights act at every step of a sequence, whose gradients depend on each other.

    Args:
        network: its layers are dense, convolutions and layer normalizations.
        learning_rate: at least 0 and finite.
        momentum: in [0, 1).
        decay: of the averages, in [0, 1). They are corrected for their start at zero.
        damping: positive.
        max_kl: largest KL divergence of a step, about; infinite for no bound.
        inverse_every: observations between two factorizations of A and S, at least 1.
        position_stride: convolutions use every so many positions of an image for their statistics, at least 1.

    Raises:
        ValueError: if a number is out of range, or the network has memory.

    Source: Martens and Grosse (2015), sections 3 and 6.3; Grosse and Martens (2016), section 3, for convolutions; Wu et
    al. (2017) for the bound.
    """

    def __init__(
        self,
        network: Network,
        learning_rate: float,
        *,
        momentum: float = 0.9,
        decay: float = 0.99,
        damping: float = 0.01,
        max_kl: float = 1e-3,
        inverse_every: int = 10,
        position_stride: int = 1,
    ) -> None:
        for name, value, is_valid, bounds in (
            ("decay", decay, 0 <= decay < 1, "in [0, 1)"),
            ("damping", damping, 0 < damping < math.inf, "positive and finite"),
            ("max_kl", max_kl, max_kl > 0, "positive"),
            ("inverse_every", inverse_every, inverse_every >= 1, "at least 1"),
        ):
            if not is_valid:
                raise ValueError(f"KFAC: {name} must be {bounds}, got {value}")
        self.network = network
        self._native = core.KFAC(network.native, position_stride)
        self._descent = SGD(learning_rate, momentum)
        self._momentum, self._decay, self._damping = momentum, decay, damping
        self._max_kl, self._inverse_every = max_kl, inverse_every
        self.raised_dampings = 0
        self._forget()

    def _forget(self) -> None:
        self._averages = _Averages(np.zeros(self._native.size, self.network.dtype), 0)
        self._factored = _Factored(np.zeros_like(self._averages.values), 0, 0)

    @property
    def steps(self) -> int:
        """The number of steps taken."""
        return self._descent.steps

    @property
    def learning_rate(self) -> float:
        """The learning rate of the latest step."""
        return self._descent.learning_rate

    @property
    def observations(self) -> int:
        """The number of observations."""
        return self._averages.observations

    def measure(
        self,
        tape: Tape,
        row_gradients: FloatArray,
        *,
        valid: BoolArray | None = None,
        count: int | None = None,
        reduce: Reduce = ALONE,
    ) -> FloatArray:
        """Computes the statistics of the first B rows of a tape, for :meth:`step`.

        Args:
            tape: of the network, with its current parameters.
            row_gradients: ``[B, output_size]``, d log p(y_b | x_b) / d outputs for outputs y_b drawn from the model:
                actions that the policy has taken, or numbers drawn for this purpose.
            valid: ``[B]``, the rows that count; None for all.
            count: divisor of the means; None for the number of valid rows of all workers.
            reduce: the sums over all workers.

        Returns:
            All A and S side by side, newly allocated.

        Raises:
            TypeError: if a dtype is wrong.
            ValueError: if a shape is wrong, a gradient is not finite, or the tape is of another network.
        """
        if count is None and reduce.workers > 1:
            count = reduce.sum(len(row_gradients) if valid is None else int(np.count_nonzero(valid)))
        return reduce.sum(
            self._native.measure(tape.native, self.network.parameters, row_gradients, valid=valid, count=count)
        )

    def observe(
        self,
        tape: Tape,
        row_gradients: FloatArray,
        *,
        valid: BoolArray | None = None,
        count: int | None = None,
        reduce: Reduce = ALONE,
    ) -> None:
        """Adds the statistics of the first B rows of a tape to the averages; arguments as for :meth:`measure`.

        Raises:
            As :meth:`measure` does.
            FloatingPointError: if the averages would not be finite; they are unchanged then.
        """
        self._averages = self._averaged(self.measure(tape, row_gradients, valid=valid, count=count, reduce=reduce))

    def _averaged(self, statistics: FloatArray | None) -> _Averages:
        if statistics is None:
            return self._averages
        number = self.observations + 1
        rate = (1.0 - self._decay) / (1.0 - self._decay**number)
        if not self._native.blend(self._averages.values, rate, statistics):
            raise FloatingPointError("KFAC.observe: the statistics are not finite; nothing was changed")
        return _Averages(statistics, number)

    def factors(self) -> list[KroneckerFactors]:
        """Returns the averages of each layer, as views, in the order of the network's layout."""
        found, averages = [], self._averages.values
        for first, inputs, outputs, a, s in self._native.blocks:
            if s < 0:
                diagonal = averages[a : a + 2 * outputs].reshape(2, outputs)
                found.append(KroneckerFactors(diagonal, None, slice(first, first + 2 * outputs)))
                continue
            of_inputs = averages[a : a + inputs**2].reshape(inputs, inputs)
            of_outputs = averages[s : s + outputs**2].reshape(outputs, outputs)
            found.append(KroneckerFactors(of_inputs, of_outputs, slice(first, first + inputs * outputs)))
        return found

    def natural_gradient(self, gradient: FloatArray) -> FloatArray:
        """Returns x ``[P]``, about (F + damping)^-1 ``gradient``.

        Factors the averages first, unless this was done within the last ``inverse_every`` observations.

        Raises:
            TypeError: if the dtype is wrong.
            ValueError: if the shape is wrong, the gradient is not finite, or nothing was observed.
            FloatingPointError: if an average is not positive definite with 10^7 times the damping.
        """
        factored = self._factors_of(self._averages)
        x = self._native.natural_gradient(factored.factors, gradient, self._damping)
        self._keep(self._averages, factored)
        return x

    def _factors_of(self, averages: _Averages) -> _Factored:
        """The factors that are due, new or those of before."""
        latest = self._factored
        if averages.observations == 0:
            raise ValueError("KFAC.natural_gradient: observe comes first")
        if latest.observations and averages.observations - latest.observations < self._inverse_every:
            return latest
        factors = np.empty_like(averages.values)
        raised = self._native.factor(averages.values, self._damping, factors)
        if raised < 0:
            raise FloatingPointError("KFAC: the averages are not positive definite; nothing was changed")
        return _Factored(factors, averages.observations, raised)

    def _keep(self, averages: _Averages, factored: _Factored) -> None:
        self._averages = averages
        if factored is not self._factored:
            self._factored = factored
            self.raised_dampings += factored.raised

    def curvature(self, x: FloatArray) -> float:
        """Returns x'Fx for ``x`` ``[P]``, with the averages and without damping."""
        return self._native.curvature(self._averages.values, x)

    def step(
        self,
        parameters: FloatArray,
        gradient: FloatArray,
        *,
        learning_rate: float | None = None,
        statistics: FloatArray | None = None,
    ) -> float:
        """Updates ``parameters`` and the velocity in place; a step that raises changes nothing.

        Args:
            parameters: ``[P]``, written in place.
            gradient: ``[P]``, of the dtype of ``parameters``.
            learning_rate: of this step and later ones; None for the current one.
            statistics: are observed before the step, and overwritten; None for none.

        Returns:
            What x is multiplied by, below 1 where ``max_kl`` bounds the step.

        Raises:
            As :meth:`natural_gradient` does.
            FloatingPointError: also if the averages or the parameters would not be finite.
        """
        with OPTIMIZER:
            averages = self._averaged(statistics)
            factored = self._factors_of(averages)
            x = self._native.natural_gradient(factored.factors, gradient, self._damping)
            rate = self.learning_rate if learning_rate is None else learning_rate
            curvature = float(np.multiply(x, gradient, dtype=np.float64).sum())
            scale = min(1.0, math.sqrt(2.0 * self._max_kl / max(rate * rate * curvature, _TINY)))
            x *= x.dtype.type((1.0 - self._momentum) * scale)
            self._descent.step(parameters, x, learning_rate=rate)
            self._keep(averages, factored)
            return scale

    def state(self) -> dict[str, Any]:
        """Returns everything that a later step depends on; its arrays do not change."""
        return {
            **{"observations": self.observations, "factored_at": self._factored.observations},
            **{"raised_dampings": self.raised_dampings, "descent": self._descent.state()},
            **({"averages": self._averages.values, "factors": self._factored.factors} if self.observations else {}),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restores a state by copying its arrays. A state without arrays resets the optimizer to before its first step.

        Raises:
            KeyError: if a part is missing.
            TypeError: if a dtype is wrong.
            ValueError: if a shape is wrong or a number is out of range.
        """
        raised = require_count("raised_dampings", state["raised_dampings"])
        if "averages" not in state:
            self._descent.load_state(state["descent"])
            self._forget()
            self.raised_dampings = 0
            return
        averages, factors = (np.array(state[name]) for name in ("averages", "factors"))
        for name, array in (("averages", averages), ("factors", factors)):
            require_same_shape(f"KFAC's {name}", array, self._averages.values)
            if core.first_not_finite(array) >= 0:
                raise ValueError(f"KFAC's {name} must be finite")
        observations, factored_at = (require_count(name, state[name]) for name in ("observations", "factored_at"))
        if factored_at > observations:
            raise ValueError(f"factored_at must be at most observations = {observations}, got {factored_at}")
        self._descent.load_state(state["descent"])
        self._averages, self._factored = _Averages(averages, observations), _Factored(factors, factored_at, 0)
        self.raised_dampings = raised

    def require_fit(self, state: Mapping[str, Any], parameters: FloatArray) -> None:
        """Raises ``ValueError`` unless the velocity of a state has the shape and dtype of the parameters."""
        self._descent.require_fit(state["descent"], parameters)

    state_dict = state
    load_state_dict = load_state
