"""The picture of Point-v0: anti-aliased shapes in NumPy alone, each given by its signed distance in pixels."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_point"]

Pixels: TypeAlias = NDArray[np.float32]

SIZE = 400  # of the picture, in pixels
SCALE = 180.0  # pixels to a unit of length, which leaves a margin
GROUND = (247, 246, 241)
BORDER = (196, 200, 204)  # of the square
RING = (226, 229, 228)  # within which no episode starts
CENTRE = (214, 92, 72)
TRAIL = (160, 190, 220)
POINT = (38, 92, 158)

_POINT_RADIUS = 8.0
_CENTRE_RADIUS = 5.0
_LINE = 2.0  # width
_TRAIL_WIDTH = 4.0

_X = np.arange(SIZE, dtype=np.float32)[None, :] + np.float32(0.5)  # [1, SIZE] of the pixels' centres
_Y = _X.T


def _to_pixels(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """(x, y) in pixels from the upper left corner; y of the square points up."""
    pixels: NDArray[np.float64] = SIZE / 2 + SCALE * position * np.array([1.0, -1.0])
    return pixels


def _window(points: NDArray[np.float64], margin: float) -> tuple[slice, slice]:
    """Rows and columns of the picture that hold ``points`` ``[K, 2]`` and a margin around them."""
    left, top = np.clip(np.floor(points.min(axis=0) - margin), 0, SIZE).astype(int)
    right, bottom = np.clip(np.ceil(points.max(axis=0) + margin), 0, SIZE).astype(int)
    return slice(top, bottom), slice(left, right)


def _blend(frame: Pixels, window: tuple[slice, slice], distance: Pixels, colour: tuple[int, int, int]) -> None:
    """Paints a shape, in place: a pixel's share of it is linear in its signed distance to the edge, negative inside."""
    share = np.clip(0.5 - distance, 0.0, 1.0)[..., None]
    part = frame[window]
    part += share * (np.array(colour, np.float32) - part)


def _disc(frame: Pixels, centre: NDArray[np.float64], radius: float, colour: tuple[int, int, int]) -> None:
    window = _window(centre[None], radius + 1)
    distance = np.hypot(_X[:, window[1]] - centre[0], _Y[window[0]] - centre[1]) - radius
    _blend(frame, window, distance, colour)


def _trail(frame: Pixels, points: NDArray[np.float64]) -> None:
    """All segments as one shape, so that joints are not painted twice."""
    nearest = np.full((SIZE, SIZE), np.inf, np.float32)
    for start, end in pairwise(points):
        window = _window(np.array([start, end]), _TRAIL_WIDTH)
        x, y, along = _X[:, window[1]] - start[0], _Y[window[0]] - start[1], end - start
        share = np.clip((x * along[0] + y * along[1]) / max(float(along @ along), 1e-12), 0.0, 1.0)
        distance = np.hypot(x - share * along[0], y - share * along[1])
        nearest[window] = np.minimum(nearest[window], distance)
    window = _window(points, _TRAIL_WIDTH + 1)
    _blend(frame, window, nearest[window] - np.float32(_TRAIL_WIDTH / 2), TRAIL)


@cache
def _ground() -> Pixels:
    """What every picture begins with: the square, the ring of radius 0.9, the centre."""
    frame = np.full((SIZE, SIZE, 3), GROUND, np.float32)
    x, y, whole = _X - SIZE / 2, _Y - SIZE / 2, (slice(None), slice(None))
    _blend(frame, whole, np.abs(np.hypot(x, y) - 0.9 * SCALE) - _LINE / 2, RING)
    _blend(frame, whole, np.abs(np.maximum(np.abs(x), np.abs(y)) - SCALE) - _LINE / 2, BORDER)
    _disc(frame, np.full(2, SIZE / 2), _CENTRE_RADIUS, CENTRE)
    frame.flags.writeable = False
    return frame


def draw_point(position: NDArray[np.float64], visited: NDArray[np.float64] | None = None) -> NDArray[np.uint8]:
    """A picture ``[400, 400, 3]`` of the point at ``position`` ``[2]``, newly allocated.

    ``visited`` ``[K, 2]`` are the positions that a trail joins, in order; None draws no trail.
    """
    frame = _ground().copy()
    if visited is not None and len(visited) > 1:
        _trail(frame, _to_pixels(visited))
        _disc(frame, np.full(2, SIZE / 2), _CENTRE_RADIUS, CENTRE)  # again: the trail does not hide it
    _disc(frame, _to_pixels(position), _POINT_RADIUS, POINT)
    return np.rint(frame).astype(np.uint8)
