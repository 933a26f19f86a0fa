"""Memory and open files do not grow during long training runs."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgfast
from pgfast.agent import Agent
from pgfast.algorithms import ALGORITHMS
from ray_processes import ray_pids, worker_pids

PAGE = 4096


def resident_megabytes(pid: int | None = None) -> float:
    """Returns the resident memory of a process.

    This one's is taken after glibc has trimmed its free blocks, which vary by some 2 MB between saves.
    """
    if pid is None:
        getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
    return int(Path(f"/proc/{pid or 'self'}/statm").read_text().split()[1]) * PAGE / 1e6


def shared_megabytes(pid: int) -> float:
    """Returns the shared memory of a process, such as Ray's object store."""
    found = re.search(r"RssShmem:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return 0.0 if found is None else int(found[1]) / 1e3


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def alone(train: Callable[..., str], amount: int, run: Path, record: Any, **chosen: Any) -> None:
    """Trains in a process of its own: what other tests have loaded, such as Ray, needs memory at times of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        record("soak", pool.submit(train, amount, run, **chosen).result())


def soak(agent: Agent, timesteps: int, run: Path, measure_more: Callable[[], tuple[float, ...]] = tuple) -> str:
    """Trains with regular progress rows and saves. Caches and buffers may fill during the first quarter.

    ``measure_more`` measures more megabytes that may not grow.
    """
    samples: list[tuple[float, ...]] = []

    def take_sample(_: Any, __: dict[str, Any]) -> None:
        samples.append((open_files(), resident_megabytes(), *measure_more()))

    agent.learn(timesteps, run_dir=run, callback=take_sample)
    assert len(samples) >= 20
    files, *memories = (np.array(column) for column in zip(*samples, strict=True))
    quarter = len(samples) // 4
    summary = f"{agent.updates} updates, {files[quarter]} to {files[-1]} open files"
    trends = []
    for memory in memories:
        trends.append(np.polyfit(np.arange(len(memory) - quarter), memory[quarter:], 1)[0] * (len(memory) - quarter))
        summary += f"; {memory[quarter]:.1f} to {memory[-1]:.1f} MB, trend {trends[-1]:+.2f} MB"
    print(summary)
    assert files[-1] <= files[quarter], summary
    for memory, trend in zip(memories, trends, strict=True):
        assert trend < 3.0, summary
        assert memory[-1] - memory[quarter] < 8.0, summary
    return summary


def cartpole(updates: int, run: Path, name: str = "a2c") -> str:
    agent = ALGORITHMS[name]("CartPole-v1", num_envs=16, n_steps=5, report_every=updates, sync_every=4 * updates)
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


def workers(updates: int, run: Path) -> str:
    """Four workers on Ray: the driver, each worker and the shared memory of the object store."""
    every = updates // 2
    agent = pgfast.A2C(
        "CartPole-v1",
        num_envs=4,
        n_steps=5,
        num_workers=4,
        report_every=every,
        sync_every=4 * every,
        hidden_sizes=(16,),
    )

    def measure_others() -> tuple[float, ...]:
        pids = [pid for pid in worker_pids() if pid not in others]
        assert len(pids) == 4
        return *(resident_megabytes(pid) for pid in pids), sum(map(shared_megabytes, ray_pids()))

    others = worker_pids()
    summary = soak(agent, 20 * updates, run, measure_others)
    agent.close()
    return summary


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
class TestSoak:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["a2c", "acktr"])
    def test_memory_does_not_grow_over_10_000_updates_of_cartpole(
        self, name: str, tmp_path: Path, record_property: Any
    ) -> None:
        alone(cartpole, 10_000, tmp_path / "run", record_property, name=name)

    @pytest.mark.slow
    @pytest.mark.parametrize("memory", ["none", "lstm"])
    def test_memory_does_not_grow_over_2_000_updates_of_ppo(
        self, memory: Any, tmp_path: Path, record_property: Any
    ) -> None:
        alone(minibatches, 2_000, tmp_path / "run", record_property, memory=memory, memory_size=16)

    @pytest.mark.slow
    def test_memory_does_not_grow_over_30_000_steps_of_breakout(self, tmp_path: Path, record_property: Any) -> None:
        alone(breakout, 30_000, tmp_path / "run", record_property)

    @pytest.mark.slow
    def test_memory_does_not_grow_over_2_000_updates_of_four_workers(
        self, tmp_path: Path, record_property: Any
    ) -> None:
        alone(workers, 2_000, tmp_path / "run", record_property)

    @pytest.mark.long
    @pytest.mark.timeout(1800)
    def test_memory_does_not_grow_over_10_000_updates_of_four_workers(
        self, tmp_path: Path, record_property: Any
    ) -> None:
        alone(workers, 10_000, tmp_path / "run", record_property)

    @pytest.mark.long
    @pytest.mark.timeout(1800)
    def test_memory_does_not_grow_over_100_000_updates_of_cartpole(self, tmp_path: Path, record_property: Any) -> None:
        alone(cartpole, 100_000, tmp_path / "run", record_property)

    @pytest.mark.long
    @pytest.mark.timeout(3600)
    def test_memory_does_not_grow_over_300_000_steps_of_breakout(self, tmp_path: Path, record_property: Any) -> None:
        alone(breakout, 300_000, tmp_path / "run", record_property)
