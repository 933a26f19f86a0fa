"""First-order optimizers on flat parameter vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from pgfast._native import core
from pgfast._typing import FloatArray
from pgfast.profiling import OPTIMIZER
from pgfast.state import flatten, require_same_shape

__all__ = ["SGD", "Adam", "Optimizer", "RMSprop", "RmspropForm"]

RmspropForm: TypeAlias = Literal["pytorch", "tensorflow"]


class Optimizer:
    """A rule that moves a parameter vector ``[P]`` against a gradient ``[P]``, in place.

    The native object owns the slots: the vectors that the rule keeps between steps. It allocates them at the first step
    in the parameters' dtype and size; later steps must have the same. One thread at a time takes a step; others wait.
    """

    def __init__(self, native: core.SGD | core.Adam | core.RMSprop) -> None:
        self.native = native

    @property
    def steps(self) -> int:
        """The number of steps taken."""
        return self.native.steps

    @property
    def learning_rate(self) -> float:
        """The learning rate, at least 0 and finite; it may be set between steps."""
        return self.native.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.native.learning_rate = value

    def step(
        self,
        parameters: FloatArray,
        gradient: FloatArray,
        *,
        max_norm: float = math.inf,
        learning_rate: float | None = None,
        part: tuple[slice, float] | None = None,
    ) -> float:
        """Updates ``parameters`` and the state in place; a step that raises changes neither.

        Args:
            parameters: ``[P]``, written in place.
            gradient: ``[P]``, of the dtype of ``parameters``.
            max_norm: largest Euclidean norm of the gradient. The step uses a longer gradient scaled down to this norm,
                as by :func:`pgfast.kernels.clip_by_global_norm`, in the same pass.
            learning_rate: of this step and later ones; None for the current one.
            part: a slice of the parameters, without a step and within their bounds, and its own learning rate in this
                step; None for no such part.

        Returns:
            The norm of the gradient before clipping.

        Raises:
            TypeError: if a dtype is wrong, or ``part`` has another form.
            ValueError: if a shape is wrong, a number or the slice is out of range, the gradient is not finite, or its
                norm overflows although ``max_norm`` is finite.
            FloatingPointError: if the step would write a number that is not finite.
        """
        match part:
            case None:
                native_part = None
            case (slice(start=start, stop=stop, step=None | 1), rate):
                native_part = (start or 0, np.size(parameters) if stop is None else stop, rate)
            case _:
                raise TypeError(
                    f"{type(self).__name__}.step: part must be a slice without a step and its learning rate, got {part}"
                )
        with OPTIMIZER:
            return self.native.step(parameters, gradient, max_norm, learning_rate, native_part)

    def state(self) -> dict[str, Any]:
        """Returns ``steps`` (int), ``learning_rate`` (float) and, after the first step, copies of the slots."""
        return self.native.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restores a state by copying its slots. A state without slots resets the optimizer to before its first step.

        Raises:
            TypeError: if a dtype is wrong.
            ValueError: if a key is missing or unknown, a number is out of range, or slots differ in size.
        """
        scalars, slots = {"steps", "learning_rate"}, self.native.slot_names
        expected = scalars.union(slots)
        if state.keys() not in (scalars, expected):
            raise ValueError(f"{type(self).__name__}.load_state: expected {sorted(expected)}, got {sorted(state)}")
        arrays = [np.array(state[name]) for name in slots if name in state]  # copied: a file's may be unaligned
        self.native.load_state(int(state["steps"]), float(state["learning_rate"]), arrays)

    def require_fit(self, state: Mapping[str, Any], parameters: FloatArray) -> None:
        """Raises ``ValueError`` unless the slots of a state have the shape and dtype of the parameters."""
        for name, array in flatten(state)[0].items():
            require_same_shape(f"the optimizer's {name}", array, parameters)

    state_dict = state
    load_state_dict = load_state


class SGD(Optimizer):
    """Gradient descent with momentum.

    v <- momentum v + g
    parameters <- parameters - learning_rate v

    Args:
        learning_rate: at least 0 and finite.
        momentum: in [0, 1).

    Raises:
        ValueError: if a number is out of range.
    """

    def __init__(self, learning_rate: float, momentum: float = 0.0) -> None:
        super().__init__(core.SGD(learning_rate, momentum))


class Adam(Optimizer):
    """Adam, with bias correction and epsilon outside the square root.

    Args:
        learning_rate: at least 0 and finite.
        beta1: decay of the mean gradient, in [0, 1).
        beta2: decay of the mean squared gradient, in [0, 1).
        epsilon: positive.

    Raises:
        ValueError: if a number is out of range.

    Source: Kingma and Ba (2015), algorithm 1.
    """

    native: core.Adam

    def __init__(self, learning_rate: float, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> None:
        super().__init__(core.Adam(learning_rate, beta1, beta2, epsilon))


class RMSprop(Optimizer):
    """RMSprop in either of its two common forms.

    s <- decay s + (1 - decay) g^2
    parameters <- parameters - learning_rate g / d

    The form "pytorch" starts s at 0 and divides by d = sqrt(s) + epsilon; "tensorflow" starts s at 1 and divides by
    d = sqrt(s + epsilon). With the small gradients of mean losses, "tensorflow" is close to plain gradient descent.

    Args:
        learning_rate: at least 0 and finite.
        decay: in [0, 1).
        epsilon: positive.
        form: "pytorch" or "tensorflow".

    Raises:
        ValueError: if an argument is out of range.

    Source: Tieleman and Hinton (2012).
    """

    def __init__(
        self, learning_rate: float, decay: float = 0.99, epsilon: float = 1e-5, form: RmspropForm = "pytorch"
    ) -> None:
        super().__init__(core.RMSprop(learning_rate, decay, epsilon, form))
