"""Truth and maps as DICOM objects: Segmentation, RT Structure Set, Parametric Map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from moeclip_transforms import Affine
from moeclip_transforms.errors import InputError

from moeclip_med.benchmark.grids import onto_grid

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_transforms import Volume
    from numpy.typing import NDArray
    from pydicom import Dataset

_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
TRUTH_CLASSES = {_SEGMENTATION, _STRUCTURE_SET}
"""SOP classes that hold regions."""

_PREFIX_END = 132
"""Where the preamble and the prefix of a DICOM file end (PS3.10, 7.1)."""

_LARGEST_GAP_VOXELS = 0.5
"""A contour farther than this from every slice belongs to none."""


def is_dicom_truth(path: Path) -> bool:
    """Whether a file is a Segmentation or an RT Structure Set, from its prefix and SOP class."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        if stream.read(_PREFIX_END)[-4:] != b"DICM":
            return False
    try:
        return str(_read(path).SOPClassUID) in TRUTH_CLASSES
    except (InputError, AttributeError):
        return False


def read_dicom_image(path: Path) -> tuple[NDArray[Any], Affine]:
    """Read a Parametric Map or a Segmentation (PS3.3 A.75, A.51).

    Returns:
        (i, j, k) values (of a Segmentation the largest of its segments), and the affine of their grid.

    Raises:
        InputError: If it is another object, or has no place in space.
    """
    from highdicom import imread

    dataset = _read(path)
    if dataset.SOPClassUID not in {_SEGMENTATION, _PARAMETRIC_MAP}:
        raise InputError(f"is a {dataset.SOPClassUID.name}; expected a Parametric Map or a Segmentation")
    if dataset.SOPClassUID == _SEGMENTATION:
        return _segments(path, ())
    try:
        grid = imread(path).get_volume(allow_missing_positions=True)
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"its frames make no volume ({error}); expected frames on parallel planes") from error
    return np.asarray(grid.array), Affine.from_lps(grid.affine)


def read_dicom_truth(path: Path, volume: Volume, labels: tuple[int, ...]) -> tuple[NDArray[np.bool_], str]:
    """Read the regions of a Segmentation or an RT Structure Set on an image's grid.

    Args:
        path: The object.
        volume: The image.
        labels: Numbers of the segments or ROIs that count; empty where all do.

    Returns:
        (x, y, z) True inside, and what was done to get there, "" where nothing was.

    Raises:
        InputError: If it is another object, or does not lie over the image.
    """
    dataset = _read(path)
    if dataset.SOPClassUID == _STRUCTURE_SET:
        return _structures(dataset, volume, labels), ""
    if dataset.SOPClassUID != _SEGMENTATION:
        raise InputError(f"is a {dataset.SOPClassUID.name}; expected a Segmentation or an RT Structure Set")
    values, affine = _segments(path, labels)
    placed, note = onto_grid(values, affine, volume, nearest=True, needs_cover=False)
    return placed > 0, note


def _segments(path: Path, labels: tuple[int, ...]) -> tuple[NDArray[Any], Affine]:
    from highdicom.seg import segread

    segmentation = segread(path)
    known = set(segmentation.segment_numbers)
    missing = sorted(set(labels) - known)
    if missing:
        raise InputError(f"has no segment {', '.join(map(str, missing))}; it has {', '.join(map(str, sorted(known)))}")
    numbers = sorted(labels) if labels else sorted(known)
    try:
        grid = segmentation.get_volume(segment_numbers=numbers, allow_missing_positions=True)
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"its frames make no volume ({error}); expected frames on parallel planes") from error
    values = np.asarray(grid.array)
    return values.max(axis=3) if values.ndim == 4 else values, Affine.from_lps(grid.affine)  # noqa: PLR2004


def _structures(dataset: Dataset, volume: Volume, labels: tuple[int, ...]) -> NDArray[np.bool_]:
    """Fill the closed planar contours of ROIs slice by slice; contours inside others cut holes (PS3.3 C.8.8.6)."""
    from skimage.draw import polygon2mask

    axis = volume.slice_axis
    in_plane = [other for other in range(3) if other != axis]
    mask = np.zeros(volume.shape, dtype=bool)
    drawn = beside = 0
    for roi in dataset.get("ROIContourSequence", ()):
        if labels and int(roi.ReferencedROINumber) not in labels:
            continue
        filled = np.zeros(volume.shape, dtype=bool)
        for contour in roi.get("ContourSequence", ()):
            if contour.ContourGeometricType not in {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}:
                continue
            points = np.asarray(contour.ContourData, dtype=np.float64).reshape(-1, 3)
            places = volume.affine.to_voxel(points * (-1.0, -1.0, 1.0))
            number = round(float(places[:, axis].mean()))
            is_off = float(np.abs(places[:, axis] - number).max()) > _LARGEST_GAP_VOXELS
            if is_off or not 0 <= number < volume.shape[axis]:
                beside += 1
                continue
            plane = np.moveaxis(filled, axis, 0)[number]
            plane ^= polygon2mask(plane.shape, places[:, in_plane])  # type: ignore[no-untyped-call]
            drawn += 1
        mask |= filled
    if not drawn:
        raise InputError(
            f"has no closed contour on a slice of the image ({beside} lie beside); expected contours of this series"
        )
    return mask


def _read(path: Path) -> Dataset:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        return dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError, ValueError) as error:
        raise InputError(f"is no DICOM file that can be read ({type(error).__name__})") from error
