"""Families of action distributions, and how the outputs of a network parametrize them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from pgfast._native import core
from pgfast._typing import BoolArray, FloatArray
from pgfast.distributions import Categorical, DiagGaussian, Distribution, Joint, MultiCategorical
from pgfast.distributions.joint import joint_dtype
from pgfast.envs.actions import ActionInfo

__all__ = ["Family", "JointFamily", "family_of"]


class Family:
    """A family of action distributions, parametrized by the first ``num_outputs`` outputs of a network.

    - "categorical": the outputs are the logits of one choice of ``sizes[0]``, actions int64 ``[B]``.
    - "categorical", ``grouped``: the outputs are the logits of K choices of ``sizes``, actions int64 ``[B, K]``.
    - "gaussian": the outputs are the means of A = ``sizes[0]`` numbers, actions ``[B, A]`` in the network's dtype. The
      log standard deviations log_std are A further outputs with ``state_dependent_std``. Otherwise they are
      ``log_std_parameters`` = A parameters of the policy that do not belong to its network.

    A mask of actions has ``mask_columns`` columns, one for each logit.

    Args:
        kind: "categorical" or "gaussian".
        sizes: the numbers of choices, or one number of components.
        grouped: whether a categorical action has an axis of groups.
        state_dependent_std: whether log_std depends on the observation.

    Raises:
        ValueError: if ``sizes`` is empty, or a size is below 1 or too large.
    """

    is_joint = False  # whether actions are rows with a field for each component

    def __init__(
        self,
        kind: Literal["categorical", "gaussian"],
        sizes: Sequence[int],
        *,
        grouped: bool = False,
        state_dependent_std: bool = False,
    ) -> None:
        self.kind: Literal["categorical", "gaussian", "joint"] = kind
        self.sizes, self.grouped, self.state_dependent_std = tuple(sizes), grouped, state_dependent_std
        self.action_shape: tuple[int, ...] = (len(sizes),) if grouped else ()
        if kind == "gaussian":
            self.action_shape = self.sizes
        self._make_native()

    def _make_native(self) -> None:
        described = [(part.kind, part.sizes, part.state_dependent_std, part.grouped) for part in self.components]
        self.native = core.Family(described, self.is_joint)
        self.num_outputs, self.log_std_parameters = self.native.num_outputs, self.native.log_std_parameters
        self.mask_columns = self.native.mask_columns

    @property
    def components(self) -> tuple[Family, ...]:
        """The families of independent parts of an action; this one alone, unless it is joint."""
        return (self,)

    def __reduce__(self) -> tuple[Any, ...]:
        """For copy and pickle, which need not know the native family."""
        chosen = {"grouped": self.grouped, "state_dependent_std": self.state_dependent_std}
        return partial(Family, self.kind, self.sizes, **chosen), ()  # type: ignore[arg-type]

    def action_dtype(self, dtype: DTypeLike) -> DTypeLike:
        """Returns the dtype of the actions of a policy whose network computes in ``dtype``."""
        return dtype if self.kind == "gaussian" else np.int64

    def log_std_outputs(self) -> list[int]:
        """Returns the outputs that are log standard deviations."""
        return list(range(self.sizes[0], self.num_outputs)) if self.state_dependent_std else []

    def group_sizes(self) -> list[int]:
        """Returns the number of choices of each group, in the order of a mask's columns."""
        return list(self.sizes) if self.kind == "categorical" else []

    def distribution(
        self, outputs: FloatArray, log_std: FloatArray, mask: BoolArray | None = None
    ) -> Distribution[Any]:
        """Returns the distribution of each row, on copies of its parameters.

        Args:
            outputs: ``[B, out]``, those of the network.
            log_std: ``[log_std_parameters]``, those of the policy.
            mask: ``[B, mask_columns]`` bool, True for the choices that may be taken; None if all may. It must
                not be changed while the distribution is in use.

        Raises:
            ValueError: if there is a mask, but there are no choices.
        """
        if self.kind == "categorical":
            logits = outputs[:, : self.num_outputs].copy()
            return MultiCategorical(logits, self.sizes, mask) if self.grouped else Categorical(logits, mask)
        if mask is not None:
            raise ValueError("Family.distribution: mask must be None: the family has no choices")
        (components,) = self.sizes
        if self.state_dependent_std:
            log_std = outputs[:, components : self.num_outputs]
        return DiagGaussian(outputs[:, :components].copy(), log_std.copy())


class JointFamily(Family):
    """Independent families, whose parameters follow each other: outputs, columns of masks, and log_std parameters.

    Its distribution is a :class:`pgfast.distributions.Joint`. Actions are rows ``[B]`` with a field for each component,
    "f0", "f1", ..., of its ``action_dtype`` and ``action_shape``; a tuple with an array for each is accepted, too.

    Args:
        components: at least one family.

    Raises:
        ValueError: if there are no components, or all their outputs are too many.
    """

    is_joint = True

    def __init__(self, components: Sequence[Family]) -> None:
        self._parts = parts = tuple(part for component in components for part in component.components)
        self.kind, self.grouped = "joint", False
        self.sizes = tuple(size for part in parts for size in part.sizes)
        self.state_dependent_std = any(part.state_dependent_std for part in parts)
        self.action_shape = ()
        self._make_native()

    @property
    def components(self) -> tuple[Family, ...]:
        return self._parts

    def __reduce__(self) -> tuple[Any, ...]:
        return JointFamily, (self.components,)

    def action_dtype(self, dtype: DTypeLike) -> DTypeLike:
        return joint_dtype([(part.action_dtype(dtype), part.action_shape) for part in self.components])

    def log_std_outputs(self) -> list[int]:
        columns, first = [], 0
        for component in self.components:
            columns += [first + column for column in component.log_std_outputs()]
            first += component.num_outputs
        return columns

    def group_sizes(self) -> list[int]:
        return [size for component in self.components for size in component.group_sizes()]

    def distribution(
        self, outputs: FloatArray, log_std: FloatArray, mask: BoolArray | None = None
    ) -> Distribution[Any]:
        if mask is not None and np.shape(mask) != (len(outputs), self.mask_columns):
            expected = (len(outputs), self.mask_columns)
            raise ValueError(f"Family.distribution: mask must have shape (B, M) = {expected}, got {np.shape(mask)}")
        parts: list[Distribution[Any]] = []
        output = column = parameter = 0
        for component in self.components:
            next_output, next_column = output + component.num_outputs, column + component.mask_columns
            next_parameter = parameter + component.log_std_parameters
            part_mask = None
            if mask is not None and component.mask_columns:
                part_mask = np.ascontiguousarray(mask[:, column:next_column])
            part_outputs, part_log_std = outputs[:, output:next_output], log_std[parameter:next_parameter]
            parts.append(component.distribution(part_outputs, part_log_std, part_mask))
            output, column, parameter = next_output, next_column, next_parameter
        return Joint(parts)


def family_of(action: ActionInfo, *, state_dependent_std: bool = False) -> Family:
    """Returns the family for an action space.

    It is Gaussian for a Box, else categorical, grouped unless the space is Discrete; joint for several components.
    """
    families = []
    for component in action.components:
        if component.kind == "box":
            families.append(Family("gaussian", [component.size], state_dependent_std=state_dependent_std))
        else:
            families.append(Family("categorical", component.sizes, grouped=component.kind != "discrete"))
    return families[0] if len(families) == 1 else JointFamily(families)
