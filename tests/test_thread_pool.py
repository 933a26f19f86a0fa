"""The thread pool: equal results for any number of threads, from any calling thread, and in a child process."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import pgfast
from pgfast import kernels, losses, nn, optim
from pgfast.distributions import Categorical
from pgfast.losses import RowGradients
from pgfast.policies import CategoricalPolicy, GaussianPolicy

RunPython = Callable[..., subprocess.CompletedProcess[str]]
COUNT = "import pgfast; print(pgfast.native_info()['num_threads'])"


def digest(*arrays: Any) -> str:
    return hashlib.sha256(b"".join(np.asarray(array).tobytes() for array in arrays)).hexdigest()


def network_bits() -> str:
    """Covers all products of the convolutional network of the course, B = 40."""
    rng = np.random.default_rng(1)
    network = NETWORK
    x = rng.integers(0, 256, (40, 4, 84, 84), np.uint8)
    dy = rng.standard_normal((40, 19), dtype=np.float32)
    v = rng.standard_normal(network.parameters.size, dtype=np.float32)
    per_sample = network.per_sample_vjp(x[:5], dy[:5])
    return digest(network.forward(x), network.vjp(x, dy), network.jvp(x, v), per_sample)


def mlp_bits() -> str:
    rng = np.random.default_rng(2)
    network = nn.mlp(17, 6, (64, 64), dtype=np.float64)
    x, dy = rng.standard_normal((3000, 17)), rng.standard_normal((3000, 6))
    return digest(network.forward(x), network.vjp(x, dy))


def optimizer_bits() -> str:
    """Covers four steps on 150,001 parameters, and the norm of the gradient."""
    results: list[Any] = []
    dtypes: list[Any] = [np.float32, np.float64]
    for dtype in dtypes:
        optimizers = [optim.SGD(0.1, 0.9), optim.Adam(0.1), optim.RMSprop(0.1), optim.RMSprop(0.1, form="tensorflow")]
        for optimizer in optimizers:
            rng = np.random.default_rng(3)
            parameters = rng.standard_normal(150_001).astype(dtype)
            for _ in range(4):
                gradient = rng.standard_normal(150_001).astype(dtype)
                results.append(kernels.clip_by_global_norm(gradient, 0.5))
                optimizer.step(parameters, gradient)
            results.append(parameters)
    return digest(*results)


def rollout_bits() -> str:
    rng = np.random.default_rng(4)
    rewards, values = rng.standard_normal((2, 10, 1000))
    ends = rng.random((10, 1000)) < 0.1
    advantages, returns = kernels.gae(rewards, values, values[0], ends, None, 0.99, 0.95)
    logits, actions = rng.standard_normal((10_000, 6)), rng.integers(0, 6, 10_000)
    policy = Categorical(logits)
    columns = policy.log_prob(actions), advantages.ravel(), policy.entropy(), returns.ravel(), values.ravel()
    loss_values, rows = losses.a2c_gradient(*columns, 0.01, 0.5)
    gradient = policy.gradient(actions, rows.log_prob, rows.entropy)
    return digest(returns, *loss_values, *rows, *gradient, policy.entropy(), policy.sample(5), policy.probabilities())


def matrix_bits() -> str:
    """Covers Fisher matrices and their solves in both dtypes; 300 parameters make several blocks."""
    results: list[Any] = []
    for dtype in (np.float32, np.float64):
        scores = np.random.default_rng(6).standard_normal((700, 300)).astype(dtype)
        gradient = scores[0].copy()
        fisher = kernels.fisher_matrix(scores)
        results += [fisher, kernels.natural_gradient(fisher, gradient, 0.1)]
        results += [kernels.natural_gradient_from_scores(scores[:90].copy(), gradient, 0.1, method="woodbury")]
    return digest(*results)


def policy_bits() -> str:
    """Covers scores, gradients, actions, Fisher products and their solves, for both kinds of policy."""
    rng = np.random.default_rng(7)
    observations = rng.standard_normal((2100, 17), dtype=np.float32)
    weights = rng.standard_normal(2100, dtype=np.float32)
    results: list[Any] = []
    for policy in (CategoricalPolicy(nn.mlp(17, 6)), GaussianPolicy(nn.mlp(17, 6))):
        actions, log_prob = policy.act(observations, rng=8)
        v, operator = (
            rng.standard_normal(policy.parameters.size, dtype=np.float32),
            policy.fisher_operator(observations),
        )
        results += [actions, log_prob, policy.scores(observations[:50], actions[:50])]
        results += [policy.gradient(observations, actions, RowGradients(weights)), operator(v)]
        results += [kernels.conjugate_gradient(operator, v, damping=0.1).solution]
        distribution = policy.distribution(observations)
        results += [distribution.entropy(), distribution.kl(distribution), distribution.log_prob(actions)]
    return digest(*results)


NETWORK = nn.origin_cnn((4, 84, 84), 19)
WORKLOADS = [network_bits, mlp_bits, optimizer_bits, rollout_bits, matrix_bits, policy_bits]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_results_do_not_depend_on_thread_count(workload: Callable[[], str], num_threads: Callable[[int], None]) -> None:
    results = set()
    for threads in (1, 2, 3, 8):
        num_threads(threads)
        assert pgfast.native_info()["num_threads"] == threads
        results.add(workload())
    assert len(results) == 1


def test_python_threads_may_call_kernels_at_once(num_threads: Callable[[int], None]) -> None:
    num_threads(3)
    expected = [workload() for workload in WORKLOADS]
    with ThreadPoolExecutor(4) as executor:
        for _ in range(3):
            pending = [executor.submit(workload) for workload in WORKLOADS]
            assert [future.result(timeout=60) for future in pending] == expected


def test_the_pool_may_be_resized_while_it_works(num_threads: Callable[[int], None]) -> None:
    expected, stop = mlp_bits(), threading.Event()

    def resize() -> int:
        rounds = 0
        while not stop.is_set():
            num_threads(1 + rounds % 4)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(3) as executor:
        resizing = executor.submit(resize)
        try:
            pending = [executor.submit(mlp_bits) for _ in range(40)]
            assert {future.result(timeout=60) for future in pending} == {expected}
        finally:
            stop.set()
        assert resizing.result(timeout=60) >= 1


def wait_for(child: int, seconds: float) -> int:
    """Returns the exit code of a child process; if it hangs, kills it and fails the test."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid == child:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail(f"the forked child still ran after {seconds} s")


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.parametrize("busy", [False, True])
def test_a_forked_child_computes_the_same(busy: bool, num_threads: Callable[[int], None]) -> None:
    num_threads(3)
    expected, stop = mlp_bits(), threading.Event()

    def keep_the_pool_busy() -> None:
        while not stop.is_set():
            mlp_bits()

    worker = threading.Thread(target=keep_the_pool_busy)
    if busy:
        worker.start()
    try:
        for _ in range(5):
            with warnings.catch_warnings():
                # Python 3.12 and later warn about fork with threads, which is tested here.
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if child == 0:
                code = 1
                try:
                    same = pgfast.native_info()["num_threads"] == 3 and mlp_bits() == expected
                    pgfast.set_num_threads(2)
                    code = 0 if same and mlp_bits() == expected else 2
                finally:
                    os._exit(code)
            assert wait_for(child, 60.0) == 0
    finally:
        stop.set()
        if busy:
            worker.join()
    assert mlp_bits() == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"PGFAST_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
        ({"PGFAST_NUM_THREADS": None, "OMP_NUM_THREADS": "5"}, 5),
        ({"PGFAST_NUM_THREADS": None, "OMP_NUM_THREADS": None}, None),
    ],
    ids=["pgfast", "openmp", "neither"],
)
def test_the_environment_sets_the_number_of_threads(
    variables: dict[str, str | None], expected: int | None, run_python: RunPython
) -> None:
    finished = run_python(COUNT, **variables)
    assert finished.stderr == ""
    if expected is None:
        expected = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert int(finished.stdout) == expected


@pytest.mark.parametrize("n", [0, -1, 1025])
def test_set_num_threads_has_bounds(n: int) -> None:
    before = pgfast.native_info()["num_threads"]
    with pytest.raises(ValueError, match=rf"^set_num_threads: n must be in \[1, 1024\], got {n}$"):
        pgfast.set_num_threads(n)
    assert pgfast.native_info()["num_threads"] == before
