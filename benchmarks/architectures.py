"""Layer sizes and operation counts of the two convolutional networks."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["NETWORKS", "OUTPUTS", "Architecture", "LayerShape", "layer_shapes", "multiply_adds"]

OUTPUTS = 5  # the logits of Breakout's four actions, and the value


class Architecture(NamedTuple):
    """Convolutions as (filters, kernel, stride), then the units of a dense layer; inputs are 4 x 84 x 84."""

    convolutions: tuple[tuple[int, int, int], ...]
    units: int


NETWORKS = {
    "origin_cnn": Architecture(((16, 8, 4), (32, 4, 2)), 256),
    "nature_cnn": Architecture(((32, 8, 4), (64, 4, 2), (64, 3, 1)), 512),
}


class LayerShape(NamedTuple):
    """The matrix product of one image: ``[positions, inputs] x [inputs, outputs]``."""

    positions: int
    inputs: int
    outputs: int


def layer_shapes(network: str) -> list[LayerShape]:
    """Returns the shape of every layer, including the head."""
    convolutions, units = NETWORKS[network]
    channels, side, shapes = 4, 84, []
    for filters, kernel, stride in convolutions:
        side = (side - kernel) // stride + 1
        shapes.append(LayerShape(side * side, kernel * kernel * channels, filters))
        channels = filters
    shapes.append(LayerShape(1, side * side * channels, units))
    return [*shapes, LayerShape(1, units, OUTPUTS)]


def multiply_adds(network: str) -> tuple[int, int]:
    """Returns the multiply-adds of one image's forward and backward pass; the image itself needs no gradient."""
    each = [positions * inputs * outputs for positions, inputs, outputs in layer_shapes(network)]
    return sum(each), sum(each) + sum(each[1:])
