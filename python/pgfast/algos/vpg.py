"""Vanilla policy gradient: REINFORCE with a baseline (Williams, 1992; Sutton et al., 2000)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pgfast import losses
from pgfast.algos import advantages
from pgfast.envs.spaces import SpaceInfo
from pgfast.kernels import clip_by_global_norm
from pgfast.learning.bounds import NotNegative, Positive
from pgfast.learning.construction import (
    entropy_coef_at,
    learning_rate_at,
    make_optimizer,
    make_policy,
    make_value_function,
)
from pgfast.learning.learner import Learner, require_finite_loss
from pgfast.learning.settings import BaselineSettings, OptimizerSettings
from pgfast.metrics import Metrics
from pgfast.optim import Optimizer
from pgfast.reduce import Reduce
from pgfast.sampling.replay import Replay
from pgfast.sampling.rollout import Rollout
from pgfast.state import restored_if_raised

__all__ = ["VPGLearner", "VPGSettings"]


@dataclass(frozen=True, kw_only=True)
class VPGSettings(BaselineSettings, OptimizerSettings):
    """Settings of VPG. The batch of one update is num_envs x n_steps, or whole episodes of at least that."""

    learning_rate: NotNegative = 1e-2
    """Step size of the optimizer."""
    max_grad_norm: Positive | None = None
    """Largest Euclidean norm of the gradient; a longer one is scaled down. None for no limit."""
    normalize_gradient: bool = False
    """Scale every gradient to norm 1; the learning rate is then the length of a step of plain SGD."""


class VPGLearner(Learner):
    """Vanilla policy gradient with a baseline."""

    metrics: ClassVar[tuple[str, ...]] = ("grad_norm", "learning_rate")
    settings_type = VPGSettings
    settings: VPGSettings
    optimizer: Optimizer

    def __init__(self, settings: VPGSettings, space: SpaceInfo) -> None:
        super().__init__(settings, space)
        self.policy = make_policy(settings, space)
        self.value_function = make_value_function(settings, space)
        self.optimizer = make_optimizer(settings)
        self._replay = Replay(self.policy)

    def update(self, rollout: Rollout, reduce: Reduce) -> Metrics:
        s, policy = self.settings, self.policy
        statistics = self.normalizers.after(rollout, reduce)
        batch = advantages.estimate(rollout, statistics, self.value_function, s, reduce, all_rows=policy.has_memory)
        count = reduce.sum(len(batch))
        if count == 0:
            return {}

        # Minimize -mean(A log pi + entropy_coef H); without the bonus its gradient is minus the policy gradient,
        # -mean(A grad log pi). If the policy has memory, it goes back through time, over all rows in their order.
        tape = self._replay.record(batch)
        log_prob, entropy = tape.evaluate(batch.actions, batch.mask)
        entropy_coef = entropy_coef_at(s, rollout.timesteps)
        loss, rows = losses.policy_gradient_gradient(
            log_prob, batch.advantages, batch.valid, entropy=entropy, entropy_coef=entropy_coef, count=count
        )
        require_finite_loss(loss, rollout)
        loss, gradient = reduce.sum((loss, policy.gradient(tape, batch.actions, rows, mask=batch.mask)))

        if s.max_grad_norm is not None:
            grad_norm = clip_by_global_norm(gradient, s.max_grad_norm)
        else:
            grad_norm = float(np.sqrt(np.square(gradient, dtype=np.float64).sum()))
        if s.normalize_gradient and grad_norm > 0.0:
            gradient /= gradient.dtype.type(grad_norm)
        learning_rate = learning_rate_at(s, rollout.timesteps)
        metrics = advantages.describe(loss, entropy, batch, count, reduce)

        with restored_if_raised(policy, self.optimizer):
            self.optimizer.step(policy.parameters, gradient, learning_rate=learning_rate)
            self.value_function.fit(batch, reduce)
        self.normalizers.statistics = statistics  # last: an update that raises leaves no trace
        return {**metrics, "grad_norm": grad_norm, "learning_rate": learning_rate}
