"""The contract of a learner: an algorithm, its parameters, and everything that its updates depend on."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar

from pgfast._typing import Array
from pgfast.envs.normalization import Normalizers
from pgfast.envs.spaces import SpaceInfo
from pgfast.learning.settings import Settings
from pgfast.metrics import Metrics
from pgfast.optim import Optimizer, require_slots_of
from pgfast.policies import Policy
from pgfast.reduce import Reduce
from pgfast.sampling.rollout import Rollout
from pgfast.state import Tree, flatten, require_count, unflatten
from pgfast.value_functions import ValueFunction

__all__ = ["Learner", "require_finite_loss"]


class Learner(ABC):
    """Holds a policy, a value function, the normalizers and perhaps an optimizer, and learns from rollouts.

    ``metrics`` names what :meth:`update` reports beside the metrics of every algorithm. ``keeps_forward`` asks for
    rollouts whose tape holds the forward passes of all rows.
    """

    settings_type: ClassVar[type[Settings]]
    metrics: ClassVar[tuple[str, ...]] = ()
    keeps_forward: ClassVar[bool] = False
    settings: Any
    policy: Policy
    value_function: ValueFunction
    optimizer: Optimizer | None = None

    def __init__(self, settings: Settings, space: SpaceInfo) -> None:
        if settings.normalize_observations and space.byte_observations:
            raise ValueError("normalize_observations is for numbers; observations of bytes are scaled already")
        self.settings = settings
        self.failed_updates = 0  # updates whose step was rejected, which left the policy as it was
        self.normalizers = Normalizers(
            (math.prod(space.observation_shape),) if settings.network == "mlp" else space.observation_shape,
            settings.num_envs,
            settings.discount,
            observations=settings.normalize_observations,
            rewards=settings.normalize_rewards,
        )

    @abstractmethod
    def update(self, rollout: Rollout, reduce: Reduce) -> Metrics:
        """Learns from a rollout of the present policy, together with the workers behind ``reduce``.

        Returns the metrics of the update; none if no row of any worker is valid, as nothing is learned then. Raises
        ``FloatingPointError`` for a number that is not finite. An update that raises leaves nothing of itself.
        """

    def state(self) -> Tree:
        """Everything that later updates and predictions depend on."""
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
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` if the tree does not fit."""
        if self.optimizer is not None:
            optimizer = tree["optimizer"]
            require_slots_of(self.policy.parameters, flatten(optimizer)[0])
            self.optimizer.load_state(optimizer)
        self.normalizers.load_state(tree.get("normalizers", {}))
        self.value_function.load_state(tree.get("value_function", {}))
        self.policy.load_state(tree["policy"])
        self.failed_updates = require_count("failed_updates", tree["failed_updates"])

    def model(self) -> dict[str, Array]:
        """The arrays of a model file, by their path in the state: all but those of optimizers."""
        return _without_optimizers(flatten(self.state())[0])

    def load_model(self, arrays: Mapping[str, Array]) -> None:
        """Takes over the arrays of :meth:`model` in ``arrays``; the rest of the state stays, optimizers' slots go.

        Raises as :meth:`load_state` does.
        """
        self.load_state(unflatten(_without_optimizers(arrays), flatten(self.state())[1]))

    def start_from(self, arrays: Mapping[str, Array]) -> None:
        """Takes over a model's policy and normalizers, and its value function if it is of the same kind and sizes.

        Raises as :meth:`load_state` does.
        """
        tree = unflatten(arrays, {})
        self.normalizers.load_state(tree.get("normalizers", {}))
        self.policy.load_state(tree["policy"])
        own, given = self.value_function.state(), tree.get("value_function", {})
        if given and given.keys() == {name for name in flatten(own)[0] if "." not in name}:
            with suppress(ValueError):  # of other sizes
                self.value_function.load_state({**own, **given})


def _without_optimizers(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {path: array for path, array in arrays.items() if "optimizer" not in path.split(".")}


def require_finite_loss(loss: float, rollout: Rollout) -> None:
    """Raises ``FloatingPointError`` if the loss of an update is NaN or infinite."""
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss of update {rollout.update} is not finite: {loss}")
