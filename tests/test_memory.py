"""GRU and LSTM over time: forward pass and gradients, episode starts, held rows, and bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcheck import check_gradient
from pgfast import nn, optim
from pgfast.nn import NetworkSpec
from pgfast.reference import graph as reference
from sequences import AssertClose, Draw, Kind, cell, dense, each_kind, make_run


@pytest.mark.parametrize("sequences", [1, 3, 16])
@pytest.mark.parametrize("steps", [1, 7, 33])
@pytest.mark.parametrize("size", [1, 5, 64, 130])
@each_kind
def test_a_cell_matches_the_reference(
    kind: Kind, size: int, steps: int, sequences: int, draw: Draw, dtype: Any, assert_close: AssertClose
) -> None:
    network = cell(kind, 6, size, dtype)
    run = make_run(draw, steps, sequences, 6, network.state_size)
    parameters, dy = network.parameters.astype(np.float64), draw(steps * sequences, size)
    x, *context = run.of(dtype)
    expected = reference.forward_sequence(network.graph.nodes, parameters, [run.x], run.sequences)
    for ours, theirs in zip(network.forward_sequence(x, *context), expected, strict=True):
        assert_close(ours, theirs)
    gradients = reference.vjp_sequence(network.graph.nodes, parameters, [run.x], dy, run.sequences)
    for ours, theirs in zip(network.vjp_sequence(x, dy.astype(dtype), *context), gradients, strict=True):
        assert_close(ours, theirs)


@each_kind
def test_gradients_through_time_match_finite_differences(kind: Kind, draw: Draw) -> None:
    network = cell(kind, 2, 3)
    run = make_run(draw, 6, 3, 2, network.state_size)
    assert run.starts.any()
    assert run.held.any()
    dy, start = draw(18, 3), network.parameters.copy()
    gradient, dstate = network.vjp_sequence(run.x, dy, *run[1:])

    def weighted(parameters: NDArray[np.float64]) -> float:
        network.parameters[:] = parameters
        return float((dy * network.forward_sequence(*run)[0]).sum())

    check_gradient(weighted, start, gradient)
    network.parameters[:] = start
    check_gradient(
        lambda state: float((dy * network.forward_sequence(run.x, state, run.starts, run.held)[0]).sum()),
        run.state,
        dstate,
    )


@pytest.mark.parametrize("sequences", [1, 3, 16])
@pytest.mark.parametrize("size", [1, 5, 130])
@each_kind
def test_jvp_is_the_transpose_of_vjp(kind: Kind, size: int, sequences: int, draw: Draw) -> None:
    spec = NetworkSpec(trunk=dense(70), memory=kind, memory_size=size)
    network = nn.Network(spec, (5,), (3, 1), dtype=np.float64)
    run = make_run(draw, 11, sequences, 5, network.state_size)
    dy, v = draw(11 * sequences, 4), draw(network.parameters.size)
    gradient, _ = network.vjp_sequence(run.x, dy, *run.sequences)
    tangents = network.jvp_sequence(run.x, v, *run.sequences)
    assert float(gradient @ v) == pytest.approx(float((dy * tangents).sum()), rel=1e-10)
    single = nn.Network(spec, (5,), (3, 1), dtype=np.float32)
    single.parameters[:] = network.parameters
    x, *context = run.of(np.float32)
    np.testing.assert_allclose(
        single.jvp_sequence(x, v.astype(np.float32), *context), tangents, atol=1e-5 * np.abs(tangents).max()
    )


@pytest.mark.parametrize("sequences", [1, 3, 7, 16, 50])
@pytest.mark.parametrize("size", [5, 37, 128])
@each_kind
def test_step_by_step_is_the_whole_rollout_bit_for_bit(
    kind: Kind, size: int, sequences: int, draw: Draw, dtype: Any
) -> None:
    spec = NetworkSpec(trunk=dense(70), memory=kind, memory_size=size)
    network, steps = nn.Network(spec, (5,), (3, 1), dtype=dtype), 9
    x, state, starts, held = make_run(draw, steps, sequences, 5, network.state_size).of(dtype)
    outputs, last = network.forward_sequence(x, state, starts, held)
    tape = nn.Tape(network, steps * sequences)
    tape.begin(state)
    tape.starts[:], tape.held[:] = starts, held
    for t in range(steps):
        rows = slice(t * sequences, (t + 1) * sequences)
        np.testing.assert_array_equal(tape.state_after(rows.start), state)
        one, state = network.forward_sequence(x[rows], state, starts[rows], held[rows])
        np.testing.assert_array_equal(one, outputs[rows])
        tape.record(x[rows], rows.start)
    np.testing.assert_array_equal(state, last)
    np.testing.assert_array_equal(tape.outputs, outputs)
    np.testing.assert_array_equal(tape.state_after(len(x)), last)
    dy, gradient = draw(len(x), 4).astype(dtype), np.empty_like(network.parameters)
    tape.vjp(dy, gradient)
    np.testing.assert_array_equal(gradient, network.vjp_sequence(x, dy, tape.state_after(0), starts, held)[0])


@each_kind
def test_results_do_not_depend_on_the_number_of_threads(
    kind: Kind, draw: Draw, num_threads: Callable[[int], None]
) -> None:
    spec = NetworkSpec(trunk=dense(64), memory=kind, memory_size=96)
    network = nn.Network(spec, (5,), (3, 1))
    x, state, starts, held = make_run(draw, 12, 21, 5, network.state_size).of(np.float32)
    dy, v = draw(len(x), 4).astype(np.float32), draw(network.parameters.size).astype(np.float32)
    results = []
    for threads in (1, 2, 3, 8):
        num_threads(threads)
        forward = network.forward_sequence(x, state, starts, held)
        tangents = network.jvp_sequence(x, v, state, starts, held)
        results.append([*forward, *network.vjp_sequence(x, dy, state, starts, held), tangents])
    for result in results[1:]:
        for ours, first in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(ours, first)


@each_kind
def test_the_state_is_zero_where_an_episode_starts(kind: Kind, draw: Draw) -> None:
    network = cell(kind, 3, 8)
    x, state = draw(10, 3), draw(2, network.state_size)
    starts = np.zeros(10, np.bool_)
    starts[[4, 7]] = True  # sequence 0 at step 2, sequence 1 at step 3
    outputs, _ = network.forward_sequence(x, state, starts)
    for n, first in ((0, 4), (1, 7)):
        rows = slice(first, 10, 2)
        fresh, _ = network.forward_sequence(np.ascontiguousarray(x[rows]), network.initial_state(1))
        np.testing.assert_array_equal(outputs[rows], fresh)
        dy = np.zeros((10, 8))
        dy[rows] = 1.0
        _, dstate = network.vjp_sequence(x, dy, state, starts)
        assert not dstate[n].any()
    before = np.zeros((10, 8))
    before[:4] = 1.0
    assert network.vjp_sequence(x, before, state, starts)[1].all()


@each_kind
def test_a_held_row_has_an_output_and_leaves_the_state(kind: Kind, draw: Draw) -> None:
    network = cell(kind, 3, 8)
    x, state = draw(5, 3), draw(1, network.state_size)
    held = np.array([False, False, True, False, False])
    outputs, last = network.forward_sequence(x, state, None, held)
    plain, _ = network.forward_sequence(x, state)
    without, last_without = network.forward_sequence(np.delete(x, 2, axis=0), state)
    np.testing.assert_array_equal(outputs[2], plain[2])
    np.testing.assert_array_equal(np.delete(outputs, 2, axis=0), without)
    np.testing.assert_array_equal(last, last_without)


@each_kind
def test_a_rollout_goes_on_from_the_state_of_the_one_before(kind: Kind, draw: Draw, dtype: Any) -> None:
    network = cell(kind, 3, 20, dtype)
    x, state, starts, held = make_run(draw, 8, 5, 3, network.state_size).of(dtype)
    outputs, last = network.forward_sequence(x, state, starts, held)
    tape = nn.Tape(network, 20)
    for first in (0, 20):
        rows = slice(first, first + 20)
        tape.begin(state)
        assert not tape.starts.any()
        assert not tape.held.any()
        tape.starts[:], tape.held[:] = starts[rows], held[rows]
        tape.record(x[rows])
        np.testing.assert_array_equal(tape.outputs, outputs[rows])
        state = tape.state_after(20)
    np.testing.assert_array_equal(state, last)


@each_kind
def test_initial_weights(kind: Kind) -> None:
    network = nn.Network(NetworkSpec(trunk=dense(40), memory=kind, memory_size=24), (5,), (2, 1), seed=3)
    blocks = {block.name: network.parameters[block.slice].reshape(block.shape) for block in network.layout}
    prefix, gates = f"memory.{kind}1.", 3 if kind == "gru" else 4
    assert list(blocks)[2:5] == [prefix + "weight", prefix + "recurrent_weight", prefix + "bias"]
    weights = [
        gate
        for name in ("weight", "recurrent_weight")
        for gate in np.split(blocks[prefix + name].astype(np.float64), gates, axis=1)
    ]
    for k, gate in enumerate(weights):
        np.testing.assert_allclose(gate.T @ gate, np.eye(24), atol=1e-5)
        for other in weights[:k]:
            assert gate.shape != other.shape or abs(gate - other).max() > 0.1
    forget = np.zeros(96, np.float32)
    forget[24:48] = kind == "lstm"
    np.testing.assert_array_equal(blocks[prefix + "bias"], forget)


@each_kind
def test_a_bit_is_remembered_for_twenty_steps(kind: Kind) -> None:
    """Adam on the gradient through time learns to name, at the last step, the bit that the first step has shown."""
    network = nn.Network(NetworkSpec(memory=kind, memory_size=16), (2,), 1)
    optimizer, rng, steps, sequences = optim.Adam(0.01), np.random.default_rng(0), 20, 32
    for _ in range(400):
        bits = rng.integers(0, 2, sequences)
        x = np.zeros((steps, sequences, 2), np.float32)
        x[0, :, 0] = 2.0 * bits - 1.0
        x[1:, :, 1] = rng.standard_normal((steps - 1, sequences))
        flat, state = x.reshape(-1, 2), network.initial_state(sequences)
        outputs, _ = network.forward_sequence(flat, state)
        logits = outputs[-sequences:, 0]
        accuracy = np.mean((logits > 0.0) == bits)
        dy = np.zeros_like(outputs)
        dy[-sequences:, 0] = (1.0 / (1.0 + np.exp(-logits)) - bits) / sequences
        gradient, _ = network.vjp_sequence(flat, dy, state)
        optimizer.step(network.parameters, gradient)
    assert accuracy == 1.0
    assert np.abs(logits).min() > 1.0
