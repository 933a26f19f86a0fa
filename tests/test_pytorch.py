"""Networks and their gradients are those of PyTorch, whose autograd shares no code with the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from leaves import draw_leaves, read_leaves
from pgfast import nn
from pgfast.nn import Layer, Leaf, NetworkSpec
from sequences import Draw, Kind, Run, cell, dense, each_kind, make_run

torch = pytest.importorskip("torch")
functional = torch.nn.functional

Blocks = Callable[[], Any]  # returns the next block of the parameters
TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}  # of the largest entry


def blocks_of(network: nn.Network) -> tuple[Any, Blocks]:
    """Returns the parameters as a float64 tensor that records its gradient, and a function that takes it apart."""
    flat = torch.from_numpy(network.parameters.astype(np.float64)).requires_grad_()
    layout = iter(network.layout)

    def block() -> Any:
        _, shape, place = next(layout)
        return flat[place].reshape(shape)

    return flat, block


def linear(block: Blocks, x: Any) -> Any:
    return functional.linear(x.flatten(1), block().T, block())


def layer_norm(block: Blocks, x: Any) -> Any:
    return functional.layer_norm(x, x.shape[1:], block(), block())


def conv2d(block: Blocks, image: Any, stride: int) -> Any:
    """Returns ``[B, height, width, filters]``, the order of pgfast's images between layers."""
    return functional.conv2d(image, block().permute(3, 2, 0, 1), block(), stride).permute(0, 2, 3, 1)


def memory(block: Blocks, kind: Kind, x: Any, run: Run, state: Any) -> Any:
    """Runs ``GRUCell`` or ``LSTMCell`` over the steps ``[T N, inputs]``, with episode starts and held rows."""
    w, u, bias = block(), block(), block()
    size, gates = len(u), w.shape[1]
    cell_type = {"gru": torch.nn.GRUCell, "lstm": torch.nn.LSTMCell}[kind]
    recurrent_bias = torch.cat([torch.zeros(2 * size, dtype=bias.dtype), bias[gates:]]) if kind == "gru" else 0 * bias
    weights = {"weight_ih": w.T, "weight_hh": u.T, "bias_ih": bias[:gates], "bias_hh": recurrent_bias}
    module = cell_type(x.shape[1], size, dtype=torch.float64)
    outputs = []
    for step, start, held in zip(
        x.split(len(state)),
        torch.from_numpy(run.starts[:, np.newaxis]).split(len(state)),
        torch.from_numpy(run.held[:, np.newaxis]).split(len(state)),
        strict=True,
    ):
        before = torch.where(start, 0.0, state)
        parts = before if kind == "gru" else before.chunk(2, dim=1)
        after = torch.func.functional_call(module, weights, (step, parts))
        after = after if kind == "gru" else torch.cat(after, dim=1)
        outputs.append(after[:, :size])
        state = torch.where(held, before, after)
    return torch.cat(outputs)


def assert_within(ours: NDArray[Any], tensor: Any, dtype: Any) -> None:
    theirs = tensor.detach().numpy()
    assert ours.dtype == dtype
    np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=TOLERANCE[dtype] * max(1.0, np.abs(theirs).max()))


@each_kind
def test_a_cell_is_that_of_pytorch(kind: Kind, draw: Draw, dtype: Any) -> None:
    network = cell(kind, 7, 33, dtype)
    run, dy = make_run(draw, 12, 5, 7, network.state_size), draw(60, 33)
    flat, block = blocks_of(network)
    first = torch.from_numpy(run.state).requires_grad_()
    outputs = memory(block, kind, torch.from_numpy(run.x), run, first)
    outputs.backward(torch.from_numpy(dy))
    x, *context = run.of(dtype)
    gradient, dstate = network.vjp_sequence(x, dy.astype(dtype), *context)
    assert_within(network.forward_sequence(x, *context)[0], outputs, dtype)
    assert_within(gradient, flat.grad, dtype)
    assert_within(dstate, first.grad, dtype)


@pytest.mark.parametrize("activation", ["identity", "tanh", "relu"])
def test_layer_norm_is_that_of_pytorch(activation: Any, draw: Draw, dtype: Any) -> None:
    norm = Layer("layer_norm", activation=activation)
    network = nn.Network.of_layers((9,), [norm, Layer("dense", 21), norm, Layer("dense", 4)], dtype=dtype)
    network.parameters[:] += draw(network.parameters.size).astype(dtype) / 8
    x, dy = 3.0 * draw(50, 9) + 1.0, draw(50, 4)
    activate = {"identity": lambda y: y, "tanh": torch.tanh, "relu": torch.relu}[activation]
    flat, block = blocks_of(network)
    hidden = linear(block, activate(layer_norm(block, torch.from_numpy(x))))
    outputs = linear(block, activate(layer_norm(block, hidden)))
    outputs.backward(torch.from_numpy(dy))
    assert_within(network.forward(x.astype(dtype)), outputs, dtype)
    assert_within(network.vjp(x.astype(dtype), dy.astype(dtype)), flat.grad, dtype)


@each_kind
def test_a_graph_with_memory_is_that_of_pytorch(kind: Kind, draw: Draw, dtype: Any) -> None:
    leaves = (
        Leaf("image", (9, 8, 2), "bytes", channels_last=True),
        Leaf("codes", (3,), "codes", choices=(4, 2, 3)),
        Leaf("vector", (5,)),
    )
    spec = NetworkSpec(
        {"image": (Layer("conv2d", 3, 3, 2, "relu"), *dense(6)), "codes": dense(4)},
        trunk=(Layer("dense", 10), Layer("layer_norm", activation="tanh")),
        policy=dense(7),
        value=dense(5),
        memory=kind,
        memory_size=8,
    )
    network = nn.Network(spec, leaves, (3, 1), dtype=dtype)
    network.parameters[:] += draw(network.parameters.size).astype(dtype) / 8
    run, dy = make_run(draw, 6, 4, 1, network.state_size), draw(24, 4)
    x = draw_leaves(leaves, 24, dtype)

    image, codes, vector = map(torch.from_numpy, read_leaves(leaves, x))
    flat, block = blocks_of(network)
    of_image = torch.tanh(linear(block, torch.relu(conv2d(block, image, 2))))
    of_codes = torch.tanh(linear(block, codes))
    trunk = torch.tanh(layer_norm(block, linear(block, torch.cat([of_image, of_codes, vector], dim=1))))
    body = memory(block, kind, trunk, run, torch.from_numpy(run.state))
    policy, value = (linear(block, torch.tanh(linear(block, body))) for _ in ("policy", "value"))
    outputs = torch.cat([policy, value], dim=1)
    outputs.backward(torch.from_numpy(dy))

    _, *context = run.of(dtype)
    assert_within(network.forward_sequence(x, *context)[0], outputs, dtype)
    assert_within(network.vjp_sequence(x, dy.astype(dtype), *context)[0], flat.grad, dtype)
