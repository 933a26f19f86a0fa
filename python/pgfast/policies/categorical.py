"""A policy over discrete actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from pgfast._typing import Array
from pgfast.distributions import Categorical, MultiCategorical
from pgfast.nn import Network
from pgfast.policies.families import CategoricalFamily
from pgfast.policies.policy import Policy

__all__ = ["CategoricalPolicy"]


class CategoricalPolicy(Policy):
    """pi(a | s) = softmax of the network's outputs.

    Without ``sizes`` they are the logits of one choice among all, actions int64 ``[B]``. With ``sizes`` of K choices
    (sum(sizes) outputs) actions are int64 ``[B, K]``; sizes of 2 are MultiBinary. Construction scales the weights of
    the last layer by 0.01, in place, unless ``initialize=False`` (a trained network).

    Raises ``ValueError`` if the outputs do not fit the sizes.
    """

    def __init__(self, network: Network, sizes: Sequence[int] | None = None, *, initialize: bool = True) -> None:
        family = CategoricalFamily(network.output_size if sizes is None else sizes)
        if network.output_size != family.columns:
            raise ValueError(
                f"CategoricalPolicy: the network must have sum(sizes) = {family.columns} outputs, "
                f"got {network.output_size}"
            )
        self._adopt(network, family, 0.0, initialize=initialize)

    def distribution(self, obs: Array) -> Categorical | MultiCategorical:
        """Categorical, or MultiCategorical of the sizes, at observations ``[B, ...]``."""
        outputs = self.network.forward(obs)
        return cast(CategoricalFamily, self.family).distribution(outputs, self._own)
