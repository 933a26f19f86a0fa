"""Families of action distributions: how the columns of a network's output parametrize one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import DTypeLike

from pgfast._native import core
from pgfast._typing import Array, FloatArray
from pgfast.distributions import Categorical, DiagGaussian, Distribution, MultiCategorical

__all__ = ["CategoricalFamily", "Family", "GaussianFamily", "family_of"]


class Family(ABC):
    """The first ``columns`` of ``outputs`` ``[B, out]`` and ``own`` ``[own_parameters]`` give a distribution per row.

    ``own`` are parameters of the policy that are no outputs of its network. ``action_shape`` is that of one action.
    """

    native: core.Family
    action_shape: tuple[int, ...]

    @property
    def columns(self) -> int:
        """Columns of the output that are the distribution's."""
        return self.native.columns

    @property
    def own_parameters(self) -> int:
        """Parameters beside the network's."""
        return self.native.own_parameters

    @abstractmethod
    def action_dtype(self, dtype: DTypeLike) -> DTypeLike:
        """Of the actions of a policy whose network computes in ``dtype``."""

    @abstractmethod
    def distribution(self, outputs: FloatArray, own: FloatArray) -> Distribution[Any]:
        """The distribution of each row; keeps no view of ``outputs`` or ``own``."""

    @abstractmethod
    def gradient(
        self,
        outputs: FloatArray,
        own: FloatArray,
        actions: Array,
        weight_log_prob: FloatArray,
        weight_entropy: FloatArray | None = None,
        *,
        per_row: bool = False,
    ) -> tuple[FloatArray, FloatArray | None]:
        """Gradient of sum_b weight_log_prob_b log pi_b(actions_b) + weight_entropy_b H_b.

        Returns: that at ``outputs`` ``[B, out]``, and that at ``own``: ``[own_parameters]``, or its terms
        ``[B, own_parameters]`` if ``per_row``; None where there are none.
        """

    def _embedded(self, columns: FloatArray, output_size: int) -> FloatArray:
        """Zeros for the columns that are not the distribution's."""
        if columns.shape[1] == output_size:
            return columns
        doutputs = np.zeros((len(columns), output_size), columns.dtype)
        doutputs[:, : columns.shape[1]] = columns
        return doutputs


class CategoricalFamily(Family):
    """Logits of one choice, or of one choice per group of ``sizes``.

    Actions are int64 ``[B]`` of a ``num_actions``, ``[B, K]`` of K ``sizes``.
    """

    def __init__(self, sizes: int | Sequence[int]) -> None:
        if isinstance(sizes, Sequence):
            self.sizes: tuple[int, ...] | None = tuple(int(size) for size in sizes)
            self.action_shape = (len(self.sizes),)
            self.native = core.Family("categorical", list(self.sizes), grouped=True)
        else:
            self.sizes = None
            self.action_shape = ()
            self.native = core.Family("categorical", [sizes])

    def action_dtype(self, dtype: DTypeLike) -> DTypeLike:
        """int64."""
        return np.int64

    def distribution(self, outputs: FloatArray, own: FloatArray) -> Categorical | MultiCategorical:
        """Categorical, or MultiCategorical of the sizes."""
        logits = outputs[:, : self.columns].copy()
        return Categorical(logits) if self.sizes is None else MultiCategorical(logits, self.sizes)

    def gradient(
        self,
        outputs: FloatArray,
        own: FloatArray,
        actions: Array,
        weight_log_prob: FloatArray,
        weight_entropy: FloatArray | None = None,
        *,
        per_row: bool = False,
    ) -> tuple[FloatArray, FloatArray | None]:
        """See :meth:`Family.gradient`."""
        (dlogits,) = self.distribution(outputs, own).gradient(actions, weight_log_prob, weight_entropy)
        return self._embedded(dlogits, outputs.shape[1]), None


class GaussianFamily(Family):
    """Means of ``components`` A; then log_std, columns of the output if ``state_dependent_std``, else ``own`` ``[A]``.

    Actions are ``[B, A]`` in the network's dtype.
    """

    def __init__(self, components: int, *, state_dependent_std: bool = False) -> None:
        self.components = components
        self.state_dependent_std = state_dependent_std
        self.action_shape = (components,)
        self.native = core.Family("gaussian", [components], state_dependent_std)

    def action_dtype(self, dtype: DTypeLike) -> DTypeLike:
        """The network's."""
        return dtype

    def distribution(self, outputs: FloatArray, own: FloatArray) -> DiagGaussian:
        """DiagGaussian with log_std ``[B, A]`` or ``[A]``."""
        mean = outputs[:, : self.components].copy()
        if self.state_dependent_std:
            return DiagGaussian(mean, outputs[:, self.components : self.columns].copy())
        return DiagGaussian(mean, own.copy())

    def gradient(
        self,
        outputs: FloatArray,
        own: FloatArray,
        actions: Array,
        weight_log_prob: FloatArray,
        weight_entropy: FloatArray | None = None,
        *,
        per_row: bool = False,
    ) -> tuple[FloatArray, FloatArray | None]:
        """See :meth:`Family.gradient`."""
        distribution = self.distribution(outputs, own)
        if per_row and not self.state_dependent_std:
            log_std = np.ascontiguousarray(np.broadcast_to(distribution.log_std, distribution.mean.shape))
            distribution = DiagGaussian(distribution.mean, log_std)
        dmean, dlog_std = distribution.gradient(actions, weight_log_prob, weight_entropy)
        if self.state_dependent_std:
            return self._embedded(np.concatenate([dmean, dlog_std], axis=1), outputs.shape[1]), None
        return self._embedded(dmean, outputs.shape[1]), dlog_std


def family_of(space: spaces.Space[Any], *, state_dependent_std: bool = False) -> Family:
    """The family whose actions a space takes, flattened where they have several axes.

    Discrete: one choice; MultiDiscrete and MultiBinary: one per entry; Box: a Gaussian. Raises ``ValueError`` for
    another space, or a Box of integers.
    """
    if isinstance(space, spaces.Discrete):
        return CategoricalFamily(int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        return CategoricalFamily([int(size) for size in space.nvec.reshape(-1)])
    if isinstance(space, spaces.MultiBinary):
        return CategoricalFamily([2] * math.prod(space.shape))
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return GaussianFamily(math.prod(space.shape), state_dependent_std=state_dependent_std)
    raise ValueError(f"the action space must be Discrete, MultiDiscrete, MultiBinary or a Box of floats, got {space}")
