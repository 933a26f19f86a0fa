"""Workers on a Ray cluster have the bits of threads, and the loss of a worker, a machine or the driver is survived."""

from __future__ import annotations

import importlib.util
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgfast
from pgfast.algorithms import ALGORITHMS
from pgfast.profiling import Profile
from pgfast.state import flatten
from pgfast.training.distributed import on_ray
from ray_processes import gone, ray_pids, worker_pids
from states import assert_equal_states
from test_worker_losses import check_losses
from test_workers import make

ray = pytest.importorskip("ray")
Cluster = pytest.importorskip("ray.cluster_utils").Cluster

ON_RAY: dict[str, Any] = {"ray_address": None}
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 100,
    "health_check_failure_threshold": 3,
}


@pytest.fixture(scope="module")
def one_machine() -> Iterator[None]:
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def three_machines() -> Iterator[Any]:
    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": HEALTH})
    nodes = [cluster.add_node(num_cpus=2) for _ in range(3)]
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster, nodes
    ray.shutdown()
    cluster.shutdown()


def test_the_narrower_instruction_set() -> None:
    assert on_ray._narrower("v2", "v3") == on_ray._narrower("v3", "v2") == "v2"
    assert on_ray._narrower("v4", "v3") == on_ray._narrower("v3", "v4") == "v3"
    assert on_ray._narrower("generic", "generic") == "generic"
    assert on_ray._narrower("generic", "v3") is None


def test_an_address_where_nothing_listens_is_said_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for _ in range(2):  # a failed attempt leaves nothing behind
        with pytest.raises(ConnectionError, match=rf"^nothing answers at ray_address localhost:{port}: .*refused"):
            make("a2c", ray_address=f"localhost:{port}").learn(64)
    for wrong in ("nonsense", "localhost:", ":6379", "localhost:65536", ""):
        with pytest.raises(ValueError, match=r'^ray_address must be "auto", "local", "none" or host:port, got'):
            make("a2c", ray_address=wrong).learn(64)


def test_strangers_are_turned_away_and_delay_no_worker() -> None:
    """One end that is silent, one that leaves with the challenge unread, one with another key, then a worker."""
    server, accepted, stop = socket.create_server(("127.0.0.1", 0)), queue.SimpleQueue(), threading.Event()
    address = server.getsockname()
    threading.Thread(target=on_ray._listen, args=(server, b"key", accepted, stop), daemon=True).start()
    with socket.create_connection(address):
        socket.create_connection(address).close()
        with pytest.raises(AuthenticationError):
            Client(address, authkey=b"another key")
        worker = Client(address, authkey=b"key")
        worker.send_bytes(b"3 v3")
        slot, isa, connection = accepted.get(timeout=10)
        assert (slot, isa) == (3, "v3")
        connection.close()
        worker.close()
    stop.set()


CASES = [(name, env) for name in ALGORITHMS for env in ("CartPole-v1", "Pendulum-v1")]
CASES += [(name, "BreakoutNoFrameskip-v4") for name in ("a2c", "ppo")]
QUICK = [("trpo", "CartPole-v1")]
MARKED = [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow) for case in CASES]


@pytest.mark.parametrize(("name", "env"), MARKED)
@pytest.mark.usefixtures("one_machine")
def test_the_bits_are_those_of_threads(name: str, env: str) -> None:
    chosen = {} if env.startswith("Breakout") else {"vectorization": "sync"}
    for workers in (2, 4) if name == "ppo" else (2,):
        states = []
        for where in ({"ray_address": "none"}, {**ON_RAY, "worker_threads": 1 if workers == 4 else 2}):
            agent = make(name, env, workers=workers, **{"vectorization": "auto", **chosen, **where}).learn(192)
            states.append(flatten(agent.learner.state()))
            agent.close()
        assert_equal_states(states[1], states[0])


@pytest.mark.slow
@pytest.mark.usefixtures("one_machine")
def test_a_profile_shows_what_the_workers_waited_for() -> None:
    agent = make("trpo", **ON_RAY).learn(64)
    with Profile() as profile:
        agent.learn(1280)
    agent.close()
    assert len(profile.workers) == 2
    for seconds in profile.workers:
        assert {"environments", "forward", "natural gradient", "waiting"} < seconds.keys()
        assert sum(seconds.values()) < profile.seconds["workers"] * 1.1
    assert "mean of 2 workers:" in str(profile)


@pytest.mark.slow
@pytest.mark.usefixtures("one_machine")
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_or_stopped_worker_is_replaced(signal_number: int, tmp_path: Path) -> None:
    agent = make("ppo", workers=2, worker_timeout=3.0, **ON_RAY).learn(64)
    (victim, _) = worker_pids()
    killer = threading.Timer(0.5, os.kill, (victim, signal_number))
    killer.start()
    agent.learn(100_000, run_dir=tmp_path / "run", callback=lambda training, row: row["worker_restarts"] < 1)
    killer.join()
    check_losses(agent, tmp_path / "more", 1)
    assert gone([victim], 10.0)


def check_random_losses(moments: int, tmp_path: Path, name: str, workers: int = 2) -> None:
    """Kills a worker at random moments; the training goes on within 30 seconds each time, and still learns."""
    chance = random.Random(7)
    settings: dict[str, Any] = {"vectorization": "sync", "worker_timeout": 10.0, "report_every": 64, **ON_RAY}
    agent = ALGORITHMS[name]("CartPole-v1", seed=3, num_workers=workers, **settings)
    agent.learn(1)
    longest, last = 0.0, time.monotonic()

    def note(training: Any, row: dict[str, Any]) -> bool:
        nonlocal longest, last
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
        return row["worker_restarts"] < moments

    ended = threading.Event()

    def kill() -> None:
        killed = 0
        while killed < moments and not ended.is_set():
            time.sleep(chance.uniform(0.3, 2.0))
            if len(agent.crew._hub.members) == workers:  # type: ignore[union-attr] # all have joined again
                os.kill(chance.choice(worker_pids()), signal.SIGKILL)
                killed += 1

    killer = threading.Thread(target=kill)
    killer.start()
    agent.learn(10_000_000, run_dir=tmp_path / "run", callback=note)
    ended.set()
    killer.join()
    assert longest < 30.0
    best = 0.0

    def has_not_learned(training: Any, row: dict[str, Any]) -> bool:
        nonlocal best
        best = row["return_mean"]
        return best < 450.0

    agent.learn(300_000, callback=has_not_learned)
    assert best >= 450.0
    check_losses(agent, tmp_path / "more", moments)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trpo", "ppo"])
@pytest.mark.usefixtures("one_machine")
def test_workers_are_lost_at_random_moments(name: str, tmp_path: Path) -> None:
    check_random_losses(10, tmp_path, name)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["trpo", "ppo"])
@pytest.mark.usefixtures("one_machine")
def test_workers_are_lost_at_100_random_moments(name: str, tmp_path: Path) -> None:
    check_random_losses(100, tmp_path, name)


@pytest.fixture
def two_kinds_of_machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two machines of which one has a wider instruction set, and the instruction set that both have."""
    monkeypatch.delenv("PGFAST_ISA", raising=False)
    widest, narrow = pgfast.native_info()["isa"], "v2"
    if widest == narrow or not importlib.util.find_spec(f"pgfast._core_{narrow}"):
        pytest.skip("one instruction set was built")
    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": HEALTH})
    nodes = [cluster.add_node(num_cpus=1, env_vars={"PGFAST_ISA": isa}) for isa in (narrow, widest)]
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster, nodes, narrow
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:waiting for 1 of 2 workers:RuntimeWarning")
def test_all_workers_use_the_narrowest_instruction_set(two_kinds_of_machines: Any, tmp_path: Path) -> None:
    cluster, (narrow_machine, wide_machine), narrow = two_kinds_of_machines
    agent = make("a2c", **ON_RAY).learn(192)
    assert set(agent.crew._backend._isas.values()) == {narrow}  # type: ignore[union-attr]
    assert agent.sampler.statistics.worker_restarts == 0
    mixed = flatten(agent.learner.state())
    agent.close()
    for machine in (wide_machine, narrow_machine):
        cluster.remove_node(machine, allow_graceful=True)
    cluster.add_node(num_cpus=2, env_vars={"PGFAST_ISA": narrow})
    agent = make("a2c", **ON_RAY).learn(192)
    assert_equal_states(flatten(agent.learner.state()), mixed)
    agent.close()


@pytest.mark.slow
def test_three_machines_have_the_bits_of_threads_and_one_may_vanish(three_machines: Any, tmp_path: Path) -> None:
    cluster, nodes = three_machines
    for name in ALGORITHMS:
        agents = [make(name, workers=4, **chosen).learn(192) for chosen in ({"ray_address": "none"}, ON_RAY)]
        assert_equal_states(*(flatten(agent.learner.state()) for agent in agents))
        for agent in agents:
            agent.close()
    agent = make("ppo", workers=4, worker_timeout=10.0, **ON_RAY).learn(64)
    vanish = threading.Timer(1.0, cluster.remove_node, (nodes[0],), {"allow_graceful": False})
    vanish.start()
    began = time.monotonic()
    agent.learn(10_000_000, run_dir=tmp_path / "run", callback=lambda _, row: row["worker_restarts"] < 1)
    vanish.join()
    assert time.monotonic() - began < 60.0
    agent.learn(640)
    agent.close()


RUN = [
    *("train", "ppo", "CartPole-v1", "--num-workers", "2", "--num-envs", "4", "--n-steps", "16"),
    *("--sync-every", "640", "--report-every", "640", "--run-dir", "run"),
]


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pgfast", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize(
    ("signal_number", "seconds"),
    [
        pytest.param(signal.SIGINT, 20.0, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, None, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, 120.0, marks=pytest.mark.long),
    ],
)
def test_workers_end_with_the_driver_and_the_run_resumes_exactly(
    signal_number: int, seconds: float | None, tmp_path: Path
) -> None:
    """After ``seconds``, the other processes of Ray have ended, too; without its driver, it takes them some time."""
    ray.shutdown()
    others = ray_pids()
    with start(tmp_path, *RUN, "--total-timesteps", "10000000") as process:
        try:
            assert process.stdout is not None
            while "1,280 / " not in process.stdout.readline():
                assert process.poll() is None
            pids = [pid for pid in worker_pids() if pid not in others]
            assert len(pids) == 2
            rays = [pid for pid in ray_pids() if pid not in others]
            assert len(rays) > 4
            process.send_signal(signal_number)
            output = process.stdout.read()
            process.wait(timeout=30)
        finally:
            process.kill()
    assert process.returncode == (130 if signal_number == signal.SIGINT else -signal_number), output
    assert gone(pids, 20.0)
    assert seconds is None or gone(rays, seconds)
    with start(tmp_path, "resume", "run", "--exact", "--total-timesteps", "12800") as process:
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "exactly" in output
    settings = {"num_envs": 4, "n_steps": 16, "sync_every": 640, "num_workers": 2, "ray_address": "none"}
    whole = pgfast.PPO("CartPole-v1", **settings).learn(12800)
    resumed = pgfast.load(tmp_path / "run")
    assert resumed.timesteps == 12800
    np.testing.assert_array_equal(resumed.policy.parameters, whole.policy.parameters)
    whole.close()
