"""The outline of a mask as closed polygons along the borders of its pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def outline(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Return closed polygons that cover exactly the pixels of a mask.

    Corners lie half a pixel from pixel centres; no polygon crosses itself, overlaps another or has a hole. Where the
    mask has a hole, it is cut along a row through the hole, so that every reader fills it alike, whether it takes
    contours together by union or by exclusive or (PS3.3, C.8.8.6.3, knows no holes).

    Args:
        mask: (x, y) bool.

    Returns:
        One (n, 2) array of corners (x, y) for each polygon, in pixel indices; the last corner joins the first.
    """
    return list(_outlines(np.asarray(mask, dtype=bool), 0))


def _outlines(mask: NDArray[np.bool_], first_row: int) -> Iterator[NDArray[np.float64]]:
    components, _ = ndimage.label(mask)  # neighbours share a side: polygons that touch at a corner are two
    for number, box in enumerate(ndimage.find_objects(components), start=1):
        part = components[box] == number
        holes = ndimage.binary_fill_holes(part) & ~part
        shift = np.array([box[0].start, box[1].start + first_row], dtype=np.float64)
        if not holes.any():
            yield _trace(part) + shift
            continue
        row = int(np.flatnonzero(holes.any(axis=0))[0])  # at least one row of the part lies above a hole
        for half, start in ((part[:, : row + 1], 0), (part[:, row + 1 :], row + 1)):
            for polygon in _outlines(half, start):
                yield polygon + shift


def _trace(part: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Walk around a region without holes whose pixels join by their sides: one way leads on from every corner."""
    padded = np.pad(part, 1)
    following: dict[tuple[int, int], tuple[int, int]] = {}
    for dx, dy in _STEPS:
        edges = padded[1:-1, 1:-1] & ~padded[1 + dx : padded.shape[0] - 1 + dx, 1 + dy : padded.shape[1] - 1 + dy]
        for x, y in np.argwhere(edges).tolist():
            start, stop = _side(x, y, dx, dy)
            following[start] = stop
    first = corner = next(iter(following))
    corners = []
    while True:
        corners.append(corner)
        corner = following[corner]
        if corner == first:
            break
    points = np.array(corners, dtype=np.float64)
    before, after = np.roll(points, 1, axis=0), np.roll(points, -1, axis=0)
    is_turn = ((points - before) != (after - points)).any(axis=1)
    turns: NDArray[np.float64] = points[is_turn] - 0.5
    return turns


def _side(x: int, y: int, dx: int, dy: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the ends of one side of a pixel, the pixel always on the same hand; corner (x, y) is at (x - ½, y - ½)."""
    if (dx, dy) == (1, 0):
        return (x + 1, y), (x + 1, y + 1)
    if (dx, dy) == (0, 1):
        return (x + 1, y + 1), (x, y + 1)
    if (dx, dy) == (-1, 0):
        return (x, y + 1), (x, y)
    return (x, y), (x + 1, y)
