"""The picture of Point-v0: anti-aliased shapes in NumPy alone, each given by its signed distance in pixels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_point"]

Pixels: TypeAlias = NDArray[np.float32]
SignedDistance: TypeAlias = Callable[[Pixels, Pixels], Pixels]  # of pixels at (x, y), negative inside the shape

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


def _to_pixels(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """(x, y) in pixels from the upper left corner; y of the square points up."""
    pixels: NDArray[np.float64] = SIZE / 2 + SCALE * position * np.array([1.0, -1.0])
    return pixels


def _blend(frame: Pixels, shape: SignedDistance, colour: tuple[int, int, int], corners: NDArray[np.float64]) -> None:
    """Paints a shape, in place, where it lies between ``corners`` ``[2, 2]``: a pixel's share of it is linear in its
    distance to the edge."""
    first = np.clip(np.floor(corners.min(axis=0)), 0, SIZE).astype(int)
    last = np.clip(np.ceil(corners.max(axis=0)), 0, SIZE).astype(int)
    x = np.arange(first[0], last[0], dtype=np.float32)[None, :] + np.float32(0.5)
    y = np.arange(first[1], last[1], dtype=np.float32)[:, None] + np.float32(0.5)
    share = np.clip(0.5 - shape(x, y), 0.0, 1.0)[..., None]
    part = frame[first[1] : last[1], first[0] : last[0]]
    part += share * (np.array(colour, np.float32) - part)


def _disc(frame: Pixels, centre: NDArray[np.float64], radius: float, colour: tuple[int, int, int]) -> None:
    corners = np.array([centre - radius - 1, centre + radius + 1])
    _blend(frame, lambda x, y: np.hypot(x - centre[0], y - centre[1]) - radius, colour, corners)


def _segment_distance(x: Pixels, y: Pixels, start: NDArray[np.float64], end: NDArray[np.float64]) -> Pixels:
    along = end - start
    share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / max(float(along @ along), 1e-12)
    share = np.clip(share, 0.0, 1.0)
    distance: Pixels = np.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1])
    return distance


def _polyline(frame: Pixels, points: NDArray[np.float64]) -> None:
    """All segments as one shape, so that joints are not painted twice."""

    def shape(x: Pixels, y: Pixels) -> Pixels:
        nearest = np.full((y.shape[0], x.shape[1]), np.inf, np.float32)
        for start, end in pairwise(points):
            low = np.minimum(start, end) - _TRAIL_WIDTH - (x[0, 0], y[0, 0])
            high = np.maximum(start, end) + _TRAIL_WIDTH - (x[0, 0], y[0, 0])
            rows = slice(max(0, int(low[1])), max(0, int(high[1]) + 1))
            columns = slice(max(0, int(low[0])), max(0, int(high[0]) + 1))
            part = nearest[rows, columns]
            np.minimum(part, _segment_distance(x[:, columns], y[rows], start, end), out=part)
        return nearest - np.float32(_TRAIL_WIDTH / 2)

    margin = _TRAIL_WIDTH + 1
    _blend(frame, shape, TRAIL, np.array([points.min(axis=0) - margin, points.max(axis=0) + margin]))


@cache
def _ground() -> Pixels:
    """What every picture begins with: the square, the ring of radius 0.9, the centre."""
    frame = np.empty((SIZE, SIZE, 3), np.float32)
    frame[:] = GROUND
    middle, whole = np.full(2, SIZE / 2), np.array([[0.0, 0.0], [SIZE, SIZE]])

    def ring(x: Pixels, y: Pixels) -> Pixels:
        distance: Pixels = np.abs(np.hypot(x - middle[0], y - middle[1]) - 0.9 * SCALE) - _LINE / 2
        return distance

    def border(x: Pixels, y: Pixels) -> Pixels:
        distance: Pixels = np.abs(np.maximum(np.abs(x - middle[0]), np.abs(y - middle[1])) - SCALE) - _LINE / 2
        return distance

    _blend(frame, ring, RING, whole)
    _blend(frame, border, BORDER, whole)
    _disc(frame, middle, _CENTRE_RADIUS, CENTRE)
    frame.flags.writeable = False
    return frame


def draw_point(position: NDArray[np.float64], visited: NDArray[np.float64] | None = None) -> NDArray[np.uint8]:
    """A picture ``[400, 400, 3]`` of the point at ``position`` ``[2]``, newly allocated.

    ``visited`` ``[K, 2]`` are the positions that a trail joins, in order; None draws no trail.
    """
    frame = _ground().copy()
    if visited is not None and len(visited) > 1:
        _polyline(frame, _to_pixels(visited))
        _disc(frame, np.full(2, SIZE / 2), _CENTRE_RADIUS, CENTRE)  # again: the trail does not hide it
    _disc(frame, _to_pixels(position), _POINT_RADIUS, POINT)
    return np.rint(frame).astype(np.uint8)
