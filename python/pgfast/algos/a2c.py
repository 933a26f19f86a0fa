"""Synchronous advantage actor-critic (Mnih et al., 2016, without the asynchrony)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from pgfast import losses
from pgfast._typing import FloatArray
from pgfast.algos.advantages import normalize
from pgfast.kernels import gae
from pgfast.policies import ActorCritic, PolicyTape
from pgfast.profiling import BACKWARD, OPTIMIZER
from pgfast.training.agent import Agent
from pgfast.training.construction import make_network, make_optimizer, scheduled_learning_rate
from pgfast.training.settings import OptimizerSettings, Settings

__all__ = ["A2C", "A2CSettings"]


@dataclass(frozen=True, kw_only=True)
class A2CSettings(Settings, OptimizerSettings):
    """Settings of A2C. The batch of one update is num_envs x n_steps."""

    optimizer: Literal["sgd", "adam", "rmsprop"] = "rmsprop"
    """Update rule; "adam" has epsilon 1e-5, "rmsprop" is PyTorch's form, decay 0.99, epsilon 1e-5."""
    max_grad_norm: float = 0.5
    """Largest Euclidean norm of the gradient; a longer one is scaled down."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus."""
    value_coef: float = 0.5
    """Weight of the value loss."""


class A2C(Agent):
    """Synchronous advantage actor-critic.

    Every update follows ``n_steps`` steps of ``num_envs`` environments, with one network for policy and value:

    1. advantages and returns, by generalized advantage estimation from the rollout's own values;
    2. loss = -mean(log pi(a|s) A + entropy_coef H) + value_coef mean((R - V)^2), over the valid rows;
    3. its gradient, through the forward passes kept from the rollout;
    4. one clipped step of the optimizer.

    Args:
        env: an environment id, a ``gymnasium.vector.VectorEnv``, or a function that makes one environment. Actions are
            Discrete, MultiDiscrete, MultiBinary or a Box.
        preset: name of the tuned settings to start from where ``env`` is an id; None for :class:`A2CSettings` alone.
        settings: any field of :class:`A2CSettings`.

    Raises ``ValueError`` (environment, preset, value of a setting), ``TypeError`` (unknown setting).
    """

    name: ClassVar[str] = "a2c"
    settings_type: ClassVar[type[Settings]] = A2CSettings
    extra_fields: ClassVar[tuple[str, ...]] = ("grad_norm", "learning_rate")
    settings: A2CSettings
    policy: ActorCritic

    def _make_policy(self) -> ActorCritic:
        s, action = self.settings, self.space.action
        self.optimizer = make_optimizer(s)
        columns = 2 * action.columns if action.kind == "box" and s.state_dependent_std else action.columns
        policy = ActorCritic(
            make_network(s, self.space.observation_shape, columns + 1),
            action.policy_space(),
            log_std_init=s.log_std_init,
            state_dependent_std=s.state_dependent_std,
        )
        self.gradient: FloatArray = np.zeros_like(policy.parameters)
        return policy

    def _make_tape(self) -> PolicyTape:
        """Memory for the forward passes of a whole rollout, which the update goes back through."""
        return PolicyTape(self.policy, self.settings.num_envs * (self.settings.n_steps + 1))

    def update(self) -> dict[str, float]:
        """One update from the rollout just collected; gives the row of its losses."""
        s, rollout, tape = self.settings, self.collector.rollout, self.collector.tape
        valid = rollout.valid.reshape(-1)
        if not valid.any():
            return {}

        all_values = np.ascontiguousarray(tape.outputs[:, -1]).reshape(rollout.time.shape)
        rollout.bootstrap(all_values, lambda observations, _: self.policy.values(observations))
        values = all_values[:-1]
        advantages, returns = gae(
            self._scaled_rewards(),
            values,
            rollout.next_values,
            rollout.terminated,
            rollout.truncated,
            s.discount,
            s.gae_lambda,
        )
        if s.normalize_advantages:
            advantages = normalize(advantages, rollout.valid)

        outputs, actions = (
            tape.outputs[: rollout.rows],
            rollout.actions.reshape(rollout.rows, *rollout.actions.shape[2:]),
        )
        flat_advantages, flat_returns, flat_values = (part.reshape(-1) for part in (advantages, returns, values))
        distribution = self.policy.distribution_from(outputs)
        entropy = distribution.entropy()
        policy_loss, value_loss, total_loss = losses.a2c(
            distribution.log_prob(actions),
            flat_advantages,
            entropy,
            flat_returns,
            flat_values,
            s.entropy_coef,
            s.value_coef,
            valid,
        )
        self.require_finite_loss(total_loss)

        count = np.count_nonzero(valid)
        share = valid * np.float32(1.0 / count)
        doutputs, own = self.policy.gradient_from(
            outputs, actions, -share * flat_advantages, -share * np.float32(s.entropy_coef)
        )
        doutputs[:, -1] = 2.0 * share * np.float32(s.value_coef) * (flat_values - flat_returns)
        gradient = self.gradient
        with BACKWARD:
            tape.vjp(rollout.flat_observations(), doutputs, gradient, own)

        assert self.optimizer is not None
        self.optimizer.learning_rate = scheduled_learning_rate(s, self.timesteps)
        with OPTIMIZER:
            grad_norm = self.optimizer.step(self.policy.parameters, gradient, max_norm=s.max_grad_norm)

        self.last_values, self.last_returns = values[rollout.valid], returns[rollout.valid]
        self._learn_scale_of_observations()
        return {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": float(entropy.sum(where=valid)) / count,
            "grad_norm": grad_norm,
        }
