"""The efficiency of up to 1,000 workers, simulated from what one machine can measure.

python benchmarks/scaling.py [--smoke]

Measured here: the reductions of an update and their bytes, the time of an update of one worker with one thread, and the
driver's time per message and per byte, on connections within the machine. The simulation has the driver receive the
message of each worker, one after the other as they arrive, add them up, and send the sum to one after the other; a byte
takes the driver's time or the network's, whichever is longer. Workers take between two reductions the time that was
measured, times a random factor. The efficiency is the time of an update of one worker divided by that of W workers that
have as many environments each.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import Process
from multiprocessing.connection import Client, Listener
from typing import Any

import numpy as np

import pgfast
from pgfast.reduce import Reduce
from pgfast.training.distributed.hub import Hub
from pgfast.training.distributed.messages import Channel, encode

WORKERS = (1, 2, 4, 8, 16, 64, 256, 1000)
GIGABITS = (1.0, 10.0, 100.0)
SPREAD = 0.1  # standard deviation of the logarithm of a worker's time between two reductions
LATENCY = 1e-4  # seconds of a message on a network
KEY = b"benchmark"


@dataclass(frozen=True)
class Case:
    """A training whose updates are measured."""

    title: str
    agent: type[pgfast.agent.Agent]
    env_id: str
    settings: dict[str, Any] = field(default_factory=dict)


ATARI: dict[str, Any] = {"num_envs": 16, "network": "origin_cnn"}
CASES = (
    Case("A2C, Breakout 16 x 5", pgfast.A2C, "BreakoutNoFrameskip-v4", {**ATARI, "n_steps": 5}),
    Case("A2C, Breakout 16 x 20", pgfast.A2C, "BreakoutNoFrameskip-v4", {**ATARI, "n_steps": 20}),
    Case("PPO, Breakout 16 x 64", pgfast.PPO, "BreakoutNoFrameskip-v4", {**ATARI, "n_steps": 64}),
    Case("PPO, CartPole 8 x 256", pgfast.PPO, "CartPole-v1", {"num_envs": 8, "n_steps": 256}),
    Case("TRPO, CartPole 16 x 128", pgfast.TRPO, "CartPole-v1", {"num_envs": 16, "n_steps": 128}),
)


class Counted(Reduce):
    """The reduce of a single worker, which lists the bytes of the calls."""

    workers, rank = 1, 0

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def begin(self, *counts: int) -> list[tuple[int, ...]]:
        self.sizes.append(0)
        return [counts]

    def sum(self, value: Any) -> Any:
        parts = value if isinstance(value, tuple) else (value,)
        self.sizes.append(sum(part.nbytes for part in parts if isinstance(part, np.ndarray)))
        return value

    def gather(self, value: Any) -> list[Any]:
        self.sizes.append(0)
        return [value]


@dataclass(frozen=True)
class Update:
    """Measured time and reductions of an update of one worker."""

    seconds: float
    sizes: Sequence[int]  # bytes of each reduction


@dataclass(frozen=True)
class Costs:
    """Measured time of the driver for a message and for each of its bytes."""

    message: float  # seconds
    byte: float  # seconds


def measure_update(case: Case, updates: int) -> Update:
    agent = case.agent(case.env_id, **case.settings, sync_every=10**9, report_every=10**9)
    rows = agent.settings.num_envs * agent.settings.n_steps
    agent.learn(rows)
    agent.reduce = counted = Counted()
    began = time.perf_counter()
    agent.learn(updates * rows)
    seconds = (time.perf_counter() - began) / updates
    agent.close()
    return Update(seconds, counted.sizes[: len(counted.sizes) // updates])


def measure_reduction(workers: int, size: int, count: int) -> float:
    """Returns the seconds of one reduction of ``size`` numbers, over connections within the machine."""
    with Listener(("127.0.0.1", 0), authkey=KEY) as listener:
        processes = [Process(target=reduce_often, args=(listener.address, size, count)) for _ in range(workers)]
        for process in processes:
            process.start()
        hub = Hub(60.0, lambda slot, reason: print(f"lost worker {slot}: {reason}"))
        for slot in range(workers):
            hub.add(slot, Channel(listener.accept()))
        answers = hub.command("measure", {}, None)
        hub.close()
    for process in processes:
        process.join()
    return statistics.fmean(message["answer"] for message in answers.values())


def reduce_often(address: tuple[str, int], size: int, count: int) -> None:
    """A worker's side of :func:`measure_reduction`."""
    channel, numbers = Channel(Client(address, authkey=KEY)), np.ones(size, np.float32)
    channel.receive()
    for timed in (False, True):
        began = time.perf_counter()
        for _ in range(count if timed else 3):
            channel.send(encode({"call": "sum", "value": numbers}))
            channel.receive()
    channel.send(encode({"answer": (time.perf_counter() - began) / count}))
    channel.close()


def simulate(update: Update, workers: int, costs: Costs, byte_of_network: float, rng: np.random.Generator) -> float:
    """Returns the seconds of an update of ``workers`` workers."""
    ready = np.zeros(workers)  # when each worker goes on
    segments = len(update.sizes) + 1
    for index in range(segments):
        ready = ready + update.seconds / segments * rng.lognormal(0.0, SPREAD, workers)
        if index == segments - 1:
            break
        cost = costs.message + update.sizes[index] * max(costs.byte, byte_of_network)
        driver = 0.0
        for arrival in np.sort(ready) + LATENCY:
            driver = max(driver, float(arrival)) + cost
        ready = driver + cost * np.arange(1, workers + 1) + LATENCY
    return float(ready.max())


def main() -> None:
    """Measures, then prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="run everything briefly; the numbers mean nothing")
    smoke = parser.parse_args().smoke
    count = 5 if smoke else 200
    pgfast.set_num_threads(1)
    small, large = 1, 675_000
    measured = {(w, size): measure_reduction(w, size, count) for w in (2, 4) for size in (small, large)}
    message = measured[2, small] / 4
    costs = Costs(message, (measured[2, large] / 4 - message) / (4 * large))
    print(f"driver: {costs.message * 1e6:.0f} us a message, {costs.byte * 1e9:.2f} ns a byte, from 2 workers")
    for (workers, size), seconds in measured.items():
        predicted = 2 * workers * (costs.message + 4 * size * costs.byte)
        text = f"{seconds * 1e3:.2f} ms, model {predicted * 1e3:.2f} ms"
        print(f"reduction of {4 * size:,} bytes, {workers} workers: {text}")
    rng = np.random.default_rng(0)
    for case in CASES[-2:] if smoke else CASES:
        update = measure_update(case, 1 if smoke else 5)
        text = f"{len(update.sizes)} reductions, {sum(update.sizes) / 1e6:.2f} MB each way"
        print(f"\n{case.title}: {update.seconds * 1e3:.0f} ms, {text}")
        print("| Gbit/s | " + " | ".join(f"{workers:,}" for workers in WORKERS) + " |")
        print("|---" * (1 + len(WORKERS)) + "|")
        for gigabits in GIGABITS:
            alone = simulate(update, 1, Costs(0.0, 0.0), 0.0, rng) - 2 * LATENCY * len(update.sizes)
            times = [
                alone
                if w == 1
                else statistics.fmean(simulate(update, w, costs, 8e-9 / gigabits, rng) for _ in range(5))
                for w in WORKERS
            ]
            print(f"| {gigabits:g} | " + " | ".join(f"{alone / seconds:.2f}" for seconds in times) + " |")


if __name__ == "__main__":
    main()
