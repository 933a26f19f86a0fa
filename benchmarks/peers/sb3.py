"""Training with stable-baselines3 and sb3-contrib."""

from __future__ import annotations

import time

import torch
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from threads import in_words

__all__ = ["Sb3Training"]


class Sb3Training:
    """A training that continues from call to call, on PyTorch's current number of threads unless one is chosen."""

    def __init__(self, model: OnPolicyAlgorithm) -> None:
        self.model = model
        self.threads: int | None = None
        self._first = True

    def choose_threads(self, timesteps: int) -> None:
        """Warms up, then chooses one thread or all, whichever is faster; for small networks one often is."""
        self.run(timesteps)
        all_threads = torch.get_num_threads()
        speeds = {}
        for threads in (1, all_threads):
            self.threads = threads
            speeds[threads] = self.run(timesteps)
        self.threads = max(speeds, key=lambda threads: speeds[threads])

    def note(self) -> str:
        """Returns the chosen number of threads in words, for the table."""
        return "" if self.threads is None else f"peer on {in_words(self.threads)}"

    def run(self, timesteps: int) -> float:
        """Trains and returns timesteps per second."""
        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads or threads)
        before, began = self.model.num_timesteps, time.perf_counter()
        self.model.learn(timesteps, reset_num_timesteps=self._first)
        seconds = time.perf_counter() - began
        torch.set_num_threads(threads)
        self._first = False
        return (self.model.num_timesteps - before) / seconds
