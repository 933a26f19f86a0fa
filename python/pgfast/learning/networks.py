"""The network that the settings describe, for the leaves of an observation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec.structs import replace

from pgfast.envs.observations import ObservationInfo, ObservationLeaf
from pgfast.learning.settings import EnvironmentSettings, MemorySettings, NetworkSettings, Settings
from pgfast.nn import Layer, Leaf, NetworkSpec
from pgfast.nn.architectures import convolutions, mlp_spec

__all__ = ["describe_leaves", "network_leaves", "network_spec", "normalized_leaves", "policy_spec"]

_NATURE_IMAGE = 64  # pixels of an axis from which on an image gets the network of Mnih et al. (2015)
_MOST_CHOICES = 2**16  # of an entry that is taken one-hot
_MOST_ONE_HOT = 2**18  # choices of a leaf that is taken one-hot: 16 M weights of 64 units


def normalized_leaves(info: ObservationInfo, settings: EnvironmentSettings) -> list[str]:
    """The names of the leaves that are normalized: those of numbers, or those of bytes if there are no numbers."""
    if not settings.normalize_observations:
        return []
    numbers = [leaf.name for leaf in info.leaves if leaf.is_number]
    return numbers or [leaf.name for leaf in info.leaves if leaf.is_bytes]


def network_leaves(info: ObservationInfo, settings: Settings) -> tuple[Leaf, ...]:
    """How the network reads the leaves of an observation.

    Raises:
        ValueError: for an image whose channel axis cannot be told, one-hot entries with too many choices, or a
            convolutional network without an image.
    """
    normalized = set(normalized_leaves(info, settings))
    leaves = tuple(_network_leaf(leaf, leaf.name in normalized, settings) for leaf in info.leaves)
    if settings.network in ("small_cnn", "origin_cnn", "nature_cnn") and not any(map(_is_image, leaves)):
        raise ValueError(f"network {settings.network} needs an image, a Box with three axes; observations are {info}")
    return leaves


def policy_spec(settings: Settings, leaves: Sequence[Leaf], *, separate_value: bool = False) -> NetworkSpec:
    """The layers of a policy; with ``separate_value``, the value has a network of the same layers to itself.

    Raises:
        ValueError: for an image that the convolutions do not fit.
    """
    s = settings
    if isinstance(s.network, NetworkSpec):
        return s.network
    spec = network_spec(s, leaves)
    if isinstance(s, MemorySettings):
        spec = replace(spec, memory=s.memory, memory_size=s.memory_size)
    return replace(spec, value=spec) if separate_value else spec


def network_spec(settings: Settings, leaves: Sequence[Leaf]) -> NetworkSpec:
    """The layers of a network without memory. Raises as :func:`policy_spec` does."""
    s = settings
    if isinstance(s.network, NetworkSpec):
        return replace(s.network, memory="none")
    encoders = {leaf.name: _image_layers(leaf, s) for leaf in leaves if _is_image(leaf)}
    hidden = mlp_spec(s.hidden_sizes, s.activation, layer_norm=s.layer_norm)
    if len(leaves) == 1 and encoders:
        hidden = NetworkSpec()  # the image has a hidden layer of its own
    return NetworkSpec(encoders, hidden.trunk)


def describe_leaves(info: ObservationInfo, leaves: Sequence[Leaf], settings: EnvironmentSettings) -> str:
    """How the observation is read, in one line."""
    normalized, words = normalized_leaves(info, settings), []
    for given, leaf in zip(info.leaves, leaves, strict=True):
        size = " x ".join(map(str, leaf.shape))
        text = (
            f"{size} numbers" if leaf.kind == "numbers" else f"{size} bytes scaled from {leaf.low:g} to {leaf.high:g}"
        )
        if leaf.kind == "codes":
            text = f"{leaf.size} of {sum(leaf.choices):,} choices, one-hot"
        if _is_image(leaf):
            text += f", an image with channels {'last' if leaf.channels_last else 'first'}"
        if given.name in normalized:
            text += ", normalized"
        words.append(f"{given.name}: {text}" if given.name else text)
    return "; ".join(words)


def _network_leaf(leaf: ObservationLeaf, is_normalized: bool, settings: Settings) -> Leaf:
    if leaf.kind in ("discrete", "multi_discrete"):
        return Leaf(leaf.name, (leaf.size,), "codes", choices=leaf.sizes)
    if settings.one_hot_observations and leaf.low is not None and leaf.high is not None:
        choices = leaf.high - leaf.low + 1
        if choices > _MOST_CHOICES:
            raise ValueError(f"one_hot_observations needs bounds less than 2^16 apart, got {leaf.low} to {leaf.high}")
        if choices * leaf.size > _MOST_ONE_HOT:
            raise ValueError(
                f"one_hot_observations would make {choices * leaf.size:,} inputs of {leaf.name or 'the observation'}, "
                f"{leaf.size:,} codes of {choices}; at most 2^18 are allowed: narrow the bounds of its space"
            )
        return Leaf(leaf.name, (leaf.size,), "codes", choices=(choices,) * leaf.size)
    is_image = _is_read_as_image(leaf, settings)
    channels_last = is_image and _has_channels_last(leaf, settings)
    shape = _image_shape(leaf, channels_last) if is_image else (leaf.size,)
    if not leaf.is_bytes or is_normalized:
        return Leaf(leaf.name, shape, channels_last=channels_last)
    low, high = leaf.low or 0, 255 if leaf.high is None else leaf.high
    return Leaf(leaf.name, shape, "bytes", low, max(high, low + 1), channels_last=channels_last)


def _is_read_as_image(leaf: ObservationLeaf, settings: NetworkSettings) -> bool:
    network = settings.network
    if isinstance(network, NetworkSpec):
        layers = network.encoders.get(leaf.name, ()) or network.trunk
        return leaf.has_image_shape and layers[:1] != () and layers[0].kind == "conv2d"
    if network == "auto":
        return leaf.is_image
    return network != "mlp" and leaf.has_image_shape


def _is_image(leaf: Leaf) -> bool:
    return len(leaf.shape) == 3


def _has_channels_last(leaf: ObservationLeaf, settings: EnvironmentSettings) -> bool:
    if len(leaf.shape) == 2:
        return False
    if settings.image_channels != "auto":
        return settings.image_channels == "last"
    first, _, last = leaf.shape[-3:]
    if first == last:
        raise ValueError(
            f"observations of shape {leaf.shape} do not tell which axis the channels are; "
            'set image_channels to "first" or "last"'
        )
    return last < first


def _image_shape(leaf: ObservationLeaf, channels_last: bool) -> tuple[int, ...]:
    """The three axes of an image; the frames of a stack are channels."""
    frames, (a, b, c) = math.prod(leaf.shape[:-3]), (1, *leaf.shape)[-3:]
    return (a, b, frames * c) if channels_last else (frames * a, b, c)


def _image_layers(leaf: Leaf, settings: Settings) -> tuple[Layer, ...]:
    height, width = leaf.shape[:2] if leaf.channels_last else leaf.shape[1:]
    network = settings.network
    if network == "auto":
        network = "nature_cnn" if min(height, width) >= _NATURE_IMAGE else "small_cnn"
    assert not isinstance(network, NetworkSpec)
    assert network != "mlp"
    return convolutions(network, height, width, layer_norm=settings.layer_norm)
