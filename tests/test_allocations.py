"""A2C reuses its memory: after the first update nothing of a page or more is allocated, but by the emulator."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator that is counted is glibc's")

COUNTER = Path(__file__).with_name("counting_malloc.c")

# Counts of the updates, of the rollouts, and of as many steps of the environments alone.
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
    def counted(*given, step=getattr(part, name), of=counts[name]):
        before = count()
        result = step(*given)
        of.append(count() - before)
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
def test_a_training_allocates_nothing_after_its_first_update(counter: Path, env_id: str, network: str) -> None:
    # One thread: of several, each makes its own working memory when it first takes a task of a kind, whenever that is.
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, env_id, network],
        env={**os.environ, "LD_PRELOAD": str(counter), "PGFAST_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    numbers = [int(word) for word in done.stdout.split()]
    updates, rollouts, of_environments = numbers[:6], numbers[6:12], numbers[12]
    assert updates == [0] * 6
    assert rollouts == [of_environments] * 6
    assert (of_environments > 0) == (network == "origin_cnn")  # so the counter counts
