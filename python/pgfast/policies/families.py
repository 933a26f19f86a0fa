"""Families of action distributions, and how the outputs of a network parametrize them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from pgfast._native import core
from pgfast._typing import BoolArray, FloatArray
from pgfast.distributions import Categorical, DiagGaussian, Distribution, MultiCategorical
from pgfast.envs.spaces import ActionInfo

__all__ = ["Family", "family_of"]


class Family:
    """A family of action distributions, parametrized by the first ``num_outputs`` outputs of a network.

    - "categorical": the outputs are the logits of one choice of ``sizes[0]``, actions int64 ``[B]``.
    - "categorical", ``grouped``: the outputs are the logits of K choices of ``sizes``, actions int64 ``[B, K]``.
    - "gaussian": the outputs are the means of A = ``sizes[0]`` numbers, actions ``[B, A]`` in the network's dtype. The
      log standard deviations log_std are A further outputs with ``state_dependent_std``. Otherwise they are
      ``log_std_parameters`` = A parameters of the policy that do not belong to its network.

    Args:
        kind: "categorical" or "gaussian".
        sizes: the numbers of choices, or one number of components.
        grouped: whether a categorical action has an axis of groups.
        state_dependent_std: whether log_std depends on the observation.

    Raises:
        ValueError: if ``sizes`` is empty, or a size is below 1 or too large.
    """

    def __init__(
        self,
        kind: Literal["categorical", "gaussian"],
        sizes: Sequence[int],
        *,
        grouped: bool = False,
        state_dependent_std: bool = False,
    ) -> None:
        self.native = core.Family(kind, sizes, state_dependent_std, grouped)
        self.num_outputs, self.log_std_parameters = self.native.num_outputs, self.native.log_std_parameters
        self.mask_columns = self.native.mask_columns
        self.kind, self.sizes, self.grouped = kind, tuple(sizes), grouped
        self.state_dependent_std = state_dependent_std
        if kind == "gaussian":
            self.action_shape = self.sizes
        else:
            self.action_shape = (len(sizes),) if grouped else ()

    def __reduce__(self) -> tuple[Any, ...]:
        """For copy and pickle, which need not know the native family."""
        chosen = {"grouped": self.grouped, "state_dependent_std": self.state_dependent_std}
        return partial(Family, self.kind, self.sizes, **chosen), ()

    def action_dtype(self, dtype: DTypeLike) -> DTypeLike:
        """Returns the dtype of the actions of a policy whose network computes in ``dtype``."""
        return dtype if self.kind == "gaussian" else np.int64

    def distribution(
        self, outputs: FloatArray, log_std: FloatArray, mask: BoolArray | None = None
    ) -> Distribution[Any]:
        """Returns the distribution of each row, on copies of its parameters.

        Args:
            outputs: ``[B, out]``, those of the network.
            log_std: ``[log_std_parameters]``, those of the policy.
            mask: ``[B, mask_columns]`` bool, True for the choices that may be taken; None if all may. Not copied.

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


def family_of(action: ActionInfo, *, state_dependent_std: bool = False) -> Family:
    """Returns the family for an action space: Gaussian for a Box, else categorical, grouped unless it is Discrete."""
    if action.kind == "box":
        return Family("gaussian", [action.components], state_dependent_std=state_dependent_std)
    return Family("categorical", action.sizes, grouped=action.kind != "discrete")
