"""PPO with PyTorch in the manner of CleanRL's programs of one file each, as fast as that can be on a CPU.

The settings, the environments and their wrappers are those of CleanRL. Three choices are faster: the optimizer is
PyTorch's fused one, advantages are estimated in NumPy, and log-probabilities and entropies are written by hand instead
of with ``torch.distributions``. On Breakout the emulators are EnvPool's, and observations are kept as bytes.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import envpool
import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import (
    ClipAction,
    NormalizeObservation,
    NormalizeReward,
    RecordEpisodeStatistics,
    TransformObservation,
    TransformReward,
)
from torch import nn

from peers.torch_cnn import MEMORY_FORMATS, TorchCNN
from peers.torch_training import TorchTraining

__all__ = ["TorchBreakoutPPO", "TorchPPO", "torch_ppo", "torch_ppo_breakout"]

Outputs: TypeAlias = tuple[torch.Tensor, torch.Tensor]  # those of the policy [B, A], and the values [B]


class SeparateMLPs(nn.Module):
    """A policy and a value function, each an MLP with tanh units, 64 and 64."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.policy, self.value = self._mlp(inputs, outputs, 0.01), self._mlp(inputs, 1, 1.0)

    @staticmethod
    def _mlp(inputs: int, outputs: int, gain: float) -> nn.Sequential:
        layers = [nn.Linear(inputs, 64), nn.Linear(64, 64), nn.Linear(64, outputs)]
        for layer, scale in zip(layers, (math.sqrt(2), math.sqrt(2), gain), strict=True):
            nn.init.orthogonal_(layer.weight, scale)
            nn.init.zeros_(layer.bias)
        return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])

    def forward(self, obs: torch.Tensor) -> Outputs:
        return self.policy(obs), self.value(obs)[:, 0]


class SharedCNN(nn.Module):
    """A convolutional network whose last output is the value."""

    def __init__(self, network: str, outputs: int) -> None:
        super().__init__()
        self.cnn = TorchCNN(network, outputs + 1)

    def forward(self, obs: torch.Tensor) -> Outputs:
        outputs = self.cnn(obs)
        return outputs[:, :-1], outputs[:, -1]


class Choice(nn.Module):
    """A categorical distribution with the outputs as logits."""

    def __init__(self, space: gymnasium.spaces.Discrete) -> None:
        super().__init__()
        self.outputs = int(space.n)
        self.shape: tuple[int, ...] = ()
        self.dtype = torch.int64
        self.to_environment = np.int32  # EnvPool takes no other; Gymnasium's environments take any

    def sample(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns actions and their log-probabilities."""
        log_p = torch.log_softmax(logits, 1)
        actions = torch.multinomial(log_p.exp(), 1)
        return actions[:, 0], log_p.gather(1, actions)[:, 0]

    def log_prob_and_entropy(self, logits: torch.Tensor, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        log_p = torch.log_softmax(logits, 1)
        return log_p.gather(1, actions[:, None])[:, 0], -(log_p.exp() * log_p).sum(1)


class Normal(nn.Module):
    """A Gaussian with the outputs as means, and standard deviations that do not depend on the observation."""

    def __init__(self, space: gymnasium.spaces.Box) -> None:
        super().__init__()
        (self.outputs,) = self.shape = space.shape
        self.dtype = torch.float32
        self.to_environment = np.float32
        self.log_std = nn.Parameter(torch.zeros(self.outputs))

    def sample(self, means: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns actions and their log-probabilities."""
        actions = torch.normal(means, self.log_std.exp().expand_as(means))
        return actions, self._log_prob(means, actions)

    def log_prob_and_entropy(self, means: torch.Tensor, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        entropy = self.log_std.sum() + 0.5 * self.outputs * math.log(2 * math.pi * math.e)
        return self._log_prob(means, actions), entropy.expand(len(means))

    def _log_prob(self, means: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        scaled = (actions - means) * (-self.log_std).exp()
        return -0.5 * scaled.square().sum(1) - self.log_std.sum() - 0.5 * self.outputs * math.log(2 * math.pi)


class TorchPPO(TorchTraining):
    """A training of ``network`` and ``head`` in the environments of ``env``."""

    def __init__(
        self,
        env: Any,
        network: nn.Module,
        head: Choice | Normal,
        *,
        num_envs: int,
        n_steps: int,
        num_epochs: int,
        minibatch_size: int,
        learning_rate: float,
        clip_range: float,
        entropy_coef: float,
        gae_lambda: float,
        discount: float = 0.99,
        value_coef: float = 0.5,
        max_grad_norm: float = 0.5,
    ) -> None:
        self.env, self.network, self.head = env, network, head
        self.num_epochs, self.minibatch_size, self.learning_rate = num_epochs, minibatch_size, learning_rate
        self.clip_range, self.entropy_coef, self.value_coef = clip_range, entropy_coef, value_coef
        self.discount, self.gae_lambda, self.max_grad_norm = discount, gae_lambda, max_grad_norm
        self.obs = self._from_environment(env.reset()[0])
        shape = (n_steps, num_envs)
        self.all_obs = torch.zeros((*shape, *self.obs.shape[1:]), dtype=self.obs.dtype)
        self.actions = torch.zeros((*shape, *head.shape), dtype=head.dtype)
        self.log_prob, self.values = torch.zeros(shape), torch.zeros(shape)
        self.rewards, self.dones = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._make_optimizer()

    def _make_optimizer(self) -> None:
        self.parameters = [*self.network.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=self.learning_rate, eps=1e-5, fused=True)

    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters)

    @staticmethod
    def _from_environment(obs: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(obs if obs.dtype == np.uint8 else np.asarray(obs, np.float32))

    @torch.no_grad()
    def collect(self) -> None:
        """Steps the environments ``n_steps`` times."""
        for t in range(len(self.rewards)):
            outputs, self.values[t] = self.network(self.obs)
            actions, self.log_prob[t] = self.head.sample(outputs)
            self.all_obs[t], self.actions[t] = self.obs, actions
            obs, self.rewards[t], terminated, truncated, _ = self.env.step(
                actions.numpy().astype(self.head.to_environment)
            )
            self.dones[t] = terminated | truncated
            self.obs = self._from_environment(obs)

    @torch.no_grad()
    def advantages(self) -> torch.Tensor:
        """Returns the generalized advantages of the rollout, ``[T, N]``."""
        values, next_values = self.values.numpy(), self.network(self.obs)[1].numpy()
        alive = self.discount * (1.0 - self.dones)
        advantages = np.zeros_like(self.rewards)
        after = np.zeros_like(next_values)
        for t in reversed(range(len(values))):
            delta = self.rewards[t] + alive[t] * next_values - values[t]
            advantages[t] = after = delta + self.gae_lambda * alive[t] * after
            next_values = values[t]
        return torch.from_numpy(advantages)

    def update(self) -> None:
        """Collects one rollout and learns from it."""
        self.collect()
        of_rollout = self.advantages()
        advantages, returns = of_rollout.flatten(), (of_rollout + self.values).flatten()
        obs, actions, old_log_prob = self.all_obs.flatten(0, 1), self.actions.flatten(0, 1), self.log_prob.flatten()
        approx_kl, clip_fraction = [], []
        for _ in range(self.num_epochs):
            for rows in torch.split(torch.randperm(len(obs)), self.minibatch_size):
                outputs, values = self.network(obs[rows])
                log_prob, entropy = self.head.log_prob_and_entropy(outputs, actions[rows])
                log_ratio = log_prob - old_log_prob[rows]
                ratio = log_ratio.exp()
                with torch.no_grad():
                    approx_kl.append(((ratio - 1) - log_ratio).mean().item())
                    clip_fraction.append(((ratio - 1).abs() > self.clip_range).float().mean().item())
                weights = advantages[rows]
                weights = (weights - weights.mean()) / (weights.std() + 1e-8)
                clipped = ratio.clamp(1 - self.clip_range, 1 + self.clip_range)
                policy_loss = -torch.min(weights * ratio, weights * clipped).mean()
                value_loss = nn.functional.mse_loss(values, returns[rows])
                loss = policy_loss - self.entropy_coef * entropy.mean() + self.value_coef * value_loss
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
                self.optimizer.step()

    def train(self, timesteps: int) -> int:
        updates = max(1, timesteps // self.rewards.size)
        for _ in range(updates):
            self.update()
        return updates * self.rewards.size


class TorchBreakoutPPO(TorchPPO):
    """A training with a convolutional network."""

    network: SharedCNN

    def choose_memory_format(self, timesteps: int) -> None:
        """Keeps the memory format with which training is faster."""
        speeds = []
        for memory_format in MEMORY_FORMATS:
            self._set_memory_format(memory_format)
            speeds.append(self.run(timesteps))
        self._set_memory_format(MEMORY_FORMATS[int(np.argmax(speeds))])

    def _set_memory_format(self, memory_format: torch.memory_format) -> None:
        self.network.cnn.set_memory_format(memory_format)
        self._make_optimizer()


def torch_ppo(env_id: str, num_envs: int, *, normalize: bool, **settings: Any) -> TorchPPO:
    """Returns a training with two MLPs, in environments that Gymnasium steps one after the other."""

    def make_env() -> gymnasium.Env[Any, Any]:
        env: gymnasium.Env[Any, Any] = RecordEpisodeStatistics(gymnasium.make(env_id))
        if not normalize:
            return env
        env = NormalizeObservation(ClipAction(env))
        env = TransformObservation(env, lambda obs: np.clip(obs, -10, 10), env.observation_space)
        return TransformReward(NormalizeReward(env), lambda reward: float(np.clip(float(reward), -10, 10)))

    torch.manual_seed(0)
    env = SyncVectorEnv([make_env] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
    space: Any = env.single_action_space
    head = Choice(space) if isinstance(space, gymnasium.spaces.Discrete) else Normal(space)
    network = SeparateMLPs(gymnasium.spaces.flatdim(env.single_observation_space), head.outputs)
    return TorchPPO(env, network, head, num_envs=num_envs, **settings)


def torch_ppo_breakout(network: str, num_envs: int, num_threads: int, **settings: Any) -> TorchBreakoutPPO:
    """Returns a training on Breakout with EnvPool."""
    torch.manual_seed(0)
    env = envpool.make(
        "Breakout-v5",
        env_type="gymnasium",
        num_envs=num_envs,
        num_threads=num_threads,
        seed=0,
        episodic_life=True,
        reward_clip=True,
        repeat_action_probability=0.0,
    )
    head = Choice(env.action_space)
    return TorchBreakoutPPO(env, SharedCNN(network, head.outputs), head, num_envs=num_envs, **settings)
