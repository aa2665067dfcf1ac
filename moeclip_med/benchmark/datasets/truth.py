"""What a mask says is abnormal: the one place where mask values are interpreted.

Masks come as few whole numbers, but also with NaN outside, as JPEG with ringing, with soft edges, with the overshoot
of a spline, as probabilities, or with labels for "not evaluated".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms.errors import InputError
from moeclip_transforms.label_maps import few_whole_numbers
from moeclip_transforms.same_grid import grid_distance

from moeclip_med.benchmark.datasets.boxes import box_mask
from moeclip_med.benchmark.datasets.case import BadCaseError, Fault, Problem
from moeclip_med.benchmark.datasets.dicom_truth import is_dicom_truth, read_dicom_truth
from moeclip_med.benchmark.grids import onto_grid

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_transforms import Volume
    from numpy.typing import NDArray

    from moeclip_med.benchmark.datasets.case import Case, Dataset

_WHOLE = 0.01
"""A value this close to a whole number is that number, stored with a slope."""
_MOST_LABELS, _FEW_LABELS = 256, 16
_LABEL_TOP = 31
"""Up to here whole numbers are class indices: an image of a binary mask spans more."""
_NEAR_END = 1 / 8
_FLAT = 3
_MOST_LESION = 0.9
_VOID = 255


@dataclass(frozen=True)
class Truth:
    """What a mask says.

    Attributes:
        abnormal: True where the lesion is, of the mask's shape.
        ignored: True where it was not evaluated; None where there is no such place.
        remarks: How its values were interpreted, where that was not plain.
        unnamed: Values that neither count as lesion nor were said to be anything else, where lesions were named.
        placed: How it was put onto the image's grid, where it lay on another.
    """

    abnormal: NDArray[np.bool_]
    ignored: NDArray[np.bool_] | None = None
    remarks: tuple[str, ...] = ()
    unnamed: tuple[int, ...] = ()
    placed: str = ""


def interpret(
    values: NDArray[np.float32], lesion_labels: tuple[int, ...] = (), ignore_labels: tuple[int, ...] = ()
) -> Truth:
    """Find the lesion in the values of a mask.

    Not finite is outside. Few whole numbers are labels: all above 0 are lesions, or those named. Anything else is a
    binary mask with soft edges or noise, cut at half its range.

    Args:
        values: (x, y, z).
        lesion_labels: Labels that are lesions; all above 0 if empty.
        ignore_labels: Labels of places that were not evaluated.
    """
    finite = np.isfinite(values)
    rounded = np.rint(np.where(finite, values, 0.0))
    ignored = finite & np.isin(rounded, ignore_labels) if ignore_labels else None
    counted = finite if ignored is None else finite & ~ignored
    if ignored is not None and not ignored.any():
        ignored = None
    if not counted.any():
        return Truth(np.zeros(values.shape, dtype=bool), ignored, ("no value that is a number",))
    inside = values[counted]
    has_span = inside.min() == inside.max() or inside.max() - inside.min() > 0.5  # noqa: PLR2004  tiny numbers are no labels
    is_whole = has_span and bool((np.abs(inside - rounded[counted]) <= _WHOLE).all())
    remarks: list[str] = []
    unnamed: tuple[int, ...] = ()
    if lesion_labels:
        abnormal = counted & np.isin(rounded, lesion_labels)
        unnamed = tuple(int(value) for value in np.unique(rounded[counted & ~abnormal & (rounded != 0)]))
        if not is_whole:
            remarks.append("values are no whole numbers; the nearest label counts")
    elif is_whole and _are_labels(rounded, counted):
        abnormal = counted & (rounded > 0)
        below = np.unique(inside[inside < -_WHOLE])
        if _VOID in rounded[abnormal] and np.unique(rounded[abnormal]).size > 1:
            remarks.append(f"the value {_VOID} counts as lesion; name it with --ignore-labels if it is unknown")
        if len(below):
            remarks.append(f"the value {below[-1]:g} counts as outside; name it with --ignore-labels if it is unknown")
    else:
        abnormal, words = _cut(values, counted)
        remarks += words
    share = np.count_nonzero(abnormal) / abnormal.size
    if share > _MOST_LESION:
        remarks.append(f"{share:.0%} of the image is lesion; is the mask inverted?")
    return Truth(abnormal, ignored, tuple(remarks), unnamed)


def _cut(values: NDArray[np.float32], counted: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], list[str]]:
    inside = values[counted]
    low, high = float(inside.min()), float(inside.max())
    middle = (low + high) / 2
    if low == high:
        return counted & (values > 0), []
    abnormal: NDArray[np.bool_] = counted & (values > middle)
    if np.isin(inside, (low, high)).all():
        return abnormal, []
    return abnormal, [f"values from {low:.3g} to {high:.3g}, not few whole numbers; cut at {middle:.3g}"]


def _are_labels(rounded: NDArray[np.float32], counted: NDArray[np.bool_]) -> bool:
    """Whether whole numbers are labels rather than a binary mask with soft edges or the ringing of JPEG.

    Labels fill areas: a value between the ends of the range with a flat patch of its own is one. Near the ends that is
    not enough, since ringing is flat in places; there, labels are told by an upper end that is a single value.
    """
    levels = np.unique(rounded[counted])
    low, high = float(levels[0]), float(levels[-1])
    if len(levels) <= 2 or high <= _LABEL_TOP:  # noqa: PLR2004
        return not (len(levels) == 2 and low > 0)  # noqa: PLR2004
    if len(levels) > _MOST_LABELS or few_whole_numbers([rounded[counted]]) is None:
        return False
    if len(levels) <= _FEW_LABELS and min(rounded.shape) > 1:  # a volume, whose lesions may be a voxel thin
        return True
    span = high - low
    is_between = (levels > low + _NEAR_END * span) & (levels < high - _NEAR_END * span)
    has_clean_top = np.count_nonzero(levels >= high - _NEAR_END * span) == 1
    wanted = levels[is_between] if not has_clean_top else levels[(levels != low) & (levels != high)]
    return any(_has_flat_patch(rounded == level) for level in wanted)


def _has_flat_patch(is_level: NDArray[np.bool_]) -> bool:
    """Whether a value fills a square of 3 x 3 somewhere in the plane of the two longest axes."""
    from scipy.ndimage import minimum_filter

    sides = [_FLAT if axis in np.argsort(is_level.shape)[-2:] else 1 for axis in range(is_level.ndim)]
    return bool(minimum_filter(is_level, size=sides, mode="constant", cval=0).any())


def read_truth(case: Case, volume: Volume, dataset: Dataset) -> Truth:
    """Read the mask of a case, on the image's grid.

    Raises:
        BadCaseError: If it cannot be read, or lies on another grid.
    """
    assert case.mask is not None  # noqa: S101 - for the type checker; the caller looked
    if case.boxes is not None:
        return Truth(box_mask(case.boxes, volume.shape))
    if is_dicom_truth(case.mask):
        try:
            drawn, note = read_dicom_truth(case.mask, volume, dataset.lesion_labels)
        except InputError as error:
            raise BadCaseError(Problem(Fault.MASK_UNREADABLE, case.key, str(error))) from error
        return Truth(drawn, placed=note)
    labels = _read(case.mask, case.key)
    values = labels.array.max(axis=0)
    if values.shape != volume.shape and not dataset.is_volumes:
        values = _turned_as(values, volume, case)
    if values.shape != volume.shape and labels.has_orientation and volume.has_orientation:
        return _resampled(values, labels, volume, case, dataset)
    if values.shape != volume.shape:
        found = f"image {_times(volume.shape)}, mask {_times(values.shape)}"
        raise BadCaseError(Problem(Fault.MASK_SIZE, case.key, found))
    remarks: tuple[str, ...] = ()
    if labels.has_orientation and volume.has_orientation:
        distance = grid_distance(volume.affine, labels.affine, volume.shape)
        if not distance.is_same:
            raise BadCaseError(Problem(Fault.MASK_GRID, case.key, f"corners up to {distance}"))
    elif dataset.is_volumes and labels.has_orientation != volume.has_orientation:
        remarks = ("only one of image and mask says where the patient is; they are taken for one grid",)
    truth = interpret(values, dataset.lesion_labels, dataset.ignore_labels)
    return replace(truth, remarks=remarks + truth.remarks)


def _resampled(values: NDArray[np.float32], labels: Volume, volume: Volume, case: Case, dataset: Dataset) -> Truth:
    """Interpret a mask on its own grid, and put what it says onto the image's grid of the same space."""
    truth = interpret(values, dataset.lesion_labels, dataset.ignore_labels)
    try:
        abnormal, note = onto_grid(truth.abnormal, labels.affine, volume, nearest=True)
        ignored = (
            None if truth.ignored is None else onto_grid(truth.ignored, labels.affine, volume, nearest=True)[0] > 0
        )
    except InputError as error:
        raise BadCaseError(Problem(Fault.MASK_GRID, case.key, str(error))) from error
    return replace(truth, abnormal=abnormal > 0, ignored=ignored, placed=note)


def _read(path: Path, key: str) -> Volume:
    from moeclip_transforms.discovery import scan
    from moeclip_transforms.source import read_series

    found = scan([path])
    if not found.series:
        reason = found.unreadable[0][1] if found.unreadable else f'"{path.name}" is no image.'
        raise BadCaseError(Problem(Fault.MASK_UNREADABLE, key, reason))
    try:
        return read_series(found.series[0])
    except (InputError, OSError) as error:
        raise BadCaseError(Problem(Fault.MASK_UNREADABLE, key, str(error))) from error


def _turned_as(values: NDArray[np.float32], volume: Volume, case: Case) -> NDArray[np.float32]:
    """A mask that was drawn on the photograph as stored, turned as the photograph was."""
    from moeclip_transforms.images import picture_facts
    from moeclip_transforms.pictures import turn_upright

    if volume.shape[::-1][1:] != values.shape[:2]:
        return values
    with case.image.open("rb") as file:
        orientation = picture_facts(file, case.image).orientation
    return turn_upright(values.transpose(2, 1, 0), orientation).transpose(2, 1, 0)


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape[:2] if shape[2] == 1 else shape))
