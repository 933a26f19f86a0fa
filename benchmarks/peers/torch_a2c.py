"""A2C on Breakout written by hand with PyTorch and EnvPool, as fast as that goes on a CPU.

The same work as pgfast's A2C: the forward passes of the rollout keep their graph and serve the backward pass, one
bootstrap forward pass per update, the same loss, clipping and optimizer.
"""

from __future__ import annotations

import time

import envpool
import numpy as np
import torch
from torch import nn

CONVOLUTIONS = {
    "origin_cnn": ([(16, 8, 4), (32, 4, 2)], 2592, 256),
    "nature_cnn": ([(32, 8, 4), (64, 4, 2), (64, 3, 1)], 3136, 512),
}


class TorchA2C:
    """``run(timesteps)`` trains and gives timesteps per second."""

    def __init__(self, network: str, num_envs: int, n_steps: int, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        torch.manual_seed(0)
        self.num_envs, self.n_steps = num_envs, n_steps
        self.env = envpool.make(
            "Breakout-v5",
            env_type="gymnasium",
            num_envs=num_envs,
            num_threads=num_threads,
            seed=0,
            episodic_life=True,
            reward_clip=True,
            repeat_action_probability=0.0,
        )
        num_actions = int(self.env.action_space.n)
        filters, flat, units = CONVOLUTIONS[network]
        layers: list[nn.Module] = []
        channels = 4
        for outputs, kernel, stride in filters:
            layers += [nn.Conv2d(channels, outputs, kernel, stride), nn.ReLU()]
            channels = outputs
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, units), nn.ReLU())
        self.head = nn.Linear(units, num_actions + 1)
        self.parameters = [*self.body.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3, eps=1e-5)
        self.obs = self.env.reset()[0]

    def forward(self, obs: np.ndarray) -> torch.Tensor:
        """Logits and value, ``[n, A + 1]``."""
        return self.head(self.body(torch.from_numpy(obs).float().div_(255.0)))

    def update(self) -> None:
        """One rollout and one step of the optimizer."""
        outputs, actions = [], []
        rewards = np.zeros((self.n_steps, self.num_envs), np.float32)
        alive = np.zeros((self.n_steps, self.num_envs), np.float32)
        for t in range(self.n_steps):
            output = self.forward(self.obs)
            with torch.no_grad():
                action = torch.multinomial(torch.softmax(output[:, :-1], 1), 1)[:, 0]
            self.obs, reward, terminated, truncated, _ = self.env.step(action.numpy().astype(np.int32))
            outputs.append(output)
            actions.append(action)
            rewards[t], alive[t] = reward, ~(terminated | truncated)
        with torch.no_grad():
            following = self.forward(self.obs)[:, -1].numpy()
        output = torch.stack(outputs)
        logits, values = output[..., :-1], output[..., -1]
        returns = np.zeros_like(rewards)
        for t in reversed(range(self.n_steps)):
            following = rewards[t] + 0.99 * alive[t] * following
            returns[t] = following
        targets = torch.from_numpy(returns)
        log_p = torch.log_softmax(logits, -1)
        log_prob = log_p.gather(-1, torch.stack(actions)[..., None])[..., 0]
        entropy = -(log_p.exp() * log_p).sum(-1)
        policy_loss = -(log_prob * (targets - values.detach()) + 0.01 * entropy).mean()
        loss = policy_loss + 0.5 * (targets - values).square().mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 0.5)
        self.optimizer.step()

    def run(self, timesteps: int) -> float:
        """Timesteps per second over at least ``timesteps``."""
        updates = max(1, timesteps // (self.num_envs * self.n_steps))
        began = time.perf_counter()
        for _ in range(updates):
            self.update()
        return updates * self.num_envs * self.n_steps / (time.perf_counter() - began)
