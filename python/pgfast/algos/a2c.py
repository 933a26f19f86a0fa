"""Synchronous advantage actor-critic (Mnih et al., 2016, without the asynchrony)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from pgfast._typing import FloatArray
from pgfast.algos import actor_critic, advantages
from pgfast.envs.spaces import SpaceInfo
from pgfast.learning.bounds import NotNegative, Positive
from pgfast.learning.construction import learning_rate_at, make_optimizer, make_policy, value_part_at
from pgfast.learning.learner import Learner
from pgfast.learning.settings import FirstOrderActorCriticSettings
from pgfast.metrics import Metrics
from pgfast.optim import Optimizer
from pgfast.reduce import Reduce
from pgfast.sampling.rollout import Rollout
from pgfast.value_functions import SharedValues

__all__ = ["A2CLearner", "A2CSettings"]


@dataclass(frozen=True, kw_only=True)
class A2CSettings(FirstOrderActorCriticSettings):
    """Settings of A2C. The batch of one update is num_envs x n_steps."""

    optimizer: Literal["sgd", "adam", "rmsprop"] = "rmsprop"
    """Update rule. "adam" has epsilon 1e-5; "rmsprop" is PyTorch's form with decay 0.99 and epsilon 1e-5."""
    max_grad_norm: Positive = 0.5
    """Largest Euclidean norm of the gradient; a longer one is scaled down."""
    entropy_coef: NotNegative = 0.01
    """Weight of the entropy bonus."""


class A2CLearner(Learner):
    """Advantage actor-critic: one network for policy and value, and one optimizer step per rollout."""

    metrics: ClassVar[tuple[str, ...]] = ("grad_norm", "learning_rate")
    keeps_forward = True
    settings_type = A2CSettings
    settings: A2CSettings
    optimizer: Optimizer

    def __init__(self, settings: A2CSettings, space: SpaceInfo) -> None:
        super().__init__(settings, space)
        self.policy = make_policy(settings, space, value_head=True, separate_value=settings.separate_value_network)
        self.value_function = SharedValues(self.policy)
        self.optimizer = make_optimizer(settings)
        self._gradient: FloatArray = np.zeros_like(self.policy.parameters)  # reused by every update

    def update(self, rollout: Rollout, reduce: Reduce) -> Metrics:
        s, policy = self.settings, self.policy
        statistics = self.normalizers.after(rollout, reduce)
        batch = advantages.estimate(
            rollout,
            statistics,
            self.value_function,
            s,
            reduce,
            value_gae_lambda=s.value_gae_lambda,
            all_rows=True,
        )
        count = reduce.sum(len(batch))
        if count == 0:
            return {}

        # Section 4: minimize -mean(A log pi + entropy_coef H) + value_coef mean((R - V)^2). The rollout's tape already
        # holds the forward pass, as the parameters have not changed since.
        metrics, gradient = actor_critic.differentiate(policy, batch, rollout, s, count, reduce, out=self._gradient)
        learning_rate = learning_rate_at(s, rollout.timesteps)
        grad_norm = self.optimizer.step(
            policy.parameters,
            gradient,
            max_norm=s.max_grad_norm,
            learning_rate=learning_rate,
            part=value_part_at(s, policy, rollout.timesteps),
        )
        self.normalizers.statistics = statistics  # last: an update that raises leaves no trace
        return {**metrics, "grad_norm": grad_norm, "learning_rate": learning_rate}
