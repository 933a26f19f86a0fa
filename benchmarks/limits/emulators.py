"""The speed of emulating Breakout while nothing else runs."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import ale_py
import numpy as np

__all__ = ["Emulators"]


class Emulators:
    """One single-threaded vector emulator per core, each driven by a Python thread with random actions.

    They never wait for each other, which is faster than one vector emulator with as many threads.
    """

    def __init__(self, num_envs: int, threads: int) -> None:
        self._envs_each = max(1, num_envs // threads)
        self._envs = [
            ale_py.AtariVectorEnv(
                "breakout", self._envs_each, num_threads=1, life_loss_info=True, reward_clipping=False
            )
            for _ in range(threads)
        ]
        for index, env in enumerate(self._envs):
            env.reset(seed=1000 * index)
        self._actions = np.random.default_rng(0).integers(0, 4, (64, self._envs_each))
        self._pool = ThreadPoolExecutor(threads)

    def steps_per_second(self, steps: int) -> float:
        """Returns the total speed of all emulators over ``steps`` steps of every environment."""

        def speed(env: ale_py.AtariVectorEnv) -> float:
            began = time.perf_counter()
            for step in range(steps):
                env.step(self._actions[step % len(self._actions)])
            return steps * self._envs_each / (time.perf_counter() - began)

        return sum(self._pool.map(speed, self._envs))
