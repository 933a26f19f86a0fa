"""First-order optimizers on flat parameter vectors, and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from pgfast._native import core
from pgfast._typing import FloatArray
from pgfast.profiling import OPTIMIZER
from pgfast.state import require_same_shape

__all__ = ["SGD", "Adam", "Optimizer", "RMSprop", "RmspropForm", "linear_schedule"]

RmspropForm: TypeAlias = Literal["pytorch", "tensorflow"]


class Optimizer:
    """A rule that moves ``parameters`` ``[P]`` against ``gradient`` ``[P]``, in place.

    The native object owns the slots, the vectors that the rule keeps between steps. It allocates them at its first
    step, in the parameters' dtype and size, which later steps must have too. One thread at a time steps it; others
    wait.
    """

    def __init__(self, native: core.SGD | core.Adam | core.RMSprop) -> None:
        self._native = native

    @property
    def steps(self) -> int:
        """The number of steps taken."""
        return self._native.steps

    @property
    def learning_rate(self) -> float:
        """At least 0 and finite; may be set between steps."""
        return self._native.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._native.learning_rate = value

    def step(
        self,
        parameters: FloatArray,
        gradient: FloatArray,
        *,
        max_norm: float = math.inf,
        learning_rate: float | None = None,
    ) -> float:
        """Updates ``parameters`` and the state in place; a step that raises changes neither.

        Args:
            parameters, gradient: ``[P]`` of one dtype; ``gradient`` is not changed.
            max_norm: largest Euclidean norm of the gradient; the step is that of a longer one scaled down to it, as by
                :func:`pgfast.kernels.clip_by_global_norm`, in the same pass.
            learning_rate: of this step and those after it; None for the present one.

        Returns: the gradient's norm before clipping.

        Raises: ``TypeError`` (dtype), ``ValueError`` (shape, non-finite gradient, max_norm not positive, a norm that
        overflows where it is to be clipped), ``FloatingPointError`` if the step would write a number that is not
        finite.
        """
        with OPTIMIZER:
            return self._native.step(parameters, gradient, max_norm, learning_rate)

    def state(self) -> dict[str, Any]:
        """``steps`` (int), ``learning_rate`` (float) and, after the first step, copies of the slots by name."""
        return self._native.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Takes over a state; slots are copied, and there are none again if it has none.

        Raises: ``ValueError`` if a key is missing or unknown, a number is none that an optimizer can have, or slots
        differ in size; ``TypeError`` (dtype).
        """
        scalars, slots = {"steps", "learning_rate"}, self._native.slot_names
        expected = scalars.union(slots)
        if state.keys() not in (scalars, expected):
            raise ValueError(f"{type(self).__name__}.load_state: expected {sorted(expected)}, got {sorted(state)}")
        arrays = [np.array(state[name]) for name in slots if name in state]  # aligned, wherever they were read
        self._native.load_state(int(state["steps"]), float(state["learning_rate"]), arrays)

    state_dict = state
    load_state_dict = load_state


def require_slots_of(parameters: FloatArray, arrays: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` unless the slots of an optimizer, from a file, are those of such parameters."""
    for name, array in arrays.items():
        require_same_shape(f"the optimizer's {name}", array, parameters)


class SGD(Optimizer):
    """Gradient descent with momentum: v <- momentum v + g; parameters <- parameters - learning_rate v.

    Raises: ``ValueError`` unless learning_rate is at least 0 and finite and momentum in [0, 1).
    """

    def __init__(self, learning_rate: float, momentum: float = 0.0) -> None:
        super().__init__(core.SGD(learning_rate, momentum))


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015, algorithm 1), with bias correction and epsilon outside the square root.

    Raises: ``ValueError`` unless learning_rate is at least 0 and finite, beta1 and beta2 in [0, 1), epsilon positive.
    """

    def __init__(self, learning_rate: float, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> None:
        super().__init__(core.Adam(learning_rate, beta1, beta2, epsilon))


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton, 2012), s <- decay s + (1 - decay) g^2, in either of its two forms.

    "pytorch" starts s at 0 and divides by sqrt(s) + epsilon; "tensorflow" starts s at 1 and divides by
    sqrt(s + epsilon). With the small gradients of mean losses the second is nearly plain gradient descent.

    Raises: ``ValueError`` unless learning_rate is at least 0 and finite, decay in [0, 1), epsilon positive.
    """

    def __init__(
        self, learning_rate: float, decay: float = 0.99, epsilon: float = 1e-5, form: RmspropForm = "pytorch"
    ) -> None:
        super().__init__(core.RMSprop(learning_rate, decay, epsilon, form))


def linear_schedule(initial: float, timesteps: int, schedule_timesteps: int) -> float:
    """``initial`` falling linearly to 0 at ``schedule_timesteps``, 0 after it.

    Raises ``ValueError`` if schedule_timesteps < 1.
    """
    if schedule_timesteps < 1:
        raise ValueError(f"linear_schedule: schedule_timesteps must be at least 1, got {schedule_timesteps}")
    return initial * max(0.0, 1.0 - timesteps / schedule_timesteps)
