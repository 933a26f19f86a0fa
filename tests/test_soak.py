"""Long trainings: memory and open files do not grow."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgfast

PAGE = 4096


def resident_megabytes() -> float:
    """Without what glibc holds free: each save leaves other blocks of its heap free, some 2 MB more or less."""
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def soak(agent: pgfast.A2C, timesteps: int, run: Path, record: Any) -> None:
    """Trains with rows and saves all along; the first quarter is for caches and buffers to fill."""
    samples: list[tuple[float, int]] = []

    def note(_: Any, __: dict[str, Any]) -> None:
        samples.append((resident_megabytes(), open_files()))

    agent.learn(timesteps, run_dir=run, callback=note)
    assert len(samples) >= 20
    memory, files = (np.array(column) for column in zip(*samples, strict=True))
    quarter = len(samples) // 4
    slope = np.polyfit(np.arange(len(memory) - quarter), memory[quarter:], 1)[0] * (len(memory) - quarter)
    figures = f"{agent.updates} updates: {memory[quarter]:.1f} to {memory[-1]:.1f} MB, trend {slope:+.2f} MB"
    record("soak", figures)
    print(figures, f"{files[quarter]} to {files[-1]} open files")
    assert slope < 3.0, figures
    assert memory[-1] - memory[quarter] < 8.0, figures
    assert files[-1] <= files[quarter]


def cartpole(updates: int, run: Path, record: Any) -> None:
    agent = pgfast.A2C("CartPole-v1", num_envs=16, n_steps=5, report_every=updates, sync_every=4 * updates)
    soak(agent, updates * 80, run, record)


def breakout(timesteps: int, run: Path, record: Any) -> None:
    every = timesteps // 30
    agent = pgfast.A2C("BreakoutNoFrameskip-v4", report_every=every, sync_every=every)
    soak(agent, timesteps, run, record)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
class TestSoak:
    @pytest.mark.slow
    def test_10_000_updates_of_cartpole(self, tmp_path: Path, record_property: Any) -> None:
        cartpole(10_000, tmp_path / "run", record_property)

    @pytest.mark.slow
    def test_30_000_steps_of_breakout(self, tmp_path: Path, record_property: Any) -> None:
        breakout(30_000, tmp_path / "run", record_property)

    @pytest.mark.long
    @pytest.mark.timeout(1800)
    def test_100_000_updates_of_cartpole(self, tmp_path: Path, record_property: Any) -> None:
        cartpole(100_000, tmp_path / "run", record_property)

    @pytest.mark.long
    @pytest.mark.timeout(3600)
    def test_300_000_steps_of_breakout(self, tmp_path: Path, record_property: Any) -> None:
        breakout(300_000, tmp_path / "run", record_property)
