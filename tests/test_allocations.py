"""A2C reuses its memory: after the first update, only the emulator allocates a page or more."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="counts the allocations of glibc")

COUNTER = Path(__file__).with_name("counting_malloc.c")

# Prints the allocations of each update, of each rollout, and of as many steps of the environments alone.
PROGRAM = """
import ctypes, sys
import numpy as np
import pgfast

count = ctypes.CDLL(None).large_allocations
count.restype = ctypes.c_long
agent = pgfast.A2C(sys.argv[1], preset=None, num_envs=16, n_steps=5, network=sys.argv[2], optimizer="adam",
                   report_every=10**9, sync_every=10**9)
agent.learn(2 * 80)
counts = {"collect": [], "update": []}
for part, name in ((agent.sampler, "collect"), (agent.learner, "update")):
    def counted(*arguments, step=getattr(part, name), record=counts[name]):
        before = count()
        result = step(*arguments)
        record.append(count() - before)
        return result
    setattr(part, name, counted)
agent.learn(6 * 80)
env = agent.sampler.env
before = count()
for _ in range(5):
    env.step(np.zeros(16, np.int64))
print(*counts["update"], *counts["collect"], count() - before)
"""


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("counter") / "counting_malloc.so"
    subprocess.run([compiler, "-std=gnu11", "-O1", "-shared", "-fPIC", "-o", library, COUNTER], check=True)
    return library


@pytest.mark.parametrize(("env_id", "network"), [("CartPole-v1", "mlp"), ("BreakoutNoFrameskip-v4", "origin_cnn")])
def test_training_allocates_nothing_after_the_first_update(counter: Path, env_id: str, network: str) -> None:
    # One thread: with several, each allocates working memory at its first task of a kind, which may come late.
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, env_id, network],
        env={**os.environ, "LD_PRELOAD": str(counter), "PGFAST_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    numbers = [int(word) for word in done.stdout.split()]
    updates, rollouts, emulation = numbers[:6], numbers[6:12], numbers[12]
    assert updates == [0] * 6
    assert rollouts == [emulation] * 6
    assert (emulation > 0) == (network == "origin_cnn")  # the counter works
