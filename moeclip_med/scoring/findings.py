"""The connected regions of an anomaly volume that reach a threshold, measured in mm and ml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from moeclip_transforms.errors import InputError
from moeclip_transforms.geometry import ras_from_lps
from scipy import ndimage

from moeclip_med.scoring.anomaly import Finding, low_threshold

if TYPE_CHECKING:
    from moeclip_transforms import Series, Volume
    from moeclip_transforms.volume import Grid
    from numpy.typing import NDArray

SMALLEST_VOLUME_ML = 0.1
"""Regions of which less than this (a sphere of 5.8 mm) reaches the threshold are not listed.

It is less than one patch of the network in most scans.
"""

SMALLEST_SHARE = 1 / 20_000
"""Where it is less than the above, this share of the image's volume: 0.1 ml is a quarter of a mouse brain.

A field of view of 2 litres or more, as of a human head, has the floor of 0.1 ml.
"""

SMALLEST_AREA_PIXELS = 16
"""The same for images without a spacing in mm; no smaller share is taken of the others either."""

MOST_FINDINGS = np.iinfo(np.uint16).max
"""No more are listed, those with the lowest peaks excluded: labels in 16 bits spare half a volume of memory."""


class FindingsResult(NamedTuple):
    """Labels and findings of one volume.

    Attributes:
        labels: (x, y, z) uint16, 0 outside findings, else `Finding.label` (equal to its rank).
        findings: Sorted by rank.
        too_small: How many regions reach the threshold but were excluded as too small (or beyond `MOST_FINDINGS`).
    """

    labels: NDArray[np.uint16]
    findings: tuple[Finding, ...]
    too_small: int


class Acquired(Protocol):
    """What tells which voxels are neighbours: a `Volume`, or all that a viewer knows of one but its voxels."""

    @property
    def series(self) -> Series:
        """What it was read from."""
        ...

    @property
    def slice_axis(self) -> int:
        """The axis (0, 1 or 2) along which it was acquired."""
        ...

    @property
    def has_spacing(self) -> bool:
        """Whether the affine is in mm."""
        ...


def find_findings(
    scores: NDArray[np.float32],
    volume: Volume,
    threshold: float,
    into: NDArray[np.uint16] | None = None,
    *,
    min_volume_ml: float | None = None,
) -> FindingsResult:
    """List the connected regions that reach a threshold, as far as scores stay above `low_threshold`.

    Only what lies at or above the threshold decides whether a region is large enough to be listed. So nothing that
    stays below it becomes a finding; but several small parts above it, which the lower limit joins, count together.
    (Hysteresis: Canny, IEEE PAMI 8, 1986.)

    Neighbours are the 26 around a voxel; among photographs, which are no slices of a body, the 8 within the image. In
    a cine the same pixel of the frames before and after counts as well: where regions of neighbouring frames overlap,
    they are one finding, a track. A track is large enough to be listed if it is so in one frame.

    Args:
        scores: (x, y, z) float32, 0 to 1.
        volume: The volume they belong to; its geometry gives mm and ml.
        threshold: The score that a finding reaches.
        into: (x, y, z) uint16 to hold the labels; a new array if None.
        min_volume_ml: Regions of which less reaches the threshold are not listed; `smallest_volume` if None.

    Returns:
        The labels, the findings ranked by peak score, and the number of regions excluded as too small.

    Raises:
        InputError: The scores lie on another grid than the volume.
    """
    if scores.shape != volume.shape:
        raise InputError(f"The scores have the shape {scores.shape}, the volume {volume.shape}; expected the same.")
    labels = np.zeros(scores.shape, dtype=np.uint16) if into is None else into
    components, count = _components(scores, low_threshold(threshold), _neighbourhood(volume), labels)
    area, size, core = _measure_components(components, count, scores, threshold, volume)
    smallest = SMALLEST_AREA_PIXELS if size is None else smallest_volume(volume, min_volume_ml)
    large = np.flatnonzero((core >= smallest) & (core > 0)).tolist()

    boxes = ndimage.find_objects(components)
    peaks = {label: float(_masked(scores, components, label, boxes[label - 1]).max()) for label in large}
    ranked = sorted(large, key=lambda label: (-peaks[label], -area[label], label))[:MOST_FINDINGS]
    findings = tuple(
        _measure(
            _masked(scores, components, label, boxes[label - 1]),
            boxes[label - 1],
            volume,
            rank,
            None if size is None else float(size[label]),
        )
        for rank, label in enumerate(ranked, start=1)
    )
    new_label = np.zeros(count + 1, dtype=np.uint16)
    new_label[ranked] = np.arange(1, len(ranked) + 1)
    order = _memory_order(labels)
    for plane, found in zip(labels.transpose(order), components.transpose(order), strict=True):
        plane[...] = new_label[found]  # plane by plane, since indexing copies in 64 bits what it is given
    return FindingsResult(labels, findings, int(np.count_nonzero(core)) - len(findings))


def smallest_volume(volume: Volume, min_volume_ml: float | None = None) -> float:
    """Return how much of a region, in ml, has to reach the threshold so that it is listed; for volumes with mm.

    Args:
        volume: The volume.
        min_volume_ml: What a user asked for.
    """
    if min_volume_ml is not None:
        return min_volume_ml
    voxel_ml = volume.affine.voxel_ml
    share = SMALLEST_SHARE * voxel_ml * float(np.prod(volume.shape))
    return min(SMALLEST_VOLUME_ML, max(share, SMALLEST_AREA_PIXELS * voxel_ml))


def region_of(finding: Finding, scores: NDArray[np.float32], volume: Acquired, threshold: float) -> NDArray[np.bool_]:
    """Return the voxels of a finding that `find_findings` listed, also where its label was given up since.

    Args:
        finding: The finding.
        scores: (x, y, z) float32, 0 to 1.
        volume: The volume they belong to.
        threshold: The threshold of the finding.

    Returns:
        (x, y, z) of the finding's box, True inside.
    """
    box = tuple(slice(start, stop) for start, stop in zip(finding.box_start, finding.box_stop, strict=True))
    components, _ = ndimage.label(scores[box] >= low_threshold(threshold), _neighbourhood(volume))
    peak = tuple(at - start for at, start in zip(finding.peak_voxel, finding.box_start, strict=True))
    inside: NDArray[np.bool_] = components == components[peak]
    return inside


def measure_region(
    scores: NDArray[np.float32], inside: NDArray[np.bool_], box: tuple[slice, ...], volume: Volume, rank: int
) -> Finding:
    """Measure a region that a reader outlined, as `find_findings` measures its own.

    Args:
        scores: (x, y, z) float32, 0 to 1.
        inside: (x, y, z) of the box, True in the region; at least one voxel.
        box: Where that lies in the volume.
        volume: The volume; its geometry gives mm and ml.
        rank: The finding's rank.

    Returns:
        The finding; its label is its rank.
    """
    spans = [np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    tight = tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    box = tuple(slice(part.start + cut.start, part.start + cut.stop) for part, cut in zip(box, tight, strict=True))
    masked = np.where(inside[tight], scores[box], np.float32(-1.0))
    volume_ml = None
    if volume.has_spacing:
        axis = volume.slice_axis
        counts = np.count_nonzero(np.moveaxis(inside[tight], axis, 0), axis=(1, 2))
        volume_ml = float(counts @ _slice_voxel_ml(volume)[box[axis]])
    return _measure(masked, box, volume, rank, volume_ml)


def _components(
    scores: NDArray[np.float32], threshold: float, structure: NDArray[np.bool_], labels: NDArray[np.uint16]
) -> tuple[NDArray[np.uint16] | NDArray[np.int32], int]:
    """Number the regions above a threshold in `labels`, or in a larger array where there are too many for 16 bits."""
    order = _memory_order(labels)  # SciPy takes thirty times as long across the order of memory
    ordered = labels.transpose(order)
    np.greater_equal(scores.transpose(order), threshold, out=ordered, casting="unsafe")
    try:
        return labels, int(ndimage.label(ordered, structure.transpose(order), output=ordered))
    except RuntimeError:  # how SciPy says so
        components, count = ndimage.label(scores >= threshold, structure)
        return components, count


def _memory_order(array: NDArray[np.generic]) -> tuple[int, ...]:
    """The axes of an array in the order of memory, slowest first."""
    return tuple(int(axis) for axis in np.argsort(array.strides, kind="stable")[::-1])


def voxel_to_lps(volume: Grid, voxel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the place of a fractional voxel index (x, y, z) in mm, LPS+.

    Where no single affine fits (`Volume.is_regular` is False) the acquired slices on both sides are interpolated.
    """
    if volume.is_regular or not volume.frame_geometry:
        return ras_from_lps(volume.affine.to_world(voxel))
    last = len(volume.frame_geometry) - 1
    below = int(np.clip(np.floor(voxel[2]), 0, last))
    above = min(below + 1, last)
    fraction = float(np.clip(voxel[2] - below, 0.0, 1.0))
    return (1 - fraction) * _in_frame(volume, below, voxel) + fraction * _in_frame(volume, above, voxel)


def _in_frame(volume: Grid, index: int, voxel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place the in-plane part of a voxel index in one acquired slice, mm, LPS+."""
    geometry = volume.frame_geometry[index]
    column_spacing, row_spacing, _ = volume.affine.spacing
    place: NDArray[np.float64] = (
        np.asarray(geometry.position)
        + voxel[0] * column_spacing * np.asarray(geometry.row_direction)
        + voxel[1] * row_spacing * np.asarray(geometry.column_direction)
    )
    return place


def _neighbourhood(volume: Acquired) -> NDArray[np.bool_]:
    structure = np.ones((3, 3, 3), dtype=bool)
    if volume.series.is_cine or not volume.has_spacing:
        np.moveaxis(structure, volume.slice_axis, 0)[[0, 2]] = False
        np.moveaxis(structure, volume.slice_axis, 0)[[0, 2], 1, 1] = volume.series.is_cine
    return structure


def _measure_components(
    components: NDArray[np.integer[Any]],
    count: int,
    scores: NDArray[np.float32],
    threshold: float,
    volume: Volume,
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None, NDArray[np.float64]]:
    """Measure each component slice by slice, since indices of all voxels take much.

    Returns:
        Voxels; ml where there are mm, else None; how much of it reaches the threshold, in ml or else voxels (of a
        track, in the frame where that is most).
    """
    axis = volume.slice_axis
    area: NDArray[np.int64] = np.zeros(count + 1, dtype=np.int64)
    size, core = np.zeros(count + 1), np.zeros(count + 1)
    has_mm = volume.has_spacing
    voxel_sizes = _slice_voxel_ml(volume) if has_mm else np.ones(components.shape[axis])
    planes = zip(np.moveaxis(components, axis, 0), np.moveaxis(scores, axis, 0), voxel_sizes, strict=True)
    for found, score, voxel_size in planes:
        voxels = np.bincount(found.ravel(), minlength=count + 1)
        area += voxels
        size += voxels * voxel_size
        reached = np.bincount(found[score >= threshold], minlength=count + 1) * voxel_size
        core = np.maximum(core, reached) if volume.series.is_cine else core + reached
    area[0] = size[0] = core[0] = 0
    return area, size if has_mm else None, core


def _slice_voxel_ml(volume: Grid) -> NDArray[np.float64]:
    """Volume of one voxel, in ml, for each index along the slice axis."""
    n_slices = volume.shape[volume.slice_axis]
    if volume.is_regular or not volume.frame_geometry:
        return np.full(n_slices, volume.affine.voxel_ml)
    first = volume.frame_geometry[0]
    normal = np.cross(first.row_direction, first.column_direction)
    along = np.array([np.dot(normal, frame.position) for frame in volume.frame_geometry])
    column_spacing, row_spacing, _ = volume.affine.spacing
    thickness = np.abs(np.gradient(along)) if n_slices > 1 else np.array([volume.affine.spacing[2]])
    ml: NDArray[np.float64] = thickness * column_spacing * row_spacing / 1000.0
    return ml


def _masked(
    scores: NDArray[np.float32], components: NDArray[np.integer[Any]], label: int, box: tuple[slice, ...]
) -> NDArray[np.float32]:
    return np.where(components[box] == label, scores[box], np.float32(-1.0))


def _measure(
    masked: NDArray[np.float32], box: tuple[slice, ...], volume: Volume, rank: int, volume_ml: float | None
) -> Finding:
    start = np.array([part.start for part in box])
    stop = np.array([part.stop for part in box])
    is_inside = masked >= 0
    voxel_count, total = int(is_inside.sum()), float(masked.sum(dtype=np.float64, where=is_inside))
    centre = start + _centre_of_mass(masked if total > 0 else is_inside, is_inside)
    peak = start + np.array(np.unravel_index(int(masked.argmax()), masked.shape))
    lps = voxel_to_lps(volume, centre) if volume.has_orientation else None
    axis = volume.slice_axis
    return Finding(
        rank=rank,
        label=rank,
        volume_ml=volume_ml,
        voxel_count=voxel_count,
        peak_score=float(masked.max()),
        mean_score=total / voxel_count,
        peak_voxel=_int_triple(peak),
        centre_voxel=_float_triple(centre),
        centre_lps_mm=None if lps is None else _float_triple(lps),
        box_start=_int_triple(start),
        box_stop=_int_triple(stop),
        slice_range=(int(start[axis]), int(stop[axis]) - 1),
    )


def _centre_of_mass(weights: NDArray[Any], is_inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the weighted mean index (x, y, z), from sums along each axis: SciPy's forms products in 64 bits."""
    centre = np.zeros(3)
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        along = weights.sum(axis=others, dtype=np.float64, where=is_inside)
        centre[axis] = np.average(np.arange(len(along)), weights=along)
    return centre


def _int_triple(values: NDArray[np.generic]) -> tuple[int, int, int]:
    x, y, z = (int(value) for value in values)
    return (x, y, z)


def _float_triple(values: NDArray[np.generic]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return (x, y, z)
