"""Networks of several parts: encoders of leaves, a trunk, heads, separate value networks, and their layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import pgfast
from gradcheck import check_gradient, directional_derivative
from leaves import draw_leaves, read_leaves
from pgfast import nn
from pgfast.nn import Layer, Leaf, NetworkSpec
from pgfast.reference import graph as reference

Draw = Callable[..., NDArray[np.float64]]
AssertClose = Callable[[NDArray[Any], NDArray[np.float64]], None]

IMAGE = Leaf("image", (2, 9, 8), "bytes")
LAST = Leaf("camera", (9, 8, 2), "bytes", channels_last=True)
VECTOR = Leaf("vector", (5,))
CODES = Leaf("codes", (3,), "codes", choices=(4, 2, 3))
GRID = Leaf("grid", (2, 3), "bytes", low=2.0, high=12.0)
CONV = (Layer("conv2d", 3, 3, 2, "relu"), Layer("dense", 6, activation="tanh"))


def dense(*sizes: int, activation: Any = "tanh") -> tuple[Layer, ...]:
    return tuple(Layer("dense", size, activation=activation) for size in sizes)


class Case(NamedTuple):
    leaves: tuple[Leaf, ...]
    spec: NetworkSpec
    outputs: tuple[int, int] = (3, 1)


NORMED = (Layer("dense", 7), Layer("layer_norm", activation="tanh"), Layer("dense", 6), Layer("layer_norm"))
CASES = {
    "one-leaf": Case((VECTOR,), NetworkSpec(trunk=dense(6))),
    "one-leaf-two-heads": Case((VECTOR,), NetworkSpec(trunk=dense(6), policy=dense(4), value=dense(5, 3))),
    "heads-on-the-leaf": Case((VECTOR,), NetworkSpec(value=dense(5))),
    "layer-norm": Case((VECTOR,), NetworkSpec(trunk=NORMED)),
    "norm-of-the-input": Case((VECTOR,), NetworkSpec(trunk=(Layer("layer_norm"), *dense(4)))),
    "norm-of-an-image": Case(
        (IMAGE,), NetworkSpec(trunk=(Layer("conv2d", 3, 3, 2), Layer("layer_norm", activation="relu"), *CONV[1:]))
    ),
    "codes": Case((CODES,), NetworkSpec(trunk=dense(6, 5))),
    "codes-linear": Case((CODES,), NetworkSpec(), (4, 0)),
    "image-and-vector": Case((IMAGE, VECTOR), NetworkSpec({"image": CONV}, trunk=dense(7))),
    "all": Case(
        (VECTOR, IMAGE, CODES, LAST, GRID),
        NetworkSpec({"image": CONV, "camera": CONV, "codes": dense(4)}, trunk=NORMED, policy=dense(5)),
    ),
    "no-trunk": Case((VECTOR, CODES), NetworkSpec(policy=dense(3))),
    "plain-concatenation": Case((VECTOR, GRID), NetworkSpec(trunk=dense(4))),
    "separate": Case((VECTOR,), NetworkSpec(trunk=dense(6), value=NetworkSpec(trunk=dense(8, 4, activation="relu")))),
    "separate-encoders": Case(
        (IMAGE, VECTOR),
        NetworkSpec(
            {"image": CONV}, dense(7), dense(4), NetworkSpec({"image": CONV, "vector": dense(3)}, policy=dense(2))
        ),
    ),
    "split-by-columns": Case(
        (Leaf("a", (400,)), Leaf("b", (90,))), NetworkSpec({"a": dense(500)}, dense(300), value=dense(450, 300))
    ),
}


def rows_of(case: Case, rows: int, dtype: Any) -> tuple[NDArray[Any], list[NDArray[np.float64]]]:
    """Returns inputs for the network, and the same as the reference reads them."""
    x = draw_leaves(case.leaves, rows, dtype)
    return x, read_leaves(case.leaves, x)


def build(case: Case, dtype: Any = np.float64) -> nn.Network:
    """Returns a network whose parameters are all far from their initial values, and exact in float32."""
    network = nn.Network(case.spec, case.leaves, case.outputs, dtype=dtype)
    start = nn.Network(case.spec, case.leaves, case.outputs).parameters
    change = np.random.default_rng(1).standard_normal(start.size, np.float32) / np.float32(8.0)
    network.parameters[:] = start + change
    return network


each_case = pytest.mark.parametrize("name", CASES)


@pytest.mark.parametrize("rows", [1, 3, 70])
@each_case
def test_every_product_matches_the_reference(
    name: str, rows: int, draw: Draw, dtype: Any, assert_close: AssertClose
) -> None:
    case = CASES[name]
    network, (x, leaves) = build(case, dtype), rows_of(case, rows, dtype)
    nodes, parameters = network.graph.nodes, build(case, np.float32).parameters.astype(np.float64)
    dy, v = draw(rows, sum(case.outputs)), draw(parameters.size)
    assert_close(network.forward(x), reference.forward(nodes, parameters, leaves))
    assert_close(network.vjp(x, dy.astype(dtype)), reference.vjp(nodes, parameters, leaves, dy))
    assert_close(network.jvp(x, v.astype(dtype)), reference.jvp(nodes, parameters, leaves, v))
    few = min(rows, 4)
    one_by_one = [
        reference.vjp(nodes, parameters, [leaf[b : b + 1] for leaf in leaves], dy[b : b + 1]) for b in range(few)
    ]
    assert_close(network.per_sample_vjp(x[:few], dy[:few].astype(dtype)), np.stack(one_by_one))


@each_case
def test_gradients_match_finite_differences(name: str, draw: Draw) -> None:
    case = CASES[name]
    network, (x, _) = build(case), rows_of(case, 3, np.float64)
    dy, v = draw(3, sum(case.outputs)), draw(network.parameters.size)
    start = network.parameters.copy()

    def weighted(parameters: NDArray[np.float64]) -> float:
        network.parameters[:] = parameters
        return float((dy * network.forward(x)).sum())

    gradient = network.vjp(x, dy)
    assert gradient @ v == pytest.approx(float((dy * network.jvp(x, v)).sum()), rel=1e-9)
    if start.size < 5000:
        check_gradient(weighted, start, gradient)
    else:
        assert directional_derivative(weighted, start, v) == pytest.approx(float(gradient @ v), rel=1e-6)


def weight_gradient(layer: nn.LayerGradients, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Returns the gradient of a layer's weight from its inputs and the gradient of its outputs."""
    x, delta = layer.inputs.astype(np.float64), layer.outputs
    if len(shape) == 1:  # layer normalization
        centered = x - x.mean(axis=1, keepdims=True)
        return (delta * centered / np.sqrt(np.square(centered).mean(axis=1, keepdims=True) + 1e-5)).sum(axis=0)
    if len(shape) == 4:  # a convolution of 3 x 3 with stride 2, on one of the images
        image = (
            x.reshape(-1, *LAST.shape) if "camera" in layer.name else x.reshape(-1, *IMAGE.shape).transpose(0, 2, 3, 1)
        )
        patches = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(1, 2))[:, ::2, ::2]
        return np.einsum("bhwcyx,bhwf->yxcf", patches, delta.reshape(*patches.shape[:3], -1))
    if shape[0] == sum(CODES.choices) and x.shape[1] == len(CODES.choices):
        gradient = np.zeros(shape)
        for codes, first in zip(x.T.astype(int), (0, 4, 6), strict=True):
            np.add.at(gradient, first + codes, delta)
        return gradient
    return x.T @ delta


@pytest.mark.parametrize("threads", [1, 3])
@each_case
def test_the_gradients_at_each_layer_make_those_of_its_parameters(name: str, threads: int, draw: Draw) -> None:
    case, rows = CASES[name], 90
    network, (x, _) = build(case), rows_of(case, rows, np.float64)
    tape, dy = nn.Tape(network, rows), draw(rows, sum(case.outputs))
    before = pgfast.native_info()["num_threads"]
    pgfast.set_num_threads(threads)
    tape.record(x)
    layers = tape.layer_gradients(dy)
    pgfast.set_num_threads(before)
    gradient = np.empty_like(network.parameters)
    tape.vjp(dy, gradient)
    of_block = {block.name: gradient[block.slice].reshape(block.shape) for block in network.layout}
    assert {f"{layer.name}.bias" for layer in layers} == {name for name in of_block if name.endswith(".bias")}
    for layer in layers:
        weight, bias = (of_block[f"{layer.name}.{part}"] for part in ("weight", "bias"))
        np.testing.assert_allclose(layer.outputs.reshape(-1, bias.size).sum(axis=0), bias, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(weight_gradient(layer, weight.shape), weight, rtol=1e-9, atol=1e-11)


@each_case
def test_results_do_not_depend_on_the_number_of_threads(name: str, draw: Draw) -> None:
    case = CASES[name]
    network, (x, _) = build(case, np.float32), rows_of(case, 300, np.float32)
    dy, v = draw(300, sum(case.outputs)).astype(np.float32), draw(network.parameters.size).astype(np.float32)
    before = pgfast.native_info()["num_threads"]
    results = []
    for threads in (1, 2, 3, 8):
        pgfast.set_num_threads(threads)
        results.append([network.forward(x), network.vjp(x, dy), network.jvp(x, v)])
    pgfast.set_num_threads(before)
    for result in results[1:]:
        for ours, first in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(ours, first)


@pytest.mark.parametrize("size", [3, 5, 8, 37])
def test_layer_norm_does_not_depend_on_the_place_of_a_row(size: int, draw: Draw, dtype: Any) -> None:
    network = nn.Network(NetworkSpec(trunk=(*dense(size), Layer("layer_norm"), *dense(size))), (4,), 3, dtype=dtype)
    x, dy = (np.repeat(draw(1, width), 50, axis=0).astype(dtype) for width in (4, 3))
    v = draw(network.parameters.size).astype(dtype)
    for result in (network.forward(x), network.jvp(x, v), network.per_sample_vjp(x, dy)):
        np.testing.assert_array_equal(result, np.repeat(result[:1], 50, axis=0))


def test_one_chain_has_the_blocks_and_weights_of_a_plain_network() -> None:
    described = nn.Network(NetworkSpec(trunk=dense(6, 5)), (7,), (3, 1), seed=4)
    plain = nn.mlp(7, 4, (6, 5), seed=4)
    assert described.layout == plain.layout
    np.testing.assert_array_equal(described.parameters, plain.parameters)
    assert [block.name for block in plain.layout][:2] == ["dense0.weight", "dense0.bias"]


def test_the_blocks_are_named_after_their_part() -> None:
    names = [block.name for block in build(CASES["separate-encoders"]).layout]
    assert names[::2] == [
        "encoder.image.conv0.weight",
        "encoder.image.dense1.weight",
        "policy.dense2.weight",
        "policy.dense3.weight",
        "policy.dense4.weight",
        "value.encoder.image.conv5.weight",
        "value.encoder.image.dense6.weight",
        "value.encoder.vector.dense7.weight",
        "value.head.dense8.weight",
        "value.head.dense9.weight",
    ]


def test_a_separate_value_network_shares_nothing() -> None:
    network, (x, _) = build(CASES["separate"]), rows_of(CASES["separate"], 4, np.float64)
    dy = np.zeros((4, 4))
    dy[:, 3] = 1.0
    gradient = network.vjp(x, dy)
    for block in network.layout:
        assert gradient[block.slice].any() == block.name.startswith("value."), block.name


def test_channels_last_is_the_same_image() -> None:
    first = nn.Network(NetworkSpec(trunk=CONV), [Leaf("i", (2, 9, 8), "bytes")], 3, seed=2)
    last = nn.Network(NetworkSpec(trunk=CONV), [Leaf("i", (9, 8, 2), "bytes", channels_last=True)], 3, seed=2)
    x = np.random.default_rng(0).integers(0, 256, (5, 2, 9, 8), np.uint8)
    np.testing.assert_array_equal(first.forward(x), last.forward(np.ascontiguousarray(x.transpose(0, 2, 3, 1))))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: NetworkSpec({"x": CONV}), r"no leaf for the encoder \['x'\]; the leaves are \"vector\""),
        (lambda: NetworkSpec(value=NetworkSpec(value=dense(3))), "a separate value network has no further value"),
        (lambda: NetworkSpec(trunk=(Layer("conv2d", 3, 3),)), "a convolution needs inputs of shape"),
        (lambda: NetworkSpec(trunk=dense(0)), "outputs must be in"),
    ],
)
def test_descriptions_that_are_refused(make: Callable[[], NetworkSpec], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        nn.Network(make(), [VECTOR], (2, 1))


def test_codes_need_a_dense_layer() -> None:
    with pytest.raises(ValueError, match="one-hot inputs need a dense layer"):
        nn.Network(NetworkSpec(trunk=(Layer("layer_norm"),)), [CODES], 2)


@pytest.mark.parametrize("code", [4.0, -1.0, 0.5, np.nan, np.inf])
def test_codes_out_of_range_are_refused(code: float) -> None:
    case = CASES["all"]
    network, (x, _) = build(case), rows_of(case, 3, np.float64)
    x["codes"][1, 0] = code
    with pytest.raises(ValueError, match=r"x must hold integers in \[0, 4\) in its one-hot entry 0, got .* in row 1"):
        network.forward(x)


def test_rows_of_another_dtype_are_refused() -> None:
    case = CASES["image-and-vector"]
    network, (x, _) = build(case, np.float32), rows_of(case, 3, np.float32)
    wrong = [
        x.astype(np.dtype([("image", "u1", (2, 9, 8)), ("vector", "f8", 5)])),
        x.astype(np.dtype([("vector", "f4", 5), ("image", "u1", (2, 9, 8))])),
        np.zeros((3, 149), np.uint8),
        x.reshape(3, 1),
    ]
    for rows in wrong:
        with pytest.raises((ValueError, TypeError), match=r"x must be rows \(B,\) of the network's input_dtype"):
            network.forward(rows)
