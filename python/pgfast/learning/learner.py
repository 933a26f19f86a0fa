"""The interface of a learner: an algorithm, its parameters, and all other state of its updates."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar

import numpy as np

from pgfast._typing import Array
from pgfast.envs.normalization import Normalizers
from pgfast.envs.observations import ObservationRows
from pgfast.envs.spaces import SpaceInfo
from pgfast.learning.networks import network_leaves, normalized_leaves
from pgfast.learning.settings import Settings
from pgfast.metrics import Metrics
from pgfast.optim import KFAC, Optimizer
from pgfast.policies import Policy
from pgfast.reduce import Reduce
from pgfast.sampling.rollout import Rollout
from pgfast.state import Tree, flatten, require_count, unflatten
from pgfast.value_functions import ValueFunction

__all__ = ["Learner", "require_finite_loss"]


class Learner(ABC):
    """Learns from rollouts; holds a policy, a value function, the normalizers and possibly an optimizer.

    ``metrics`` names the metrics of :meth:`update` beyond those of every algorithm. ``keeps_forward`` requests rollouts
    whose tape holds the forward passes of all rows.
    """

    settings_type: ClassVar[type[Settings]]
    metrics: ClassVar[tuple[str, ...]] = ()
    keeps_forward: bool = False
    settings: Any
    policy: Policy
    value_function: ValueFunction
    optimizer: Optimizer | KFAC | None = None

    def __init__(self, settings: Settings, space: SpaceInfo) -> None:
        self.settings = settings
        self.failed_updates = 0  # updates whose step was rejected, without a change of the policy
        self.rows = ObservationRows(space.observation, network_leaves(space.observation, settings), np.float32)
        self.normalizers = Normalizers(
            self.rows,
            normalized_leaves(space.observation, settings),
            settings.num_envs,
            settings.discount,
            rewards=settings.normalize_rewards,
        )

    @abstractmethod
    def update(self, rollout: Rollout, reduce: Reduce) -> Metrics:
        """Learns from a rollout of the current policy, together with all workers of ``reduce``.

        An update that raises leaves the learner unchanged.

        Args:
            rollout: this worker's rollout.
            reduce: the sums over all workers.

        Returns:
            The metrics of the update. If no row of any worker is valid, nothing is learned and there are no metrics.

        Raises:
            FloatingPointError: if a number is not finite.
        """

    def state(self) -> Tree:
        """Returns everything that later updates and predictions depend on."""
        tree: dict[str, Any] = {
            "policy": self.policy.state(),
            "value_function": self.value_function.state(),
            "normalizers": self.normalizers.state(),
            "failed_updates": self.failed_updates,
        }
        if self.optimizer is not None:
            tree["optimizer"] = self.optimizer.state()
        return tree

    def load_state(self, tree: Tree) -> None:
        """Restores a state.

        Raises:
            KeyError, TypeError, ValueError: if the tree does not fit.
        """
        if self.optimizer is not None:
            optimizer = tree["optimizer"]
            self.optimizer.require_fit(optimizer, self.policy.parameters)
            self.optimizer.load_state(optimizer)
        self.normalizers.load_state(tree.get("normalizers", {}))
        self.value_function.load_state(tree.get("value_function", {}))
        self.policy.load_state(tree["policy"])
        self.failed_updates = require_count("failed_updates", tree["failed_updates"])

    def model(self) -> dict[str, Array]:
        """Returns the arrays of a model file by their path in the state: all except those of optimizers."""
        return _without_optimizers(flatten(self.state())[0])

    def load_model(self, arrays: Mapping[str, Array]) -> None:
        """Restores the arrays of :meth:`model`, clears the optimizers' slots and keeps the rest of the state.

        Raises as :meth:`load_state` does.
        """
        self.load_state(unflatten(_without_optimizers(arrays), flatten(self.state())[1]))

    def start_from(self, arrays: Mapping[str, Array]) -> None:
        """Copies a model's policy and normalizers, and its value function if it has the same kind and sizes.

        Raises as :meth:`load_state` does.
        """
        tree = unflatten(arrays, {})
        self.normalizers.load_state(tree.get("normalizers", {}))
        self.policy.load_state(tree["policy"])
        current, loaded = self.value_function.state(), tree.get("value_function", {})
        if loaded and loaded.keys() == {name for name in flatten(current)[0] if "." not in name}:
            with suppress(ValueError):  # the sizes differ
                self.value_function.load_state({**current, **loaded})


def _without_optimizers(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {path: array for path, array in arrays.items() if "optimizer" not in path.split(".")}


def require_finite_loss(loss: float, rollout: Rollout) -> None:
    """Raises ``FloatingPointError`` if the loss of an update is NaN or infinite."""
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss of update {rollout.update} is not finite: {loss}")
