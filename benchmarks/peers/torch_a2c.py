"""A2C on Breakout written by hand with PyTorch and EnvPool, as fast as they can be on a CPU.

It does the same work as pgfast's A2C: the backward pass uses the graph of the rollout's forward passes, each update has
one forward pass to bootstrap, and the loss, the clipping and the optimizer are the same. The optimizer is PyTorch's
fused one.
"""

from __future__ import annotations

import time

import envpool
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from peers.torch_cnn import MEMORY_FORMATS, TorchCNN

__all__ = ["TorchA2C"]


class TorchA2C:
    """A training that continues from one ``run`` to the next."""

    def __init__(self, network: str, num_envs: int, n_steps: int, num_threads: int) -> None:
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
        self.network = TorchCNN(network, int(self.env.action_space.n) + 1)
        self.obs = self.env.reset()[0]
        self._set_memory_format(torch.contiguous_format)

    def choose_memory_format(self, timesteps: int) -> None:
        """Warms up and keeps the memory format with which training is faster."""
        speeds = []
        for memory_format in MEMORY_FORMATS:
            self._set_memory_format(memory_format)
            self.run(timesteps)
            speeds.append(self.run(timesteps))
        self._set_memory_format(MEMORY_FORMATS[int(np.argmax(speeds))])
        self.run(timesteps)

    def _set_memory_format(self, memory_format: torch.memory_format) -> None:
        self.network.set_memory_format(memory_format)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-3, eps=1e-5, fused=True)

    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())

    def forward(self, obs: NDArray[np.uint8]) -> torch.Tensor:
        """Returns logits and value, ``[n, A + 1]``."""
        outputs: torch.Tensor = self.network(torch.from_numpy(obs))
        return outputs

    def update(self) -> None:
        """Collects one rollout and takes one optimizer step."""
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
            next_return = self.forward(self.obs)[:, -1].numpy()
        output = torch.stack(outputs)
        logits, values = output[..., :-1], output[..., -1]
        returns = np.zeros_like(rewards)
        for t in reversed(range(self.n_steps)):
            next_return = rewards[t] + 0.99 * alive[t] * next_return
            returns[t] = next_return
        targets = torch.from_numpy(returns)
        log_p = torch.log_softmax(logits, -1)
        log_prob = log_p.gather(-1, torch.stack(actions)[..., None])[..., 0]
        entropy = -(log_p.exp() * log_p).sum(-1)
        policy_loss = -(log_prob * (targets - values.detach()) + 0.01 * entropy).mean()
        loss = policy_loss + 0.5 * (targets - values).square().mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 0.5)
        self.optimizer.step()

    def run(self, timesteps: int) -> float:
        """Trains for at least one update and returns timesteps per second."""
        updates = max(1, timesteps // (self.num_envs * self.n_steps))
        began = time.perf_counter()
        for _ in range(updates):
            self.update()
        return updates * self.num_envs * self.n_steps / (time.perf_counter() - began)
