"""Where the frames of a DICOM file lie: pixel spacing from whichever attribute gives it, positions, directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeclip_transforms.dicom_header import all_numbers, first_item, items, number, numbers, text, words

if TYPE_CHECKING:
    from pydicom import Dataset

    Vector = tuple[float, float, float]

CROSS_SECTIONAL = frozenset(["CT", "MR", "PT", "NM"])

SPACING_KEYWORDS = (
    "PixelSpacing", "ImagerPixelSpacing", "EstimatedRadiographicMagnificationFactor", "NominalScannedPixelSpacing",
    "PixelAspectRatio", "SequenceOfUltrasoundRegions",
)  # fmt: skip
PLACE_KEYWORDS = (
    "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "SpacingBetweenSlices", "FrameTime",
    "FrameTimeVector", "CineRate", "DetectorInformationSequence", "SliceVector",
)  # fmt: skip

_TOMOGRAPHY = frozenset(["RECON TOMO", "RECON GATED TOMO"])
_CENTIMETRES, _TWO_DIMENSIONAL = 3.0, 1.0
_CM_TO_MM = 10.0


@dataclass(frozen=True, slots=True)
class PixelSize:
    """The distance between pixels.

    Attributes:
        rows: Between rows, mm.
        columns: Between columns, mm.
        note: Where it comes from, one sentence; "" for Pixel Spacing itself.
        is_length: Whether it is in mm; else it is the shape of a pixel alone, its shorter side 1.
    """

    rows: float
    columns: float
    note: str = ""
    is_length: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """Where frames lie that have no place of their own.

    Attributes:
        position: Image Position (Patient) of the first frame, mm, LPS+, or None.
        orientation: Image Orientation (Patient): row then column direction, LPS+, or None.
        thickness: Spacing Between Slices, else Slice Thickness, mm, or None.
        step: From frame to frame of one file, mm, LPS+; None where the frames share their place.
        note: What had to be assumed; "" for nothing.
    """

    position: Vector | None
    orientation: tuple[float, ...] | None
    thickness: float | None
    step: Vector | None = None
    note: str = ""


def pixel_size(dataset: Dataset) -> PixelSize | None:
    """The size of a file's pixels, from the first of what PS3.3 10.7 provides: calibrated before measured elsewhere."""
    if found := _pair(numbers(dataset, "PixelSpacing", 2)):
        return PixelSize(*found)
    if found := _pair(numbers(dataset, "ImagerPixelSpacing", 2)):
        factor = number(dataset, "EstimatedRadiographicMagnificationFactor")
        if factor is not None and factor > 0:
            note = f"Pixel size from Imager Pixel Spacing (0018,1164), divided by the magnification of {factor:g}."
            return PixelSize(found[0] / factor, found[1] / factor, note)
        note = (
            "Pixel size from Imager Pixel Spacing (0018,1164), which holds at the detector: "
            "the patient's parts are smaller than measured."
        )
        return PixelSize(*found, note)
    if found := _pair(numbers(dataset, "NominalScannedPixelSpacing", 2)):
        note = "Pixel size from Nominal Scanned Pixel Spacing (0018,2010): that of the film, not of the patient."
        return PixelSize(*found, note)
    return _ultrasound_size(dataset) or _aspect(dataset)


def place_of(dataset: Dataset, count: int) -> Place:
    """Where a file's frames lie, from its top level (PS3.3 C.7.6.2) or the detector's (NM, C.8.4.11).

    Args:
        dataset: The header.
        count: Number of frames.
    """
    position, orientation = numbers(dataset, "ImagePositionPatient", 3), numbers(dataset, "ImageOrientationPatient", 6)
    between, thickness = number(dataset, "SpacingBetweenSlices"), number(dataset, "SliceThickness")
    is_tomography = text(dataset, "Modality") == "NM" and not words(dataset, "ImageType").isdisjoint(_TOMOGRAPHY)
    if is_tomography and position is None:
        detector = first_item(dataset, "DetectorInformationSequence")
        if detector is not None:
            position = numbers(detector, "ImagePositionPatient", 3)
            orientation = orientation or numbers(detector, "ImageOrientationPatient", 6)
    first = None if position is None else (position[0], position[1], position[2])
    distance = next((abs(value) for value in (between, thickness) if value), None)
    if count == 1 or first is None or orientation is None:
        return Place(first, orientation, distance)
    has_rate = any(all_numbers(dataset, keyword) for keyword in ("FrameTime", "FrameTimeVector", "CineRate"))
    if has_rate or distance is None:
        return Place(None, None, distance)
    # The sign of Spacing Between Slices tells on which side of the first slice the others lie (PS3.3 C.8.4.15).
    signed = between if is_tomography and between else distance
    normal = np.cross(orientation[:3], orientation[3:])
    step = (float(normal[0] * signed), float(normal[1] * signed), float(normal[2] * signed))
    note = (
        ""
        if is_tomography
        else (
            f"The header gives one position for all {count} frames; they are taken for slices {distance:g} mm apart "
            f"along their normal."
        )
    )
    return Place(first, orientation, distance, step, note)


def _pair(found: tuple[float, ...] | None) -> tuple[float, float] | None:
    return (found[0], found[1]) if found is not None and min(found) > 0 else None


def _ultrasound_size(dataset: Dataset) -> PixelSize | None:
    """That of the largest two-dimensional region (PS3.3 C.8.5.5)."""
    best: tuple[float, PixelSize] | None = None
    for region in items(dataset, "SequenceOfUltrasoundRegions"):
        units = {number(region, f"PhysicalUnits{axis}Direction") for axis in "XY"}
        across, down = number(region, "PhysicalDeltaX"), number(region, "PhysicalDeltaY")
        corners = [number(region, f"RegionLocation{corner}") for corner in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
        if units != {_CENTIMETRES} or not across or not down or None in corners:
            continue
        if number(region, "RegionSpatialFormat") not in (_TWO_DIMENSIONAL, None):
            continue
        left, top, right, bottom = (float(corner or 0.0) for corner in corners)
        area = (right - left) * (bottom - top)
        if best is None or area > best[0]:
            note = "Pixel size from the largest region in Sequence of Ultrasound Regions (0018,6011)."
            best = area, PixelSize(abs(down) * _CM_TO_MM, abs(across) * _CM_TO_MM, note)
    return None if best is None else best[1]


def _aspect(dataset: Dataset) -> PixelSize | None:
    found = _pair(numbers(dataset, "PixelAspectRatio", 2))
    if found is None or found[0] == found[1]:
        return None
    smaller = min(found)
    note = "Shape of the pixels from Pixel Aspect Ratio (0028,0034); their size is unknown: lengths in mm are not true."
    return PixelSize(found[0] / smaller, found[1] / smaller, note, is_length=False)
