"""Memory and open files do not grow during long training runs."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgfast
from pgfast.agent import Agent

PAGE = 4096


def resident_megabytes() -> float:
    """Returns resident memory after glibc has trimmed its free blocks, which vary by some 2 MB between saves."""
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def alone(train: Callable[..., str], amount: int, run: Path, record: Any, **chosen: Any) -> None:
    """Trains in a process of its own: what other tests have loaded, such as Ray, needs memory at times of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        record("soak", pool.submit(train, amount, run, **chosen).result())


def soak(agent: Agent, timesteps: int, run: Path) -> str:
    """Trains with regular progress rows and saves. Caches and buffers may fill during the first quarter."""
    samples: list[tuple[float, int]] = []

    def take_sample(_: Any, __: dict[str, Any]) -> None:
        samples.append((resident_megabytes(), open_files()))

    agent.learn(timesteps, run_dir=run, callback=take_sample)
    assert len(samples) >= 20
    memory, files = (np.array(column) for column in zip(*samples, strict=True))
    quarter = len(samples) // 4
    slope = np.polyfit(np.arange(len(memory) - quarter), memory[quarter:], 1)[0] * (len(memory) - quarter)
    summary = f"{agent.updates} updates: {memory[quarter]:.1f} to {memory[-1]:.1f} MB, trend {slope:+.2f} MB"
    print(summary, f"{files[quarter]} to {files[-1]} open files")
    assert slope < 3.0, summary
    assert memory[-1] - memory[quarter] < 8.0, summary
    assert files[-1] <= files[quarter]
    return summary


def cartpole(updates: int, run: Path) -> str:
    agent = pgfast.A2C("CartPole-v1", num_envs=16, n_steps=5, report_every=updates, sync_every=4 * updates)
    return soak(agent, updates * 80, run)


def minibatches(updates: int, run: Path, **chosen: Any) -> str:
    sizes: dict[str, Any] = {"num_envs": 16, "n_steps": 5, "minibatch_size": 24, "num_epochs": 2}
    agent = pgfast.PPO(
        "CartPole-v1", **sizes, **chosen, recompute_advantages=True, report_every=updates, sync_every=4 * updates
    )
    return soak(agent, updates * 80, run)


def breakout(timesteps: int, run: Path) -> str:
    every = timesteps // 30
    agent = pgfast.A2C("BreakoutNoFrameskip-v4", report_every=every, sync_every=every)
    return soak(agent, timesteps, run)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
class TestSoak:
    @pytest.mark.slow
    def test_memory_does_not_grow_over_10_000_updates_of_cartpole(self, tmp_path: Path, record_property: Any) -> None:
        alone(cartpole, 10_000, tmp_path / "run", record_property)

    @pytest.mark.slow
    @pytest.mark.parametrize("memory", ["none", "lstm"])
    def test_memory_does_not_grow_over_2_000_updates_of_ppo(
        self, memory: Any, tmp_path: Path, record_property: Any
    ) -> None:
        alone(minibatches, 2_000, tmp_path / "run", record_property, memory=memory, memory_size=16)

    @pytest.mark.slow
    def test_memory_does_not_grow_over_30_000_steps_of_breakout(self, tmp_path: Path, record_property: Any) -> None:
        alone(breakout, 30_000, tmp_path / "run", record_property)

    @pytest.mark.long
    @pytest.mark.timeout(1800)
    def test_memory_does_not_grow_over_100_000_updates_of_cartpole(self, tmp_path: Path, record_property: Any) -> None:
        alone(cartpole, 100_000, tmp_path / "run", record_property)

    @pytest.mark.long
    @pytest.mark.timeout(3600)
    def test_memory_does_not_grow_over_300_000_steps_of_breakout(self, tmp_path: Path, record_property: Any) -> None:
        alone(breakout, 300_000, tmp_path / "run", record_property)
