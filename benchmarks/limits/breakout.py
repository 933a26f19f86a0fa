"""The fastest training on Breakout that emulators and matrix products allow.

It is 1 / (1 / E + F / G). E is the speed of the emulators in steps/s if they alone keep every core busy. G is the speed
of the network's matrix products on all threads, and F the operations of one step. Overlapping emulation and matrix
products cannot be faster, since both need the same cores.
"""

from __future__ import annotations

import statistics
from typing import NamedTuple

from architectures import multiply_adds
from limits.emulators import Emulators
from limits.layer_products import LayerProducts

__all__ = ["BreakoutLimit", "Passes"]

EMULATOR_STEPS = 100  # per environment, for one sample of E
SAMPLE_ROWS = 640  # for one sample of G, about


class Passes(NamedTuple):
    """``number`` passes of ``rows`` images each."""

    number: int
    rows: int
    backward: bool = False


class BreakoutLimit:
    """Samples the limit in steps/s for updates of ``timesteps`` that take these passes; each sample measures all."""

    def __init__(
        self, emulators: Emulators, network: str, timesteps: int, passes: list[Passes], *, smoke: bool = False
    ) -> None:
        self._emulators, self._emulator_steps = emulators, 2 if smoke else EMULATOR_STEPS
        self._passes = [
            (
                LayerProducts(network, part.rows, backward=part.backward),
                part.number / timesteps,
                1 if smoke else max(1, SAMPLE_ROWS // part.rows),
            )
            for part in passes
        ]
        of_image = multiply_adds(network)
        self._flop = 2 * sum(part.number * part.rows * of_image[part.backward] for part in passes) / timesteps  # F
        self._samples: list[tuple[float, float]] = []

    def __call__(self) -> float:
        """Takes one sample."""
        e = self._emulators.steps_per_second(self._emulator_steps)
        step = sum(number * products.seconds(repeats) for products, number, repeats in self._passes)  # F / G
        self._samples.append((e, self._flop / step))
        return 1.0 / (1.0 / e + step)

    def note(self) -> str:
        """Returns the medians of E and G."""
        e, g = (statistics.median(column) for column in zip(*self._samples, strict=True))
        return f"E {e:,.0f} steps/s, G {1e-9 * g:.0f} GFLOP/s"
