"""nn.Network: forward, vjp, jvp and per_sample_vjp of dense and convolutional layers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcheck import check_gradient, directional_derivative
from pgfast import nn
from pgfast.nn import Layer
from pgfast.reference import network as reference

Draw = Callable[..., NDArray[np.float64]]
AssertClose = Callable[[NDArray[Any], NDArray[np.float64]], None]


class Architecture(NamedTuple):
    input_shape: tuple[int, ...]
    layers: list[Layer]


def cnn(*convolutions: tuple[int, int, int], units: int) -> list[Layer]:
    layers = [Layer("conv2d", filters, kernel, stride, "relu") for filters, kernel, stride in convolutions]
    return [*layers, Layer("dense", units, activation="relu"), Layer("dense", 7)]


SMALL = {
    "linear": Architecture((5,), [Layer("dense", 3)]),
    "one-unit": Architecture((1,), [Layer("dense", 1, activation="tanh")]),
    "mlp-tanh": Architecture(
        (7,), [Layer("dense", 16, activation="tanh"), Layer("dense", 9, activation="tanh"), Layer("dense", 4)]
    ),
    "mlp-relu": Architecture((6,), [Layer("dense", 33, activation="relu"), Layer("dense", 5)]),
    "features-of-two-axes": Architecture((2, 3), [Layer("dense", 8, activation="tanh"), Layer("dense", 2)]),
    "conv-square": Architecture((2, 9, 9), [Layer("conv2d", 5, 3, 2, "relu"), Layer("dense", 4)]),
    "conv-wide": Architecture(
        (3, 8, 15),
        [Layer("conv2d", 7, 4, 3, "tanh"), Layer("conv2d", 9, 2, 1, "relu"), Layer("dense", 6), Layer("dense", 3)],
    ),
    "conv-tall": Architecture((1, 13, 6), [Layer("conv2d", 8, 5, 3, "relu"), Layer("dense", 3)]),
    "conv-gaps": Architecture((1, 10, 11), [Layer("conv2d", 3, 2, 3, "tanh"), Layer("dense", 2)]),
    "conv-last": Architecture((2, 6, 7), [Layer("conv2d", 4, 3, 1, "relu"), Layer("conv2d", 8, 2, 2, "tanh")]),
}
# Weights of 2^17 entries and more are split by columns; these sizes leave partial blocks on every side.
SPLIT = {
    "split-first": Architecture((1100,), [Layer("dense", 130, activation="tanh"), Layer("dense", 3)]),
    "split-middle": Architecture(
        (20,), [Layer("dense", 301, activation="relu"), Layer("dense", 450, activation="relu"), Layer("dense", 3)]
    ),
    "split-only": Architecture((2000,), [Layer("dense", 67)]),
    "split-twice": Architecture((400,), [Layer("dense", 400, activation="tanh"), Layer("dense", 400)]),
}
ATARI = {
    "origin_cnn": Architecture((4, 84, 84), cnn((16, 8, 4), (32, 4, 2), units=256)),
    "nature_cnn": Architecture((4, 84, 84), cnn((32, 8, 4), (64, 4, 2), (64, 3, 1), units=512)),
}
ALL = SMALL | SPLIT | ATARI
# Around the tiles of 6 rows, the blocks of 64 and 96 rows, and the chunks that threads take.
BATCHES = [
    *((name, rows) for name in SMALL for rows in (*range(1, 9), 63, 64, 65, 300)),
    *((name, rows) for name in SPLIT for rows in (1, 2, 7, 95, 97, 200)),
    *((name, rows) for name in ATARI for rows in (1, 5)),
]


@functools.cache
def build(name: str, dtype: Any) -> nn.Network:
    """Returns one network for all tests, since drawing large initial weights is slow."""
    return nn.Network.of_layers(ALL[name].input_shape, ALL[name].layers, dtype=dtype)


@functools.cache
def initial_parameters(name: str) -> NDArray[np.float32]:
    return build(name, np.float32).parameters.astype(np.float32)


class Case(NamedTuple):
    """A network and its arguments, in float64 numbers that float32 represents exactly."""

    name: str
    layers: list[Layer]
    parameters: NDArray[np.float64]
    x: NDArray[np.float64]
    dy: NDArray[np.float64]
    v: NDArray[np.float64]

    def native(self, dtype: Any) -> nn.Network:
        network = build(self.name, dtype)
        network.parameters[:] = self.parameters
        return network


def make_case(name: str, rows: int, draw: Draw) -> Case:
    parameters = initial_parameters(name).astype(np.float64)
    parameters += np.where(parameters == 0.0, 0.125 * draw(parameters.size), 0.0)  # nonzero biases
    dy = draw(rows, build(name, np.float32).output_size)
    return Case(name, ALL[name].layers, parameters, draw(rows, *ALL[name].input_shape), dy, draw(parameters.size))


@pytest.mark.parametrize(("name", "rows"), BATCHES)
def test_every_product_matches_the_reference(
    name: str, rows: int, draw: Draw, dtype: Any, assert_close: AssertClose
) -> None:
    case = make_case(name, rows, draw)
    layers, parameters, network = case.layers, case.parameters, case.native(dtype)
    x, dy, v = case.x.astype(dtype), case.dy.astype(dtype), case.v.astype(dtype)
    assert_close(network.forward(x), reference.forward(layers, parameters, case.x))
    assert_close(network.vjp(x, dy), reference.vjp(layers, parameters, case.x, case.dy))
    assert_close(network.jvp(x, v), reference.jvp(layers, parameters, case.x, case.v))
    few = min(rows, 9)
    assert_close(
        network.per_sample_vjp(x[:few], dy[:few]),
        reference.per_sample_vjp(layers, parameters, case.x[:few], case.dy[:few]),
    )


@pytest.mark.parametrize("name", ["linear", "mlp-relu", "conv-wide", "split-first", "split-middle", "origin_cnn"])
def test_bytes_are_read_as_fractions_of_255(
    name: str, draw: Draw, rng: np.random.Generator, dtype: Any, assert_close: AssertClose
) -> None:
    case = make_case(name, 7, draw)
    layers, parameters, network = case.layers, case.parameters, case.native(dtype)
    x = rng.integers(0, 256, case.x.shape, np.uint8)
    dy, v = case.dy.astype(dtype), case.v.astype(dtype)
    assert_close(network.forward(x), reference.forward(layers, parameters, x))
    assert_close(network.vjp(x, dy), reference.vjp(layers, parameters, x, case.dy))
    assert_close(network.jvp(x, v), reference.jvp(layers, parameters, x, case.v))
    assert_close(network.per_sample_vjp(x, dy), reference.per_sample_vjp(layers, parameters, x, case.dy))


@pytest.mark.parametrize("name", SMALL)
def test_vjp_and_jvp_are_derivatives(name: str, draw: Draw) -> None:
    case = make_case(name, 3, draw)
    network = case.native(np.float64)

    def outputs(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        network.parameters[:] = parameters
        return network.forward(case.x).astype(np.float64)

    jvp = network.jvp(case.x, case.v)
    gradient = network.vjp(case.x, case.dy).astype(np.float64)
    check_gradient(lambda parameters: float(np.sum(outputs(parameters) * case.dy)), case.parameters, gradient)
    numerical = directional_derivative(outputs, case.parameters, case.v)
    np.testing.assert_allclose(jvp, numerical, atol=1e-6 * max(1.0, np.abs(numerical).max()))


@pytest.mark.parametrize("name", ALL)
def test_vjp_is_the_transpose_of_jvp(name: str, draw: Draw) -> None:
    case = make_case(name, 6, draw)
    network = case.native(np.float64)
    left = case.v @ network.vjp(case.x, case.dy)
    right = np.sum(network.jvp(case.x, case.v) * case.dy)
    scale = np.linalg.norm(case.v) * np.linalg.norm(network.vjp(case.x, case.dy))
    assert abs(left - right) < 1e-13 * scale


@pytest.mark.parametrize("name", ALL)
def test_per_sample_vjp_sums_to_vjp(name: str, draw: Draw, dtype: Any, assert_close: AssertClose) -> None:
    case = make_case(name, 6, draw)
    network, x, dy = case.native(dtype), case.x.astype(dtype), case.dy.astype(dtype)
    assert_close(network.vjp(x, dy), network.per_sample_vjp(x, dy).astype(np.float64).sum(axis=0))


@pytest.mark.parametrize("name", ALL)
def test_a_row_does_not_depend_on_its_batch(name: str, draw: Draw, dtype: Any) -> None:
    network = make_case(name, 1, draw).native(dtype)
    for rows in (2, 7) if name in ATARI else (2, 3, 4, 5, 6, 7, 13, 65, 130):
        _, _, _, *drawn, _ = make_case(name, rows, draw)
        x, dy = (array.astype(dtype) for array in drawn)
        v = network.parameters[::-1].copy()
        alone = [slice(i, i + 1) for i in range(rows)]
        np.testing.assert_array_equal(network.forward(x), np.concatenate([network.forward(x[i]) for i in alone]))
        np.testing.assert_array_equal(network.jvp(x, v), np.concatenate([network.jvp(x[i], v) for i in alone]))
        few = alone[:3]
        together = network.per_sample_vjp(x[:3], dy[:3])
        np.testing.assert_array_equal(together, np.concatenate([network.per_sample_vjp(x[i], dy[i]) for i in few]))


def test_a_linear_network_has_closed_forms(draw: Draw) -> None:
    network = nn.mlp(4, 3, (), dtype=np.float64)
    weight, bias = draw(4, 3), draw(3)
    network.parameters[:] = np.concatenate([weight.ravel(), bias])
    x, dy = draw(6, 4), draw(6, 3)
    np.testing.assert_allclose(network.forward(x), x @ weight + bias, rtol=1e-12, atol=1e-13)
    gradient = np.concatenate([(x.T @ dy).ravel(), dy.sum(axis=0)])
    np.testing.assert_allclose(network.vjp(x, dy), gradient, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(network.jvp(x, network.parameters), network.forward(x), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_filter_with_a_single_one_selects_pixels(stride: int, draw: Draw, dtype: Any) -> None:
    channels, height, width, kernel = 2, 8, 11, 3
    x = draw(3, channels, height, width).astype(dtype)
    network = nn.Network.of_layers(x.shape[1:], [Layer("conv2d", channels * kernel**2, kernel, stride)], dtype=dtype)
    weight = np.zeros((kernel, kernel, channels, channels * kernel**2))
    taps = list(np.ndindex(kernel, kernel, channels))
    for filter_index, tap in enumerate(taps):
        weight[*tap, filter_index] = 1.0
    network.parameters[:] = np.concatenate([weight.ravel(), np.zeros(len(taps))])
    rows, columns = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    got = network.forward(x).reshape(3, rows, columns, len(taps))
    for filter_index, (i, j, channel) in enumerate(taps):
        picked = x[:, channel, i : i + stride * rows : stride, j : j + stride * columns : stride]
        np.testing.assert_array_equal(got[..., filter_index], picked)


def test_relu_and_tanh_of_a_single_unit_match_numpy(dtype: Any) -> None:
    x = np.linspace(-30.0, 30.0, 4001).astype(dtype).reshape(-1, 1)
    tanh = nn.Network.of_layers([1], [Layer("dense", 1, activation="tanh")], dtype=dtype)
    relu = nn.Network.of_layers([1], [Layer("dense", 1, activation="relu")], dtype=dtype)
    for network, expected in ((tanh, np.tanh(x)), (relu, np.where(x > 0.0, x, 0.0))):
        network.parameters[:] = [1.0, 0.0]
        np.testing.assert_allclose(network.forward(x), expected, rtol=2e-6 if dtype == np.float32 else 1e-14)


@pytest.mark.parametrize("name", ALL)
def test_the_layout_covers_the_parameters_without_gaps(name: str) -> None:
    network = build(name, np.float32)
    end = 0
    for block in network.layout:
        assert block.slice == slice(end, end + int(np.prod(block.shape)))
        end = block.slice.stop
    assert end == network.parameters.size
    assert [block.name.partition(".")[2] for block in network.layout] == ["weight", "bias"] * len(ALL[name].layers)


def test_the_named_networks_have_the_shapes_of_the_papers() -> None:
    def shapes(network: nn.Network) -> dict[str, tuple[int, ...]]:
        return {block.name: block.shape for block in network.layout if block.name.endswith("weight")}

    assert shapes(nn.origin_cnn((4, 84, 84), 5)) == {
        "conv0.weight": (8, 8, 4, 16),
        "conv1.weight": (4, 4, 16, 32),
        "dense2.weight": (9 * 9 * 32, 256),
        "dense3.weight": (256, 5),
    }
    assert shapes(nn.nature_cnn((4, 84, 84), 19)) == {
        "conv0.weight": (8, 8, 4, 32),
        "conv1.weight": (4, 4, 32, 64),
        "conv2.weight": (3, 3, 64, 64),
        "dense3.weight": (7 * 7 * 64, 512),
        "dense4.weight": (512, 19),
    }
    assert shapes(nn.mlp(3, 2)) == {"dense0.weight": (3, 64), "dense1.weight": (64, 64), "dense2.weight": (64, 2)}
    assert nn.mlp(3, 2).dtype == np.float32


def test_nan_stays_in_its_row() -> None:
    for network in (nn.mlp(3, 2, (9,), "tanh"), nn.mlp(3, 2, (9,), "relu")):
        x = np.ones((3, 3), np.float32)
        x[1, 2] = np.nan
        outputs = network.forward(x)
        assert np.isfinite(outputs[[0, 2]]).all()
        assert np.isnan(outputs[1]).all()


def test_outputs_and_gradients_do_not_depend_on_alignment(rng: np.random.Generator) -> None:
    network = nn.mlp(6, 3, (40, 24))
    values, dy = (rng.standard_normal(shape, dtype=np.float32) for shape in ((90, 6), (90, 3)))
    results = set()
    for offset in range(8):
        x = np.zeros(values.size + 8, np.float32)[offset : offset + values.size].reshape(values.shape)
        x[:] = values
        results.add((network.forward(x).tobytes(), network.vjp(x, dy).tobytes()))
    assert len(results) == 1
