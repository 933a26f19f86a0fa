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
    def counted(*arguments, step=getattr(part, name), record=counts[name], **named):
        before = count()
        result = step(*arguments, **named)
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


# Prints the allocations of each backward pass through a rollout, recorded step by step and at once.
MEMORY = """
import ctypes, sys
import numpy as np
from pgfast import nn

count = ctypes.CDLL(None).large_allocations
count.restype = ctypes.c_long
network = nn.Network(nn.NetworkSpec(trunk=(nn.Layer("dense", 64),), memory=sys.argv[1], memory_size=128), [64], 3)
tape, gradient, state = nn.Tape(network, 160), np.empty_like(network.parameters), network.initial_state(16)
x, dy, counts = np.ones((160, 64), np.float32), np.ones((160, 3), np.float32), []
rows = [x[first : first + 16] for first in range(0, 160, 16)]
for _ in range(4):
    before = count()
    tape.begin(state)
    for t in range(10):
        tape.record(rows[t], 16 * t)
    tape.record(x)
    tape.vjp(dy, gradient)
    counts.append(count() - before)
print(*counts)
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
    numbers = allocations(counter, PROGRAM, env_id, network)
    updates, rollouts, emulation = numbers[:6], numbers[6:12], numbers[12]
    assert updates == [0] * 6
    assert rollouts == [emulation] * 6
    assert (emulation > 0) == (network == "origin_cnn")  # the counter works


@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_sequences_allocate_nothing_after_the_first(counter: Path, memory: str) -> None:
    first, *others = allocations(counter, MEMORY, memory)
    assert first > 0  # the counter works
    assert others == [0, 0, 0]


def allocations(counter: Path, program: str, *arguments: str) -> list[int]:
    """Returns the numbers that a program prints. It runs on one thread: with several, each allocates working memory at
    its first task of a kind, which may come late.
    """
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "LD_PRELOAD": str(counter), "PGFAST_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    return [int(word) for word in done.stdout.split()]
