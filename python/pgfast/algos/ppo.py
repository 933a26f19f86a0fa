"""Proximal policy optimization with the clipped surrogate (Schulman et al., 2017)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from msgspec import Meta

from pgfast import losses
from pgfast._typing import FloatArray
from pgfast.algos import advantages
from pgfast.envs.spaces import SpaceInfo
from pgfast.learning.bounds import Count, Fraction, NotNegative, Positive
from pgfast.learning.construction import (
    entropy_coef_at,
    learning_rate_at,
    make_optimizer,
    make_policy,
    scheduled,
    value_part_at,
)
from pgfast.learning.learner import Learner, require_finite_loss
from pgfast.learning.settings import FirstOrderActorCriticSettings, Schedule
from pgfast.metrics import Metrics
from pgfast.optim import Optimizer
from pgfast.policies import PolicyTape
from pgfast.reduce import Reduce
from pgfast.sampling.batch import Batch
from pgfast.sampling.minibatches import Minibatches
from pgfast.sampling.replay import Replay
from pgfast.sampling.rollout import Rollout
from pgfast.state import restored_if_raised
from pgfast.value_functions import SharedValues

__all__ = ["PPOLearner", "PPOSettings"]


@dataclass(frozen=True, kw_only=True)
class PPOSettings(FirstOrderActorCriticSettings):
    """Settings of PPO. The batch of one update is num_envs x n_steps."""

    num_envs: Annotated[int, Meta(ge=1, le=2**16)] = 8
    """Environments that are stepped together."""
    n_steps: Annotated[int, Meta(ge=1, le=2**24)] = 256
    """Steps of each environment per update."""
    gae_lambda: Fraction = 0.95
    """Decay of generalized advantage estimation; 1 estimates advantages by Monte Carlo within the rollout."""
    normalize_advantages: bool = True
    """Shift and scale the advantages of each minibatch to mean 0 and standard deviation 1."""
    learning_rate: NotNegative = 3e-4
    """Step size of the optimizer."""
    max_grad_norm: Positive = 0.5
    """Largest Euclidean norm of the gradient; a longer one is scaled down."""
    num_epochs: Annotated[int, Meta(ge=1, le=2**16)] = 10
    """Passes over each batch, each in a new random order."""
    minibatch_size: Count | None = 64
    """Largest number of rows of a minibatch, each of which takes one step of the optimizer. With memory, the rows of an
    environment stay together, and a minibatch has at least one environment. None for the whole batch."""
    clip_range: NotNegative = 0.2
    """Distance from 1 beyond which a ratio of new to old probability earns nothing more."""
    clip_range_schedule: Schedule = "constant"
    """"linear" and "cosine" lower the clip range to 0 at schedule_timesteps; or a function, as for learning_rate."""
    value_clip_range: Positive | None = None
    """Distance from the old value beyond which a change of the value earns nothing more. None for no limit."""
    target_kl: Positive | None = None
    """Mean KL divergence of the old policy from the new, in nats, at which an update ends early: no step follows a
    minibatch whose approx_kl is above it. None for no limit."""
    recompute_advantages: bool = False
    """Compute advantages and returns anew for every epoch, with the values of the current parameters."""


class PPOLearner(Learner):
    """Several epochs of minibatch steps per rollout, on a surrogate that rewards only small changes of the policy."""

    metrics: ClassVar[tuple[str, ...]] = ("approx_kl", "clip_fraction", "epochs", "grad_norm", "learning_rate")
    settings_type = PPOSettings
    settings: PPOSettings
    optimizer: Optimizer

    def __init__(self, settings: PPOSettings, space: SpaceInfo) -> None:
        super().__init__(settings, space)
        self.policy = make_policy(settings, space, value_head=True, separate_value=settings.separate_value_network)
        self.value_function = SharedValues(self.policy)
        self.optimizer = make_optimizer(settings)
        size = settings.minibatch_size
        is_whole = size is None or size >= settings.num_envs * settings.n_steps
        # The rollout's tape serves a first step on all rows, and has the states of a memory at the ends of episodes.
        self.keeps_forward = is_whole or self.policy.has_memory
        self._replay = Replay(self.policy)
        self._gradient: FloatArray = np.zeros_like(self.policy.parameters)  # reused by every step

    def update(self, rollout: Rollout, reduce: Reduce) -> Metrics:
        s, policy = self.settings, self.policy
        statistics = self.normalizers.after(rollout, reduce)
        estimate = partial(
            advantages.estimate,
            *(rollout, statistics, self.value_function, s, reduce),
            value_gae_lambda=s.value_gae_lambda,
            all_rows=True,
            normalize_all=False,
        )
        batch = estimate()
        count = reduce.sum(len(batch))
        if count == 0:
            return {}
        learning_rate, value_part = learning_rate_at(s, rollout.timesteps), value_part_at(s, policy, rollout.timesteps)
        minibatches = Minibatches(batch, count, s.minibatch_size, s.seed, reduce)
        latest = batch
        found: list[_Objective] = []
        grad_norms: list[float] = []

        # Algorithm 1: maximize the objective on the rollout for several epochs, by a step on every minibatch
        with restored_if_raised(policy, self.optimizer):
            for epoch in range(s.num_epochs):
                if epoch > 0 and s.recompute_advantages:
                    latest = estimate(tape=self._replay.record(batch))
                drawn = minibatches.shuffled(rollout.update * s.num_epochs + epoch)
                weighted = latest
                if s.normalize_advantages:
                    normalized = advantages.normalize_parts(latest.advantages, [part.counted for part in drawn], reduce)
                    weighted = replace(latest, advantages=normalized)
                for minibatch, rows in zip(drawn, self._replay.take(weighted, drawn), strict=True):
                    is_recorded = epoch == 0 and rows is weighted and rollout.keeps_forward  # no step since the rollout
                    tape = rollout.tape if is_recorded else self._replay.record(rows)
                    objective, gradient = self._differentiate(tape, rows, minibatch.count, rollout, reduce)
                    found.append(objective)
                    if s.target_kl is not None and objective.approx_kl > s.target_kl:
                        break
                    grad_norm = self.optimizer.step(
                        policy.parameters,
                        gradient,
                        max_norm=s.max_grad_norm,
                        learning_rate=learning_rate,
                        part=value_part,
                    )
                    grad_norms.append(grad_norm)
                else:
                    continue
                break  # the policy has moved as far as target_kl allows
            means = [fmean(terms) for terms in zip(*found, strict=True)]
            metrics: Metrics = {
                **_Objective(*means)._asdict(),
                "explained_variance": advantages.explained_variance(batch, count, reduce),
                "approx_kl": fmean(objective.approx_kl for objective in found[-minibatches.number :]),
                "epochs": len(grad_norms) / minibatches.number,
                "grad_norm": fmean(grad_norms) if grad_norms else None,
                "learning_rate": learning_rate,
            }
        self.normalizers.statistics = statistics  # last: an update that raises leaves no trace
        return metrics

    def _differentiate(
        self, tape: PolicyTape, rows: Batch, count: int, rollout: Rollout, reduce: Reduce
    ) -> tuple[_Objective, FloatArray]:
        """Computes minus equation 9, and its gradient, over the ``count`` rows of a minibatch on all workers.

        -mean(min(r A, clip(r, 1 - e, 1 + e) A) + entropy_coef H) + value_coef mean((R - V)^2),
        r = pi(a | s) / pi_old(a | s)
        """
        s, timesteps = self.settings, rollout.timesteps
        log_prob, entropy = tape.evaluate(rows.actions, rows.mask)
        values = np.ascontiguousarray(tape.outputs[: len(log_prob), -1])
        terms, row_gradients = losses.ppo_gradient(
            log_prob,
            rows.log_prob,
            rows.advantages,
            entropy,
            rows.returns,
            values,
            scheduled(s.clip_range, s.clip_range_schedule, timesteps, s),
            entropy_coef_at(s, timesteps),
            s.value_coef,
            rows.valid,
            old_values=None if s.value_clip_range is None else rows.values,
            value_clip_range=s.value_clip_range,
            count=count,
        )
        gradient = self.policy.gradient(tape, rows.actions, row_gradients, mask=rows.mask, out=self._gradient)
        terms, mean_entropy, gradient = reduce.sum((terms, rows.sum(entropy) / count, gradient))
        policy_loss, value_loss, total_loss, clip_fraction, approx_kl = terms
        require_finite_loss(total_loss, rollout)
        return _Objective(policy_loss, value_loss, mean_entropy, clip_fraction, approx_kl), gradient


class _Objective(NamedTuple):
    """The terms of equation 9 and the measures of the policy's change on a minibatch, before its step."""

    policy_loss: float
    value_loss: float
    entropy: float
    clip_fraction: float
    approx_kl: float
