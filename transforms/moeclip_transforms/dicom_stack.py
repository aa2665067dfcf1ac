"""Frames put in order: split into stacks, into time points, and checked for geometry."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeclip_transforms.errors import InputError
from moeclip_transforms.geometry import RAS_FROM_LPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from moeclip_transforms.dicom_header import Frame

SAME_POSITION_MM = 0.01
_SAME_DIRECTION = 5e-3
_GAP_TOLERANCE = 0.01
_GAP_TOLERANCE_MM = 0.01
_LINE_TOLERANCE_MM = 0.1
_TILT_TOLERANCE_DEGREES = 0.1
_UNIT_TOLERANCE = 0.01
_MAX_SHARE_LOST = 0.1


@dataclass(frozen=True)
class StackGeometry:
    """Where a sorted stack lies.

    Attributes:
        affine: 4x4 voxel (column, row, slice) to world, mm, RAS+; the best fit where `is_regular` is False.
        has_orientation: False where the headers hold no position: the affine is then pixel spacing only.
        is_regular: Whether the affine puts every slice exactly in its place.
        notes: What was found.
    """

    affine: NDArray[np.float64]
    has_orientation: bool
    is_regular: bool
    notes: tuple[str, ...] = ()


def split_stacks(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Split the frames of a series into stacks of one size, orientation and contrast (magnitude, phase, ...)."""
    stacks: dict[tuple[object, ...], list[Frame]] = defaultdict(list)
    directions: list[NDArray[np.float64]] = []
    for frame in frames:
        direction = _direction_number(frame, directions)
        spacing = None if frame.spacing is None else tuple(round(value, 3) for value in frame.spacing)
        size = (frame.rows, frame.columns, frame.samples, spacing)
        key = (frame.sop_class_uid, size, frame.contrast, direction, frame.position is not None)
        stacks[key].append(frame)
    return sorted(stacks.values(), key=lambda stack: (min(frame.order[-1] for frame in stack), -len(stack)))


def without_copies(frames: Sequence[Frame]) -> tuple[list[Frame], tuple[str, ...]]:
    """Drop files that are there twice (same SOP Instance UID)."""
    unique = {(frame.sop_instance_uid or str(frame.path), frame.number): frame for frame in reversed(frames)}
    kept = [frame for frame in frames if unique[frame.sop_instance_uid or str(frame.path), frame.number] is frame]
    n_copies = len(frames) - len(kept)
    notes = (f"{n_copies} slices are there more than once (same SOP Instance UID); one copy is used.",)
    return kept, notes if n_copies else ()


def time_points(frames: Sequence[Frame]) -> tuple[list[list[Frame]], tuple[str, ...]]:
    """Sort a stack by position along the slice normal, and split what was acquired repeatedly into time points.

    A time point is a temporal position, echo, b-value, cardiac phase or acquisition, whatever the headers tell apart.

    Returns:
        One list of frames per time point, sorted by position, and notes.

    Raises:
        InputError: When slices lie at the same position and nothing says which belong together.
    """
    if frames[0].position is None or frames[0].orientation is None:
        return [sorted(frames, key=lambda frame: (frame.instance_number, frame.order, frame.number))], ()
    places = _places(frames)
    counts = Counter(len(place) for place in places)
    if len(counts) == 1:
        return [list(stack) for stack in zip(*places, strict=True)], ()
    n_frames = len(frames)
    n_complete = min(counts)
    by_tag = _by_one_attribute(frames, len(places))
    if by_tag:
        n_left = n_frames - sum(len(stack) for stack in by_tag)
        note = f"{n_left} slices belong to time points that are incomplete; they are left out."
        return by_tag, (note,) if n_left else ()
    n_extra = n_frames - n_complete * len(places)
    if n_complete == 1 and n_extra <= _MAX_SHARE_LOST * n_frames:
        lie = "slice lies" if n_extra == 1 else "slices lie"
        note = f"{n_extra} {lie} at the position of another slice; the first of each is used."
        return [[place[0] for place in places]], (note,)
    msg = (
        f"This series has {n_complete} to {max(counts)} slices at the same position and nothing in their headers "
        f"says which belong together; export its time points as separate series."
    )
    raise InputError(msg)


def check_geometry(frames: Sequence[Frame]) -> StackGeometry:
    """Find where a stack sorted by `time_points` lies, and what is wrong with it (PS3.3 C.7.6.2).

    Raises:
        InputError: When the orientation is not two perpendicular unit vectors.
    """
    first = frames[0]
    if first.position is None or first.orientation is None or first.spacing is None:
        return _without_orientation(frames)
    row, column, normal = _axes(first)
    positions = np.array([frame.position for frame in frames])
    notes: list[str] = []
    step, origin, is_regular = _step(frames, positions, normal, notes)
    lps = np.eye(4)
    lps[:3, 0] = row * first.spacing[1]
    lps[:3, 1] = column * first.spacing[0]
    lps[:3, 2] = step
    lps[:3, 3] = origin
    return StackGeometry(RAS_FROM_LPS @ lps, has_orientation=True, is_regular=is_regular, notes=tuple(notes))


def _direction_number(frame: Frame, directions: list[NDArray[np.float64]]) -> int:
    """The number of the direction that a frame shares with earlier ones, to within 0.3 degrees; -1 for none."""
    if frame.orientation is None:
        return -1
    own = np.array(frame.orientation)
    for index, direction in enumerate(directions):
        if np.abs(own - direction).max() < _SAME_DIRECTION:
            return index
    directions.append(own)
    return len(directions) - 1


def _places(frames: Sequence[Frame]) -> list[list[Frame]]:
    """The frames at each position, sorted along the normal, each place sorted by what tells its frames apart."""
    _, _, normal = _axes(frames[0])
    along = np.array([frame.position for frame in frames]) @ normal
    order = np.argsort(along, kind="stable")
    places: list[list[Frame]] = []
    previous = -np.inf
    for index in order:
        if along[index] - previous > SAME_POSITION_MM:
            places.append([])
        places[-1].append(frames[index])
        previous = along[index]
    return [sorted(place, key=lambda frame: (frame.order, frame.number)) for place in places]


def _by_one_attribute(frames: Sequence[Frame], n_places: int) -> list[list[Frame]]:
    """Time points told apart by a single attribute, each with one slice per position; [] if none does it."""
    for rank in range(len(frames[0].order) - 1):
        groups: dict[float, list[Frame]] = defaultdict(list)
        for frame in frames:
            groups[frame.order[rank]].append(frame)
        placed = {value: _places(group) for value, group in groups.items()}
        if len(groups) == 1 or any(len(place) > 1 for places in placed.values() for place in places):
            continue
        complete = [value for value in sorted(groups) if len(placed[value]) == n_places]
        if complete:
            return [[place[0] for place in placed[value]] for value in complete]
    return []


def _axes(frame: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Row direction, column direction and normal of a slice, unit vectors, LPS+."""
    row, column = np.array(frame.orientation).reshape(2, 3)
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(*(abs(length - 1) for length in lengths), abs(row @ column)) > _UNIT_TOLERANCE:
        shown = "\\".join(f"{value:g}" for value in frame.orientation or ())
        msg = (
            f'Image Orientation (0020,0037) of "{frame.path.name}" is {shown}; expected two perpendicular unit '
            f"vectors; export the series again."
        )
        raise InputError(msg)
    row = row / lengths[0]
    column = column - (column @ row) * row
    column /= np.linalg.norm(column)
    return row, column, np.cross(row, column)


def _step(
    frames: Sequence[Frame], positions: NDArray[np.float64], normal: NDArray[np.float64], notes: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """The vector from slice to slice, the first position, and whether all slices follow it."""
    if len(frames) == 1:
        if frames[0].thickness is None:
            notes.append("The header does not say how thick the slice is; 1 mm is taken.")
        return normal * (frames[0].thickness or 1.0), positions[0], True
    gaps = np.diff(positions @ normal)
    step = (positions[-1] - positions[0]) / (len(frames) - 1)
    origin = positions[0]
    is_even = _check_gaps(gaps, notes)
    tilt = float(np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1))))
    if tilt > _TILT_TOLERANCE_DEGREES:
        notes.append(
            f"The slices are tilted by {tilt:.1f}° against the direction in which they were acquired (gantry tilt)."
        )
    index = np.arange(len(frames))
    residual = float(np.linalg.norm(positions - (origin + index[:, None] * step), axis=1).max())
    is_straight = residual <= max(_LINE_TOLERANCE_MM, _GAP_TOLERANCE * float(np.median(gaps)))
    if is_even and not is_straight:
        notes.append(f"The slices do not lie on a straight line: up to {residual:.2f} mm beside it.")
    if not (is_even and is_straight):
        coefficients = np.polyfit(index, positions, 1)
        step, origin = coefficients[0], coefficients[1]
    return step, origin, is_even and is_straight and tilt <= _TILT_TOLERANCE_DEGREES


def _check_gaps(gaps: NDArray[np.float64], notes: list[str]) -> bool:
    """Whether all gaps are alike; if not, say whether slices are missing or unevenly spaced."""
    usual = float(np.median(gaps))
    tolerance = max(_GAP_TOLERANCE_MM, _GAP_TOLERANCE * usual)
    odd = np.flatnonzero(np.abs(gaps - usual) > tolerance)
    if len(odd) == 0:
        return True
    multiples = np.round(gaps[odd] / usual)
    if (multiples > 1).all() and (np.abs(gaps[odd] - multiples * usual) <= tolerance * multiples).all():
        n_missing = int((multiples - 1).sum())
        words = "slice is missing" if n_missing == 1 else "slices are missing"
        where = ", ".join(f"{place + 1} and {place + 2}" for place in odd[:5])
        notes.append(f"{n_missing} {words} (the gap of {usual:.3g} mm is wider between slices {where}).")
        return False
    shown = ", ".join(f"{gap:.3g}" for gap in sorted({round(float(gap), 2) for gap in gaps})[:6])
    notes.append(f"The gaps between the slices are uneven ({shown} mm).")
    return False


def _without_orientation(frames: Sequence[Frame]) -> StackGeometry:
    first = frames[0]
    notes = []
    if first.position is not None and first.orientation is not None:
        notes.append("Pixel Spacing (0028,0030) is missing, so the image cannot be placed in space.")
    row_spacing, column_spacing = first.spacing or (1.0, 1.0)
    affine = np.diag([column_spacing, row_spacing, first.thickness or 1.0, 1.0])
    return StackGeometry(affine, has_orientation=False, is_regular=True, notes=tuple(notes))
