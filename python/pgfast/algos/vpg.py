"""Vanilla policy gradient: REINFORCE with a baseline (Williams, 1992; Sutton et al., 2000)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pgfast import losses
from pgfast.algos.policy_agent import PolicyAgent
from pgfast.kernels import clip_by_global_norm
from pgfast.policies import Policy
from pgfast.profiling import BACKWARD, FORWARD, OPTIMIZER
from pgfast.training.construction import make_optimizer, scheduled_learning_rate
from pgfast.training.settings import OptimizerSettings, PolicySettings, Settings

__all__ = ["VPG", "VPGSettings"]


@dataclass(frozen=True, kw_only=True)
class VPGSettings(PolicySettings, OptimizerSettings):
    """Settings of VPG. The batch of one update is num_envs x n_steps, or whole episodes of at least that."""

    learning_rate: float = 1e-2
    """Step size of the optimizer."""
    max_grad_norm: float | None = None
    """Largest Euclidean norm of the gradient; a longer one is scaled down. None leaves it as it is."""
    normalize_gradient: bool = False
    """Scale every gradient to norm 1, so that the learning rate is the length of a step of plain SGD."""


class VPG(PolicyAgent):
    """Vanilla policy gradient.

    Every update follows a rollout of the current policy:

    1. advantages and returns, by generalized advantage estimation with the baseline's values;
    2. loss = -mean(log pi(a|s) A + entropy_coef H), over the valid rows;
    3. one step of the optimizer along its gradient, clipped or scaled to norm 1 as the settings say;
    4. the baseline is fitted to the returns.

    Args:
        env: an environment id, a ``gymnasium.vector.VectorEnv``, or a function that makes one environment. Actions are
            Discrete, MultiDiscrete, MultiBinary or a Box.
        preset: name of the tuned settings to start from where ``env`` is an id; None for :class:`VPGSettings` alone.
        settings: any field of :class:`VPGSettings`.

    Raises ``ValueError`` (environment, preset, value of a setting), ``TypeError`` (unknown setting).
    """

    name: ClassVar[str] = "vpg"
    settings_type: ClassVar[type[Settings]] = VPGSettings
    extra_fields: ClassVar[tuple[str, ...]] = ("grad_norm", "learning_rate")
    settings: VPGSettings

    def _make_policy(self) -> Policy:
        self.optimizer = make_optimizer(self.settings)
        return super()._make_policy()

    def update(self) -> dict[str, float]:
        """One update from the rollout just collected; gives the figures to report."""
        s, batch = self.settings, self.batch()
        if batch is None:
            return {}
        with FORWARD:
            distribution = self.policy.distribution(batch.observations)
        loss = losses.policy_gradient(distribution.log_prob(batch.actions), batch.advantages)
        loss -= s.entropy_coef * float(distribution.entropy().mean(dtype=np.float64))
        self.require_finite_loss(loss)

        share = np.float32(1.0 / len(batch))
        with BACKWARD:
            gradient = self.policy.gradient(
                batch.observations,
                batch.actions,
                -share * batch.advantages,
                np.full(len(batch), -share * s.entropy_coef, np.float32) if s.entropy_coef else None,
            )
        if s.max_grad_norm is not None:
            grad_norm = clip_by_global_norm(gradient, s.max_grad_norm)
        else:
            grad_norm = float(np.sqrt(np.square(gradient, dtype=np.float64).sum()))
        if s.normalize_gradient and grad_norm > 0.0:
            gradient /= np.float32(grad_norm)

        figures = self.learn_values(batch, distribution)
        assert self.optimizer is not None
        self.optimizer.learning_rate = scheduled_learning_rate(s, self.timesteps)
        with OPTIMIZER:
            self.optimizer.step(self.policy.parameters, gradient)
        return {"policy_loss": loss, "grad_norm": grad_norm, **figures}
