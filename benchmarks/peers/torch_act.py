"""Sampling actions and their log-probabilities with PyTorch, from a categorical policy with an MLP.

``act`` is written by hand with as few operations as eager PyTorch allows; ``act_by_distribution`` uses
``torch.distributions``, as libraries built on PyTorch do. Both take and return NumPy arrays, as an environment does;
``torch.from_numpy`` and ``.numpy()`` copy nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.distributions import Categorical

from peers.torch_mlp import mlp_from

__all__ = ["TorchActor"]

Sampled = tuple[NDArray[np.int64], NDArray[np.float32]]


class TorchActor:
    """pi(a | s) = softmax(MLP(s)) with tanh units."""

    def __init__(self, parameters: NDArray[np.float32], sizes: tuple[int, ...]) -> None:
        self.network = mlp_from(parameters, sizes)

    @torch.inference_mode()
    def act(self, obs: NDArray[np.float32]) -> Sampled:
        """Returns actions and their log-probabilities."""
        log_p = torch.log_softmax(self.network(torch.from_numpy(obs)), 1)
        actions = torch.multinomial(log_p.exp(), 1)
        return actions[:, 0].numpy(), log_p.gather(1, actions)[:, 0].numpy()

    @torch.no_grad()
    def act_by_distribution(self, obs: NDArray[np.float32]) -> Sampled:
        """Does the same through ``torch.distributions``."""
        distribution = Categorical(logits=self.network(torch.from_numpy(obs)))
        actions: torch.Tensor = distribution.sample()  # type: ignore[no-untyped-call]
        log_prob: torch.Tensor = distribution.log_prob(actions)  # type: ignore[no-untyped-call]
        return actions.numpy(), log_prob.numpy()

    @torch.inference_mode()
    def log_prob(self, obs: NDArray[np.float32], actions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the log-probabilities of given actions."""
        log_p = torch.log_softmax(self.network(torch.from_numpy(obs)), 1)
        return log_p.gather(1, torch.from_numpy(actions)[:, None])[:, 0].numpy()
