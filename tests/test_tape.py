"""Forward passes recorded on a tape: what a rollout leaves behind for its update."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pgfast import nn
from pgfast._native import core
from pgfast.distributions import Categorical
from pgfast.reference import random

RunPython = Callable[..., subprocess.CompletedProcess[str]]
NETWORKS: dict[str, Callable[[Any], nn.Network]] = {
    "mlp": lambda dtype: nn.mlp(6, 5, (17, 8), dtype=dtype),
    "conv": lambda dtype: nn.Network(
        (2, 9, 8), [nn.Layer("conv2d", 5, 3, 2, "relu"), nn.Layer("dense", 5)], dtype=dtype
    ),
    "split": lambda dtype: nn.mlp(1100, 5, (130, 9), dtype=dtype),
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest, dtype: Any) -> nn.Network:
    return NETWORKS[request.param](dtype)


def make_tape(network: nn.Network, rows: int) -> Any:
    return (core.TapeFloat32 if network.dtype == np.float32 else core.TapeFloat64)(network.native, rows)


@pytest.fixture(params=["bytes", "floats"])
def x(request: pytest.FixtureRequest, network: nn.Network, rng: np.random.Generator) -> NDArray[Any]:
    values = rng.integers(0, 256, (100, *network.input_shape), np.uint8)
    return values if request.param == "bytes" else (values / 256.0).astype(network.dtype)


def test_rows_recorded_in_pieces_are_the_forward_pass(network: nn.Network, x: NDArray[Any]) -> None:
    tape = make_tape(network, 104)
    for rows in (slice(0, 1), slice(30, 100), slice(1, 30)):
        network.native.record(network.parameters, x[rows], tape, rows.start)
    np.testing.assert_array_equal(tape.output()[:100], network.forward(x))


def test_replay_gives_the_bits_of_vjp(network: nn.Network, x: NDArray[Any], rng: np.random.Generator) -> None:
    tape = make_tape(network, 100)
    gradient = np.full_like(network.parameters, np.nan)
    for _ in range(2):  # the second time on the memory of the first
        x = np.ascontiguousarray(x[::-1])
        dy = rng.standard_normal((100, network.output_size)).astype(network.dtype)
        kept = dy.copy()
        network.native.record(network.parameters, x[:37], tape, 0)
        network.native.record(network.parameters, x[37:], tape, 37)
        network.native.replay_vjp(network.parameters, x, tape, dy, gradient)
        np.testing.assert_array_equal(gradient, network.vjp(x, dy))
        np.testing.assert_array_equal(dy, kept)


def test_replay_of_the_first_rows_alone(network: nn.Network, x: NDArray[Any]) -> None:
    tape, gradient = make_tape(network, 100), np.empty_like(network.parameters)
    dy = np.ones((60, network.output_size), network.dtype)
    network.native.record(network.parameters, x, tape, 0)
    network.native.replay_vjp(network.parameters, x[:60], tape, dy, gradient)
    np.testing.assert_array_equal(gradient, network.vjp(x[:60], dy))


def test_act_samples_from_the_first_outputs(network: nn.Network, x: NDArray[Any]) -> None:
    tape, actions, family = make_tape(network, 100), np.full(40, -1), core.Family("categorical", [4])
    core.policy_act(network.native, family, network.parameters, x[:40], tape, 60, 12, 2, 7, 1 << 40, actions)
    outputs = network.forward(x[:40])
    np.testing.assert_array_equal(tape.output()[60:], outputs)
    cumulative = Categorical(np.ascontiguousarray(outputs[:, :-1]).astype(np.float64)).probabilities().cumsum(axis=1)
    numbers = [random.uniform(random.block_of(12, 2, 7 + row, 1 << 40)) for row in range(40)]
    np.testing.assert_array_equal(actions, (np.array(numbers)[:, np.newaxis] >= cumulative).sum(axis=1))


def test_act_refuses_outputs_that_are_not_finite() -> None:
    network = nn.mlp(3, 4)
    network.parameters[-1] = np.nan
    x, tape, actions = np.zeros((2, 3), np.float32), make_tape(network, 2), np.zeros(2, np.int64)
    with pytest.raises(ValueError, match=r"^Policy.act: network outputs must be finite, got nan at flat index 3$"):
        core.policy_act(
            network.native, core.Family("categorical", [3]), network.parameters, x, tape, 0, 0, 2, 0, 0, actions
        )


def test_rows_that_do_not_fit_the_tape_are_refused(network: nn.Network, x: NDArray[Any]) -> None:
    tape = make_tape(network, 8)
    for rows, first in ((9, 0), (8, 1), (1, 8), (1, -1)):
        text = rf"^Network.record: x has {rows} rows from row {first}, the tape holds 8$"
        with pytest.raises(ValueError, match=text):
            network.native.record(network.parameters, x[:rows], tape, first)
    with pytest.raises(ValueError, match=r"^Tape: capacity must be in "):
        make_tape(network, 0)


@pytest.mark.parametrize(
    "misuse",
    [
        "large.record(parameters, x, core.TapeFloat32(small, 64), 0)",
        "large.replay_vjp(parameters, x, core.TapeFloat32(small, 64), np.ones((64, 3), np.float32), 0 * parameters)",
        "large.record(parameters, x, core.TapeFloat32(large, 64), 2**63 - 1)",
        "core.TapeFloat32(small, 2**60)",
    ],
    ids=["record", "replay", "row", "output"],
)
def test_a_tape_that_does_not_fit_is_refused_and_no_crash(misuse: str, run_python: RunPython) -> None:
    code = f"""
import numpy as np
from pgfast import nn
from pgfast._native import core
network = nn.mlp(4, 3, (4096,))
small, large, parameters = nn.mlp(4, 3, (4,)).native, network.native, network.parameters
x = np.zeros((64, 4), np.float32)
try:
    {misuse}
except ValueError as error:
    print("refused")
"""
    finished = run_python(code)
    assert (finished.returncode, finished.stdout) == (0, "refused\n")


def test_replay_refuses_to_write_over_its_inputs(network: nn.Network, x: NDArray[Any]) -> None:
    tape, dy = make_tape(network, 4), np.ones((4, network.output_size), network.dtype)
    network.native.record(network.parameters, x[:4], tape, 0)
    with pytest.raises(ValueError, match=r"^Network.replay_vjp: gradient must not share memory with parameters$"):
        network.native.replay_vjp(network.parameters, x[:4], tape, dy, network.parameters)
