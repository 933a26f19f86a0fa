"""nn.Tape: forward passes recorded with their inputs, and backward passes through them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pgfast import nn

RunPython = Callable[..., subprocess.CompletedProcess[str]]
NETWORKS: dict[str, Callable[[Any], nn.Network]] = {
    "mlp": lambda dtype: nn.mlp(6, 5, (17, 8), dtype=dtype),
    "conv": lambda dtype: nn.Network.of_layers(
        (2, 9, 8), [nn.Layer("conv2d", 5, 3, 2, "relu"), nn.Layer("dense", 5)], dtype=dtype
    ),
    "split": lambda dtype: nn.mlp(1100, 5, (130, 9), dtype=dtype),
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest, dtype: Any) -> nn.Network:
    return NETWORKS[request.param](dtype)


@pytest.fixture(params=["bytes", "floats"])
def x(request: pytest.FixtureRequest, network: nn.Network, rng: np.random.Generator) -> NDArray[Any]:
    values = rng.integers(0, 256, (100, *network.input_shape), np.uint8)
    return values if request.param == "bytes" else (values / 256.0).astype(network.dtype)


def test_rows_recorded_in_pieces_are_the_forward_pass(network: nn.Network, x: NDArray[Any]) -> None:
    tape = nn.Tape(network, 104)
    assert tape.rows == len(tape.outputs) == 104
    for rows in (slice(0, 1), slice(30, 100), slice(1, 30)):
        tape.record(x[rows], rows.start)
    np.testing.assert_array_equal(tape.outputs[:100], network.forward(x))
    np.testing.assert_array_equal(tape.inputs(x.dtype)[:100], x)


def test_the_backward_pass_equals_vjp_bit_for_bit(
    network: nn.Network, x: NDArray[Any], rng: np.random.Generator
) -> None:
    tape = nn.Tape(network, 100)
    gradient = np.full_like(network.parameters, np.nan)
    for _ in range(2):  # the second pass reuses the memory of the first
        x = np.ascontiguousarray(x[::-1])
        dy = rng.standard_normal((100, network.output_size)).astype(network.dtype)
        kept = dy.copy()
        tape.record(x[:37])
        tape.record(x[37:], 37)
        tape.vjp(dy, gradient)
        np.testing.assert_array_equal(gradient, network.vjp(x, dy))
        np.testing.assert_array_equal(dy, kept)


def test_the_backward_pass_may_cover_only_the_first_rows(network: nn.Network, x: NDArray[Any]) -> None:
    tape, gradient = nn.Tape(network, 100), np.empty_like(network.parameters)
    dy = np.ones((60, network.output_size), network.dtype)
    tape.record(x)
    tape.vjp(dy, gradient)
    np.testing.assert_array_equal(gradient, network.vjp(x[:60], dy))


def test_the_tape_keeps_its_inputs(network: nn.Network, x: NDArray[Any]) -> None:
    tape, gradient = nn.Tape(network, 100), np.empty_like(network.parameters)
    dy = np.ones((100, network.output_size), network.dtype)
    expected = network.vjp(x, dy)
    tape.record(x)
    x[:] = 7
    tape.vjp(dy, gradient)
    np.testing.assert_array_equal(gradient, expected)


def test_inputs_may_be_written_into_the_tape(network: nn.Network, x: NDArray[Any]) -> None:
    tape, gradient = nn.Tape(network, 100), np.empty_like(network.parameters)
    inputs = tape.inputs(x.dtype)
    assert inputs.shape == x.shape
    assert inputs.dtype == x.dtype
    assert not inputs.any()
    inputs[:] = x
    for first in range(0, 100, 20):
        tape.record(inputs[first : first + 20], first)
    np.testing.assert_array_equal(inputs, x)
    dy = np.ones((100, network.output_size), network.dtype)
    tape.vjp(dy, gradient)
    np.testing.assert_array_equal(tape.outputs, network.forward(x))
    np.testing.assert_array_equal(gradient, network.vjp(x, dy))
    tape.record(inputs[:60], 20)  # other rows of the same memory
    np.testing.assert_array_equal(inputs[20:80], x[:60])
    np.testing.assert_array_equal(tape.outputs[20:80], network.forward(x[:60]))


def test_the_views_outlive_the_tape(dtype: Any) -> None:
    x = np.full((3, 6), 0.5, dtype)
    tape = nn.Tape(NETWORKS["mlp"](dtype), 3)
    tape.record(x)
    inputs, outputs = tape.inputs(dtype), tape.outputs
    expected = outputs.copy()
    del tape
    scratch = [np.full((3, 6), np.nan) for _ in range(100)]
    np.testing.assert_array_equal(inputs, x)
    np.testing.assert_array_equal(outputs, expected)
    assert len(scratch) == 100


def test_a_tape_has_inputs_of_one_dtype(network: nn.Network, x: NDArray[Any]) -> None:
    tape, name = nn.Tape(network, 100), np.dtype(network.dtype).name
    other = np.zeros(x.shape, network.dtype if x.dtype == np.uint8 else np.uint8)
    tape.record(x[:3])
    texts = f"must be {x.dtype} like the inputs on the tape, got {other.dtype}$"
    with pytest.raises(TypeError, match=rf"^Tape.record: x {texts}"):
        tape.record(other[:3], 3)
    with pytest.raises(TypeError, match=rf"^Tape.inputs: dtype {texts}"):
        tape.inputs(other.dtype)
    with pytest.raises(TypeError, match=rf"^Tape.inputs: dtype must be {name} or uint8, got float16$"):
        tape.inputs(np.float16)
    wrong = np.float32 if network.dtype == np.float64 else np.float64
    with pytest.raises(TypeError, match=rf"^Tape.record: x must be {name} or uint8, got {np.dtype(wrong).name}$"):
        tape.record(np.zeros(x.shape, wrong))


def test_rows_that_do_not_fit_the_tape_are_refused(network: nn.Network, x: NDArray[Any]) -> None:
    tape, gradient = nn.Tape(network, 8), np.empty_like(network.parameters)
    for rows, first in ((9, 0), (8, 1), (1, 8), (1, -1), (1, 2**63 - 1)):
        text = rf"^Tape.record: x has {rows} rows from row {first}, but the tape holds 8$"
        with pytest.raises(ValueError, match=text):
            tape.record(x[:rows], first)
    for recorded in (0, 3):
        if recorded:
            tape.record(x[:recorded])
        text = rf"^Tape.vjp: dy has {recorded + 1} rows, but the tape has recorded {recorded}$"
        with pytest.raises(ValueError, match=text):
            tape.vjp(np.ones((recorded + 1, network.output_size), network.dtype), gradient)
    for rows in (0, -1, 2**60):
        with pytest.raises(ValueError, match=rf"^Tape: rows must be in \[1, 268435456\], got {rows}$"):
            nn.Tape(network, rows)


def test_a_tape_that_does_not_fit_into_memory_raises(run_python: RunPython) -> None:
    code = """
from pgfast import nn
for network in (nn.mlp(1 << 20, 1, ()), nn.mlp(1, 1 << 20, ())):
    try:
        nn.Tape(network, 1 << 28).inputs("float32")
    except MemoryError:
        print("refused")
"""
    finished = run_python(code)
    assert (finished.returncode, finished.stdout) == (0, "refused\nrefused\n")


def test_the_gradient_must_not_overwrite_the_parameters(network: nn.Network, x: NDArray[Any]) -> None:
    tape, dy = nn.Tape(network, 4), np.ones((4, network.output_size), network.dtype)
    tape.record(x[:4])
    with pytest.raises(ValueError, match=r"^Tape.vjp: gradient must not share memory with parameters$"):
        tape.vjp(dy, network.parameters)
