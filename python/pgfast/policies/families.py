"""Families of action distributions: how the columns of a network's output parametrize one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from pgfast._native import core
from pgfast._typing import FloatArray
from pgfast.distributions import Categorical, DiagGaussian, Distribution, MultiCategorical
from pgfast.envs.spaces import ActionInfo

__all__ = ["Family", "family_of"]


class Family:
    """The first ``columns`` of ``outputs`` ``[B, out]`` and ``own`` ``[own_parameters]`` are a distribution per row.

    A "categorical" family has logits of one choice of ``sizes[0]``, actions int64 ``[B]``; if ``grouped``, of a choice
    per group of K ``sizes``, actions int64 ``[B, K]``. A "gaussian" one has means of ``sizes[0]`` = A numbers, actions
    ``[B, A]`` in the network's dtype; then log_std, columns of the output if ``state_dependent_std``, else ``own``
    ``[A]``. ``own`` are parameters of the policy that are no outputs of its network.

    Raises ``ValueError`` if sizes are none, below 1 or too large.
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
        self.columns, self.own_parameters = self.native.columns, self.native.own_parameters
        self.kind, self.sizes, self.grouped = kind, tuple(sizes), grouped
        self.state_dependent_std = state_dependent_std
        if kind == "gaussian":
            self.action_shape = self.sizes
        else:
            self.action_shape = (len(sizes),) if grouped else ()

    def action_dtype(self, dtype: DTypeLike) -> DTypeLike:
        """The dtype of the actions of a policy whose network computes in ``dtype``."""
        return dtype if self.kind == "gaussian" else np.int64

    def distribution(self, outputs: FloatArray, own: FloatArray) -> Distribution[Any]:
        """The distribution of each row; keeps no view of ``outputs`` or ``own``."""
        if self.kind == "categorical":
            logits = outputs[:, : self.columns].copy()
            return MultiCategorical(logits, self.sizes) if self.grouped else Categorical(logits)
        (components,) = self.sizes
        log_std = outputs[:, components : self.columns] if self.state_dependent_std else own
        return DiagGaussian(outputs[:, :components].copy(), log_std.copy())


def family_of(action: ActionInfo, *, state_dependent_std: bool = False) -> Family:
    """The family whose actions a space takes: a Gaussian for a Box, else one choice or one per component."""
    if action.kind == "box":
        return Family("gaussian", [action.components], state_dependent_std=state_dependent_std)
    return Family("categorical", action.sizes, grouped=action.kind != "discrete")
