"""Where a sorted stack of DICOM slices lies, and whether one affine puts every slice in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeclip_transforms.errors import InputError
from moeclip_transforms.geometry import RAS_FROM_LPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from moeclip_transforms.dicom_frame import Frame

_GAP_TOLERANCE = 0.01
_GAP_TOLERANCE_MM = 0.01
_GAP_TOLERANCE_SMALL = 0.25
"""The tolerance in mm is for rounded positions; slices 0.006 mm apart (OCT) are held to a quarter of their gap."""
_LINE_TOLERANCE_MM = 0.1
_TILT_TOLERANCE_DEGREES = 0.1
_UNIT_TOLERANCE = 0.01


@dataclass(frozen=True)
class StackGeometry:
    """Where a sorted stack lies.

    Attributes:
        affine: 4x4 voxel (column, row, slice) to world, mm, RAS+; the best fit where `is_regular` is False.
        has_orientation: False where the headers hold no position: the affine is then pixel spacing only.
        is_regular: Whether the affine puts every slice exactly in its place.
        has_voxel_size: Whether the headers tell the size of a voxel along all three axes, in mm.
        notes: What was found.
    """

    affine: NDArray[np.float64]
    has_orientation: bool
    is_regular: bool
    has_voxel_size: bool
    notes: tuple[str, ...] = ()


def check_geometry(frames: Sequence[Frame]) -> StackGeometry:
    """Find where a volume's frames, sorted by position, lie, and what is wrong with it (PS3.3 C.7.6.2).

    Raises:
        InputError: When the orientation is not two perpendicular unit vectors.
    """
    first = frames[0]
    if first.position is None or first.orientation is None or first.spacing is None or not first.has_size:
        return _without_orientation(frames)
    row, column, normal = axes(first)
    positions = np.array([frame.position for frame in frames])
    notes: list[str] = []
    step, origin, is_regular = _step(frames, positions, normal, notes)
    lps = np.eye(4)
    lps[:3, 0] = row * first.spacing[1]
    lps[:3, 1] = column * first.spacing[0]
    lps[:3, 2] = step
    lps[:3, 3] = origin
    return StackGeometry(
        RAS_FROM_LPS @ lps, has_orientation=True, is_regular=is_regular, has_voxel_size=True, notes=tuple(notes)
    )


def axes(frame: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Row direction, column direction and normal of a slice, unit vectors, LPS+.

    Raises:
        InputError: When they are not two perpendicular unit vectors.
    """
    row, column = np.array(frame.orientation).reshape(2, 3)
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(*(abs(length - 1) for length in lengths), abs(row @ column)) > _UNIT_TOLERANCE:
        shown = "\\".join(f"{value:g}" for value in frame.orientation or ())
        raise InputError(
            f'Image Orientation (0020,0037) of "{frame.path.name}" is {shown}; expected two perpendicular unit '
            f"vectors; export the series again."
        )
    row = row / lengths[0]
    column = column - (column @ row) * row
    column /= np.linalg.norm(column)
    return row, column, np.cross(row, column)


def along_normal(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """Where each frame lies along the normal of the first, mm.

    Raises:
        InputError: When the orientation is not two perpendicular unit vectors.
    """
    distances: NDArray[np.float64] = np.array([frame.position for frame in frames]) @ axes(frames[0])[2]
    return distances


def uneven(gaps: NDArray[np.float64]) -> NDArray[np.intp]:
    """The indices of the gaps that differ from the median gap by more than rounding."""
    usual = float(np.median(gaps))
    return np.flatnonzero(np.abs(gaps - usual) > _gap_tolerance(usual))


def _gap_tolerance(usual: float) -> float:
    return max(_GAP_TOLERANCE * usual, min(_GAP_TOLERANCE_MM, _GAP_TOLERANCE_SMALL * usual))


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
    odd = uneven(gaps)
    if len(odd) == 0:
        return True
    usual = float(np.median(gaps))
    multiples = np.round(gaps[odd] / usual)
    if (multiples > 1).all() and (np.abs(gaps[odd] - multiples * usual) <= _gap_tolerance(usual) * multiples).all():
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
    has_voxel_size = first.has_size and first.thickness is not None
    return StackGeometry(
        affine, has_orientation=False, is_regular=True, has_voxel_size=has_voxel_size, notes=tuple(notes)
    )
