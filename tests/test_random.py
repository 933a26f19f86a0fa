"""pgfast.Rng and its counter-based random numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pgfast import Rng
from pgfast._native import core
from pgfast.reference import random as reference

USER_STREAM = 16  # pgfast.Rng(seed, stream) draws from stream 16 + stream
PI_COUNTER = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
# Known answers of philox4x32-10, published with Random123 (kat_vectors): counter, key, block.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, 0xFFFFFFFFFFFFFFFF, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (PI_COUNTER, 0x299F31D0A4093822, (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]


@pytest.mark.parametrize(("counter", "key", "block"), KNOWN_ANSWERS)
def test_philox_returns_the_published_numbers(counter: reference.Block, key: int, block: reference.Block) -> None:
    assert tuple(core.philox(key, counter)) == block
    assert reference.philox(key, counter) == block


def test_philox_matches_the_reference(rng: np.random.Generator) -> None:
    for _ in range(200):
        c0, c1, c2, c3 = (int(word) for word in rng.integers(0, 2**32, 4))
        key = int(rng.integers(0, 2**64, dtype=np.uint64))
        assert tuple(core.philox(key, (c0, c1, c2, c3))) == reference.philox(key, (c0, c1, c2, c3))


@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("stream", [0, 1, 65519])
@pytest.mark.parametrize("position", [0, 7, 2**32 + 1, 2**48 - 1])
def test_uniform_matches_the_reference(seed: int, stream: int, position: int) -> None:
    generator = Rng(seed, stream)
    generator.position = position
    expected = [
        reference.uniform(reference.block_of(seed, USER_STREAM + stream, 0, position, draw)) for draw in range(5)
    ]
    got = generator.uniform(5)
    assert got.tolist() == expected
    assert got.dtype == np.float64
    assert generator.position == position + 1


def test_uniform_numbers_are_uniformly_distributed() -> None:
    numbers = np.sort(Rng(123).uniform(100_000))
    assert numbers[0] >= 0.0
    assert numbers[-1] < 1.0
    # Kolmogorov and Smirnov: 1.95 / sqrt(n) is the 99.9 % quantile.
    grid = np.arange(1, len(numbers) + 1) / len(numbers)
    assert np.abs(numbers - grid).max() < 1.95 / np.sqrt(len(numbers))


def test_batches_streams_and_seeds_share_no_numbers() -> None:
    same = Rng(9)
    batches = [same.uniform(1000), same.uniform(1000), Rng(9, stream=1).uniform(1000), Rng(10).uniform(1000)]
    assert len(np.unique(batches)) == 4000
    correlation = np.corrcoef(batches) - np.eye(4)
    assert np.abs(correlation).max() < 4.0 / np.sqrt(1000)


def test_position_is_the_whole_state() -> None:
    generator = Rng(3, stream=2)
    first, second = generator.uniform(4), generator.uniform(4)
    generator.position = 0
    np.testing.assert_array_equal(generator.uniform(4), first)
    other = Rng(3, stream=2)
    other.position = 1
    np.testing.assert_array_equal(other.uniform(4), second)
    # A longer batch begins with the shorter one.
    generator.position = 0
    np.testing.assert_array_equal(generator.uniform(9)[:4], first)


def test_normal_pairs_of_the_reference_are_standard_normal() -> None:
    # test_initial_weights.py tests the native ones through the initial weights.
    pairs = np.array([reference.normal_pair(reference.block_of(1, 1, 0, step)) for step in range(20_000)])
    numbers = pairs.ravel()
    assert abs(numbers.mean()) < 4.0 / np.sqrt(numbers.size)
    assert abs(numbers.var() - 1.0) < 4.0 * np.sqrt(2.0 / numbers.size)
    assert abs((numbers**4).mean() - 3.0) < 4.0 * np.sqrt(96.0 / numbers.size)
    assert abs(np.mean(pairs[:, 0] * pairs[:, 1])) < 4.0 / np.sqrt(len(pairs))


def test_repr_names_the_state() -> None:
    generator = Rng(5, stream=1)
    generator.uniform(1)
    assert repr(generator) == "Rng(seed=5, stream=1, position=1)"


@pytest.mark.parametrize(
    ("seed", "stream", "text"),
    [
        (-1, 0, "Rng: seed must be in [0, 2^64), got -1"),
        (2**64, 0, "Rng: seed must be in [0, 2^64), got 18446744073709551616"),
        (0, -1, "Rng: stream must be in [0, 65519], got -1"),
        (0, 65520, "Rng: stream must be in [0, 65519], got 65520"),
    ],
)
def test_seed_and_stream_have_bounds(seed: int, stream: int, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Rng(seed, stream)


@pytest.mark.parametrize("seed", [1.5, 1.0, "1", None])
def test_a_seed_is_never_rounded_or_parsed(seed: object) -> None:
    with pytest.raises(TypeError, match=r"^Rng: seed must be an int"):
        Rng(seed)  # type: ignore[arg-type]


def test_a_numpy_integer_is_a_seed() -> None:
    np.testing.assert_array_equal(Rng(np.int64(7)).uniform(3), Rng(7).uniform(3))  # type: ignore[arg-type]


def test_uniform_refuses_an_empty_batch() -> None:
    with pytest.raises(ValueError, match=r"count must be at least 1, got 0$"):
        Rng(0).uniform(0)
