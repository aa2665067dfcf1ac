"""What a reader measures on a finding: diameters in the slice where it is longest, and the intensities inside it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from moeclip_transforms import ImageType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moeclip_transforms import Volume
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

Point: TypeAlias = tuple[float, float, float]

_CT_TYPES = frozenset({ImageType.CT_BRAIN, ImageType.CT_SOFT_TISSUE, ImageType.CT_LUNG})
_HALF_VOXELS = np.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]])
"""From the centre of a pixel to the middle of its sides, where an outline at half a voxel passes (marching squares)."""


class IntensityUnit(StrEnum):
    """What intensities of an image are given in."""

    HU = "HU"
    """Hounsfield units: CT."""
    ARBITRARY = "arbitrary"
    """The image's own values, comparable within one image only."""


@dataclass(frozen=True)
class Diameter:
    """A straight line across a finding within one slice.

    Attributes:
        mm: Its length.
        start: One end, (x, y, z) in fractional voxel indices.
        stop: The other end.
    """

    mm: float
    start: Point
    stop: Point


@dataclass(frozen=True)
class FindingMeasures:
    """What a reader measures on a finding.

    Attributes:
        longest: The longest line between two points of the outline in any one slice; None where the image has no
            spacing in mm. The outline runs half a voxel outside the centres of the outermost voxels.
        perpendicular: The longest line at right angles to it in the same slice, across the convex hull of the outline.
        mean: Mean intensity; None where no voxel of the finding holds a usable value, and in colour images.
        sd: Standard deviation of the intensity over the finding's voxels (divided by their number), or None.
        maximum: Highest intensity, or None.
        unit: What the intensities are given in.
    """

    longest: Diameter | None
    perpendicular: Diameter | None
    mean: float | None
    sd: float | None
    maximum: float | None
    unit: IntensityUnit


def measure_finding(inside: NDArray[np.bool_], start: tuple[int, int, int], volume: Volume) -> FindingMeasures:
    """Measure one finding.

    Args:
        inside: (x, y, z), True in the finding; its bounding box only.
        start: The first voxel (x, y, z) of that box.
        volume: The volume the finding lies in: gives intensities, mm and the slice axis.

    Returns:
        Its diameters and intensities.
    """
    longest, perpendicular = _diameters(inside, start, volume) if volume.has_spacing else (None, None)
    mean, sd, maximum = _intensities(inside, start, volume)
    unit = IntensityUnit.HU if volume.series.image_type in _CT_TYPES else IntensityUnit.ARBITRARY
    return FindingMeasures(longest, perpendicular, mean, sd, maximum, unit)


def _diameters(
    inside: NDArray[np.bool_], start: tuple[int, int, int], volume: Volume
) -> tuple[Diameter | None, Diameter | None]:
    """Find the slice with the longest line; slices that cannot hold a longer one are not looked at closely."""
    axis = volume.slice_axis
    first, second = (other for other in range(3) if other != axis)
    basis = _plane_basis(volume, first, second)
    planes = np.moveaxis(inside, axis, 0)
    bounds = [(_bound(plane, basis), index) for index, plane in enumerate(planes)]
    best: tuple[float, int, Floats, Floats, Floats] | None = None
    for bound, index in sorted(bounds, reverse=True):
        if bound == 0 or (best is not None and bound <= best[0]):
            break
        hull = _hull(_outline(planes[index]))
        in_mm = hull @ basis.T
        one, other = _farthest(in_mm)
        length = float(np.linalg.norm(in_mm[one] - in_mm[other]))
        if best is None or length > best[0]:
            best = (length, index, in_mm, in_mm[one], in_mm[other])
    if best is None:
        return None, None
    _, index, in_mm, one_end, other_end = best

    def to_voxel(point: Floats) -> Point:
        voxel = np.zeros(3)
        voxel[[first, second]] = np.linalg.solve(basis, point)
        voxel[axis] = index
        x, y, z = (float(value) for value in voxel + start)
        return (x, y, z)

    def line(a: Floats, b: Floats) -> Diameter:
        return Diameter(float(np.linalg.norm(a - b)), to_voxel(a), to_voxel(b))

    return line(one_end, other_end), line(*_longest_across(in_mm, other_end - one_end))


def _plane_basis(volume: Volume, first: int, second: int) -> Floats:
    """(2, 2): two in-plane voxel steps as columns of mm, in right-angled coordinates of the slice's own plane."""
    steps = np.asarray(volume.affine.matrix)[:3, [first, second]]
    basis: Floats = np.linalg.qr(steps)[1].astype(np.float64)
    return basis


def _bound(plane: NDArray[np.bool_], basis: Floats) -> float:
    """Return a length, mm, that no line inside a slice of the finding exceeds; 0 where the slice is empty."""
    extents = [np.flatnonzero(plane.any(axis=other)) for other in (1, 0)]
    if not extents[0].size:
        return 0.0
    sides = basis * [float(extent[-1] - extent[0] + 1) for extent in extents]
    return float(max(np.linalg.norm(sides[:, 0] + sides[:, 1]), np.linalg.norm(sides[:, 0] - sides[:, 1])))


def _outline(plane: NDArray[np.bool_]) -> Floats:
    """(n, 2): points half a voxel outside the outermost voxels of each row, enough for the convex hull."""
    rows = np.flatnonzero(plane.any(axis=1))
    lines = plane[rows]
    first = lines.argmax(axis=1)
    last = lines.shape[1] - 1 - lines[:, ::-1].argmax(axis=1)
    centres = np.concatenate([np.stack([rows, first], axis=1), np.stack([rows, last], axis=1)])
    points: Floats = (centres[:, None, :] + _HALF_VOXELS).reshape(-1, 2)
    return points


def _hull(points: Floats) -> Floats:
    """(n, 2): the corners of the convex hull."""
    from scipy.spatial import ConvexHull

    corners: Floats = points[ConvexHull(points).vertices]
    return corners


def _farthest(points: Floats) -> tuple[int, int]:
    """Return the indices of the two points that lie farthest apart."""
    from scipy.spatial.distance import pdist, squareform

    distances = squareform(pdist(points))
    one, other = np.unravel_index(int(distances.argmax()), distances.shape)
    return int(one), int(other)


def _longest_across(hull: Floats, direction: Floats) -> tuple[Floats, Floats]:
    """Return the ends of the longest line across a convex polygon at right angles to a direction."""
    along = direction / np.linalg.norm(direction)
    across = np.array([-along[1], along[0]])
    corners = np.stack([hull @ along, hull @ across], axis=1)
    ends = [
        (float(place), *_crossings(corners, float(place))) for place in corners[:, 0]
    ]  # the width of a convex polygon is largest at a corner
    place, low, high = max(ends, key=lambda end: end[2] - end[1])
    return place * along + low * across, place * along + high * across


def _crossings(corners: Floats, place: float) -> tuple[float, float]:
    """Return the lowest and highest second coordinate of a polygon's outline where the first one is `place`."""
    found = list(_on_edges(corners, place))
    return min(found), max(found)


def _on_edges(corners: Floats, place: float) -> Iterator[float]:
    for (x, y), (next_x, next_y) in pairwise([*corners.tolist(), corners[0].tolist()]):
        if min(x, next_x) <= place <= max(x, next_x):
            share = 0.0 if x == next_x else (place - x) / (next_x - x)
            yield y + share * (next_y - y)
            if x == next_x:
                yield next_y


def _intensities(
    inside: NDArray[np.bool_], start: tuple[int, int, int], volume: Volume
) -> tuple[float | None, float | None, float | None]:
    """Return mean, standard deviation and maximum, summed slice by slice; padding and NaN do not count."""
    values = volume.array
    if values.shape[0] != 1:
        return None, None, None
    axis = volume.slice_axis
    box = tuple(slice(first, first + size) for first, size in zip(start, inside.shape, strict=True))
    measured = inside if volume.padding_mask is None else inside & ~volume.padding_mask[box]
    planes = zip(np.moveaxis(values[0][box], axis, 0), np.moveaxis(measured, axis, 0), strict=True)
    parts = [part[np.isfinite(part)] for part in (plane[mask].astype(np.float64) for plane, mask in planes)]
    count = sum(part.size for part in parts)
    if not count:
        return None, None, None
    mean = sum(float(part.sum()) for part in parts) / count
    variance = sum(float(((part - mean) ** 2).sum()) for part in parts) / count
    return mean, variance**0.5, max(float(part.max()) for part in parts if part.size)
