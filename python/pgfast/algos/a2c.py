"""Synchronous advantage actor-critic (Mnih et al., 2016, without the asynchrony)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from pgfast._typing import BoolArray, FloatArray
from pgfast.distributions import Categorical
from pgfast.kernels import clip_by_global_norm, gae
from pgfast.losses import a2c_gradient
from pgfast.optim import linear_schedule
from pgfast.training.agent import Agent
from pgfast.training.settings import Settings

__all__ = ["A2C", "A2CSettings"]


@dataclass(frozen=True, kw_only=True)
class A2CSettings(Settings):
    """Settings of A2C. The batch of one update is num_envs x n_steps."""

    num_envs: int = 16
    """Environments stepped in parallel."""
    n_steps: int = 20
    """Steps of each environment per update."""
    discount: float = 0.99
    """Discount factor, in [0, 1]."""
    gae_lambda: float = 1.0
    """Decay of generalized advantage estimation; 1 gives the n-step advantages of the paper."""
    learning_rate: float = 1e-3
    """Step size of the optimizer."""
    learning_rate_schedule: Literal["constant", "linear"] = "constant"
    """"linear" lets the learning rate fall to 0 at schedule_timesteps."""
    schedule_timesteps: int | None = None
    """Where a linear schedule ends; required with "linear", unchanged by resume."""
    optimizer: Literal["sgd", "adam", "rmsprop"] = "rmsprop"
    """Update rule; "rmsprop" is PyTorch's form, decay 0.99, epsilon 1e-5."""
    max_grad_norm: float = 0.5
    """Largest Euclidean norm of the gradient; a longer one is scaled down."""
    normalize_advantages: bool = False
    """Shift and scale the advantages of each batch to mean 0 and standard deviation 1."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus."""
    value_coef: float = 0.5
    """Weight of the value loss."""
    network: Literal["mlp", "origin_cnn", "nature_cnn"] = "mlp"
    """Architecture of the shared network."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Units of the hidden layers of an mlp; none makes it linear."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Activation of the hidden layers of an mlp."""


class A2C(Agent):
    """Synchronous advantage actor-critic.

    Every update follows ``n_steps`` steps of ``num_envs`` environments, with one network for policy and value:

    1. advantages and returns, by generalized advantage estimation from the rollout's own values;
    2. loss = -mean(log pi(a|s) A + entropy_coef H) + value_coef mean((R - V)^2), over the valid rows;
    3. its gradient, through the forward passes kept from the rollout;
    4. one clipped step of the optimizer.

    Args:
        env: an environment id, a ``gymnasium.vector.VectorEnv``, or a function that makes one environment. Actions must
            be Discrete.
        preset: name of the tuned settings to start from where ``env`` is an id; None for :class:`A2CSettings` alone.
        settings: any field of :class:`A2CSettings`.

    Raises ``ValueError`` (environment, preset, value of a setting), ``TypeError`` (unknown setting).
    """

    name: ClassVar[str] = "a2c"
    settings_type: ClassVar[type[Settings]] = A2CSettings
    settings: A2CSettings

    def update(self) -> dict[str, float]:
        """One update from the rollout just collected; gives the row of its losses."""
        s, rollout, tape = self.settings, self.collector.rollout, self.collector.tape
        num_actions = self.policy.num_actions
        outputs = tape.outputs[: rollout.rows]
        logits, values = np.ascontiguousarray(outputs[:, :num_actions]), self.collector.values
        valid = rollout.valid.reshape(-1)
        if not valid.any():
            return {}

        advantages, returns = gae(
            rollout.rewards,
            values,
            rollout.next_values,
            rollout.terminated,
            rollout.truncated,
            s.discount,
            s.gae_lambda,
        )
        if s.normalize_advantages:
            advantages = normalize(advantages, rollout.valid)

        doutputs = np.empty_like(outputs)
        policy_loss, value_loss, total_loss, doutputs[:, :num_actions], doutputs[:, num_actions] = a2c_gradient(
            logits,
            values.reshape(-1),
            rollout.actions.reshape(-1),
            advantages.reshape(-1),
            returns.reshape(-1),
            s.entropy_coef,
            s.value_coef,
            valid,
        )
        if not np.isfinite(total_loss):
            raise FloatingPointError(f"the loss of update {self.updates} is not finite: {total_loss}")

        gradient = self.gradient
        tape.vjp(rollout.flat_observations(), doutputs, gradient)
        grad_norm = clip_by_global_norm(gradient, s.max_grad_norm)

        if s.learning_rate_schedule == "linear":
            assert s.schedule_timesteps is not None
            self.optimizer.learning_rate = linear_schedule(s.learning_rate, self.timesteps, s.schedule_timesteps)
        self.optimizer.step(self.policy.parameters, gradient)

        self.last_values, self.last_returns = values, returns
        entropy = float(Categorical(logits).entropy()[valid].mean())
        return {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "grad_norm": grad_norm,
        }


def normalize(advantages: FloatArray, valid: BoolArray) -> FloatArray:
    """(A - mean) / std over the valid rows, ddof 0; a constant batch becomes zero."""
    used = advantages[valid]
    if used.min() == used.max():  # of which rounding would leave a mean slightly off, and a tiny std
        return np.zeros_like(advantages)
    mean, std = used.mean(dtype=np.float64), used.std(dtype=np.float64)
    normalized: FloatArray = ((advantages - mean) / std).astype(advantages.dtype)
    return normalized
