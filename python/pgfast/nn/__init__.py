"""Small networks whose parameters are one flat vector."""

from __future__ import annotations

from pgfast.nn.architectures import mlp, nature_cnn, origin_cnn
from pgfast.nn.network import LayerGradients, Network, ParameterBlock, Tape
from pgfast.nn.spec import Activation, Layer, Leaf, Memory, NetworkSpec

__all__ = [
    "Activation",
    "Layer",
    "LayerGradients",
    "Leaf",
    "Memory",
    "Network",
    "NetworkSpec",
    "ParameterBlock",
    "Tape",
    "mlp",
    "nature_cnn",
    "origin_cnn",
]


def __dir__() -> list[str]:
    return __all__
