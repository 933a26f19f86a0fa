"""Trainings with PyTorch that continue from call to call."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

import torch

from threads import in_words

__all__ = ["TorchTraining"]


class TorchTraining(ABC):
    """A training on PyTorch's current number of threads, unless one is chosen."""

    threads: int | None = None

    @abstractmethod
    def train(self, timesteps: int) -> int:
        """Continues the training for at least ``timesteps`` and returns how many it took."""

    def run(self, timesteps: int) -> float:
        """Trains and returns timesteps per second."""
        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads or threads)
        began = time.perf_counter()
        taken = self.train(timesteps)
        seconds = time.perf_counter() - began
        torch.set_num_threads(threads)
        return taken / seconds

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
