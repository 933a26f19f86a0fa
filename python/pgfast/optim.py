"""First-order optimizers on flat parameter vectors, and learning-rate schedules."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from pgfast._native import core
from pgfast._typing import FloatArray

__all__ = ["SGD", "Adam", "Optimizer", "RMSprop", "RmspropForm", "linear_schedule"]

RmspropForm: TypeAlias = Literal["pytorch", "tensorflow"]


class Optimizer(ABC):
    """A rule that moves ``parameters`` ``[P]`` against ``gradient`` ``[P]``, in place.

    The state arrays are allocated at the first step, in the parameters' dtype. ``learning_rate`` may be set between
    steps. A step that would write a non-finite number raises ``FloatingPointError`` and changes nothing.
    """

    state_names: tuple[str, ...] = ()
    initial_state: float = 0.0

    def __init__(self, learning_rate: float) -> None:
        if not 0.0 <= learning_rate < float("inf"):
            raise ValueError(f"{type(self).__name__}: learning_rate must be at least 0 and finite, got {learning_rate}")
        self.learning_rate = float(learning_rate)
        self.steps = 0
        self._state: dict[str, FloatArray] = {}
        self._state_norm = self.initial_state  # no entry of the state is larger

    def step(self, parameters: FloatArray, gradient: FloatArray, *, max_norm: float = math.inf) -> float:
        """Updates ``parameters`` and the optimizer's state in place.

        Args:
            parameters, gradient: ``[P]`` of one dtype; ``gradient`` is not changed.
            max_norm: largest Euclidean norm of the gradient; the step is that of a longer one scaled down to it, as by
                :func:`pgfast.kernels.clip_by_global_norm`, in the same pass.

        Returns: the gradient's norm before clipping.

        Raises ``TypeError`` (dtype), ``ValueError`` (shape, non-finite gradient, max_norm not positive, a norm that
        overflows where it is to be clipped), ``FloatingPointError``.
        """
        state = self._state
        if not state:
            core.check_step(f"{type(self).__name__}.step", parameters, gradient)
            state = {name: np.full_like(parameters, self.initial_state) for name in self.state_names}
        done, gradient_norm, state_norm = self._native_step(parameters, gradient, state, max_norm)
        if not done:
            raise FloatingPointError(
                f"{type(self).__name__}.step: the step would write a number that is not finite; nothing was changed"
            )
        self._state, self._state_norm = state, state_norm
        self.steps += 1
        return gradient_norm

    @abstractmethod
    def _native_step(
        self, parameters: FloatArray, gradient: FloatArray, state: dict[str, FloatArray], max_norm: float
    ) -> tuple[bool, float, float]:
        """(done, norm of the gradient, bound on the new state)"""

    def state_dict(self) -> dict[str, Any]:
        """The state: ``steps`` (int), ``learning_rate`` (float) and copies of the state arrays."""
        arrays = {name: array.copy() for name, array in self._state.items()}
        return {"steps": self.steps, "learning_rate": self.learning_rate, **arrays}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what :meth:`state_dict` gave.

        Raises ``ValueError`` if a key is missing or unknown, or a number is none that an optimizer can have.
        """
        arrays = {name: state[name] for name in self.state_names if name in state}
        known = {"steps", "learning_rate", *self.state_names}
        if (
            set(state) - known
            or not {"steps", "learning_rate"} <= set(state)
            or len(arrays)
            not in (
                0,
                len(self.state_names),
            )
        ):
            raise ValueError(f"{type(self).__name__}.load_state_dict: expected {sorted(known)}, got {sorted(state)}")
        steps, learning_rate = int(state["steps"]), float(state["learning_rate"])
        if steps < 0 or not 0.0 <= learning_rate < float("inf"):
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: steps and learning_rate must be at least 0 and finite, "
                f"got {steps} and {learning_rate}"
            )
        if any((arrays[name] < 0).any() for name in arrays if name == "mean_square"):
            raise ValueError(f"{type(self).__name__}.load_state_dict: mean squares must be at least 0")
        self.steps, self.learning_rate = steps, learning_rate
        self._state = {name: np.array(array) for name, array in arrays.items()}
        self._state_norm = max((_largest(array) for array in self._state.values()), default=self.initial_state)


def require_slots_of(parameters: FloatArray, arrays: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` unless the state arrays of an optimizer are those of such parameters."""
    for name, array in arrays.items():
        if array.shape != parameters.shape or array.dtype != parameters.dtype:
            raise ValueError(
                f"the optimizer's {name} must be {parameters.dtype} {parameters.shape}, got {array.dtype} {array.shape}"
            )


def _largest(array: FloatArray) -> float:
    """The size of the largest entry; NaN for what is no array of numbers, which the next step refuses."""
    return float(np.abs(array).max(initial=0.0)) if array.dtype.kind == "f" else math.nan


def _check_fraction(owner: str, name: str, value: float) -> float:
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{owner}: {name} must be in [0, 1), got {value}")
    return float(value)


def _check_positive(owner: str, name: str, value: float) -> float:
    if not 0.0 < value < float("inf"):
        raise ValueError(f"{owner}: {name} must be positive and finite, got {value}")
    return float(value)


class SGD(Optimizer):
    """Gradient descent with momentum: v <- momentum v + g; parameters <- parameters - learning_rate v."""

    state_names = ("velocity",)

    def __init__(self, learning_rate: float, momentum: float = 0.0) -> None:
        super().__init__(learning_rate)
        self.momentum = _check_fraction("SGD", "momentum", momentum)

    def _native_step(
        self, parameters: FloatArray, gradient: FloatArray, state: dict[str, FloatArray], max_norm: float
    ) -> tuple[bool, float, float]:
        return core.sgd_step(
            parameters, gradient, state["velocity"], self.learning_rate, max_norm, self._state_norm, self.momentum
        )


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015, algorithm 1), with bias correction and epsilon outside the square root."""

    state_names = ("mean", "mean_square")

    def __init__(self, learning_rate: float, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> None:
        super().__init__(learning_rate)
        self.beta1 = _check_fraction("Adam", "beta1", beta1)
        self.beta2 = _check_fraction("Adam", "beta2", beta2)
        self.epsilon = _check_positive("Adam", "epsilon", epsilon)

    def _native_step(
        self, parameters: FloatArray, gradient: FloatArray, state: dict[str, FloatArray], max_norm: float
    ) -> tuple[bool, float, float]:
        return core.adam_step(
            parameters,
            gradient,
            state["mean"],
            state["mean_square"],
            self.learning_rate,
            max_norm,
            self._state_norm,
            self.steps + 1,
            self.beta1,
            self.beta2,
            self.epsilon,
        )


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton, 2012), s <- decay s + (1 - decay) g^2, in either of its two forms.

    "pytorch" starts s at 0 and divides by sqrt(s) + epsilon; "tensorflow" starts s at 1 and divides by
    sqrt(s + epsilon). With the small gradients of mean losses the second is nearly plain gradient descent.
    """

    state_names = ("mean_square",)

    def __init__(
        self, learning_rate: float, decay: float = 0.99, epsilon: float = 1e-5, form: RmspropForm = "pytorch"
    ) -> None:
        super().__init__(learning_rate)
        self.decay = _check_fraction("RMSprop", "decay", decay)
        self.epsilon = _check_positive("RMSprop", "epsilon", epsilon)
        if form not in ("pytorch", "tensorflow"):
            raise ValueError(f'RMSprop: form must be "pytorch" or "tensorflow", got "{form}"')
        self.form: RmspropForm = form
        self.initial_state = self._state_norm = 0.0 if form == "pytorch" else 1.0

    def _native_step(
        self, parameters: FloatArray, gradient: FloatArray, state: dict[str, FloatArray], max_norm: float
    ) -> tuple[bool, float, float]:
        return core.rmsprop_step(
            parameters,
            gradient,
            state["mean_square"],
            self.learning_rate,
            max_norm,
            self._state_norm,
            self.decay,
            self.epsilon,
            self.form,
        )


def linear_schedule(initial: float, timesteps: int, schedule_timesteps: int) -> float:
    """``initial`` falling linearly to 0 at ``schedule_timesteps``, 0 after it.

    Raises ``ValueError`` if schedule_timesteps < 1.
    """
    if schedule_timesteps < 1:
        raise ValueError(f"linear_schedule: schedule_timesteps must be at least 1, got {schedule_timesteps}")
    return initial * max(0.0, 1.0 - timesteps / schedule_timesteps)
