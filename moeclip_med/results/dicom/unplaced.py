"""Segmentations of frames without a place in space: photographs, endoscopy, ultrasound clips.

Such segmentations are allowed (PS3.3, A.51: the frame of reference is conditional), but highdicom makes them for a
single frame only. So frames get stand-in positions while highdicom builds the object, in the order of the volume,
and every trace of them is taken out again: frames are then ordered by their number in the stack (C.7.6.16.2.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

if TYPE_CHECKING:
    from collections.abc import Sequence

_ACROSS = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def add_stand_ins(headers: Sequence[Dataset], frames: int, frame_of_reference_uid: str) -> None:
    """Give headers in memory one position per frame: 1 mm apart.

    Args:
        headers: One single-frame header per slice, or one multi-frame header.
        frames: Number of slices.
        frame_of_reference_uid: Any identifier; it does not stay.
    """
    for index, header in enumerate(headers):
        header.FrameOfReferenceUID = frame_of_reference_uid
        header.ImagePositionPatient = [0.0, 0.0, float(index)]
        header.ImageOrientationPatient = _ACROSS
        header.PixelSpacing = [1.0, 1.0]
        header.SliceThickness = 1.0
    if len(headers) == 1:
        _add_functional_groups(headers[0], frames)


def take_out_stand_ins(result: Dataset) -> None:
    """Remove the positions from a result, and order its frames by their number in the stack instead.

    Args:
        result: What highdicom made from headers with stand-ins.
    """
    for keyword in ("FrameOfReferenceUID", "PositionReferenceIndicator", "DimensionOrganizationType"):
        result.pop(keyword, None)
    shared = result.SharedFunctionalGroupsSequence[0]
    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence", "PlanePositionSequence"):
        shared.pop(keyword, None)
    result.PatientOrientation = []  # unknown (PS3.3, C.7.6.1)
    for item in result.PerFrameFunctionalGroupsSequence:
        item.pop("PlanePositionSequence", None)
        content = item.FrameContentSequence[0]
        content.StackID = "1"
        content.InStackPositionNumber = int(content.DimensionIndexValues[-1])
    by_position = result.DimensionIndexSequence[-1]
    by_position.DimensionIndexPointer = tag_for_keyword("InStackPositionNumber")
    by_position.FunctionalGroupPointer = tag_for_keyword("FrameContentSequence")
    by_position.DimensionDescriptionLabel = "In-Stack Position Number"


def _add_functional_groups(header: Dataset, frames: int) -> None:
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [1.0, 1.0], 1.0
    orientation.ImageOrientationPatient = _ACROSS
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    header.SharedFunctionalGroupsSequence = DicomSequence([shared])
    header.PerFrameFunctionalGroupsSequence = DicomSequence([_place(index) for index in range(frames)])


def _place(index: int) -> Dataset:
    position, item = Dataset(), Dataset()
    position.ImagePositionPatient = [0.0, 0.0, float(index)]
    item.PlanePositionSequence = [position]
    return item
