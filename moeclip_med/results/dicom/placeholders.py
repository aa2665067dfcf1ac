"""Source headers for highdicom: the geometry of a volume, one single-frame image per slice, and nothing of a patient.

highdicom copies much of the headers that it derives a result from, refuses what it does not like, and quotes values in
its messages. So it never sees a real one. Frames without a place in space get positions while highdicom builds a
segmentation, since it makes one of a single frame only otherwise; every trace of them is taken out again, and frames
are then ordered by their number in the stack (PS3.3, C.7.6.16.2.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from pydicom.valuerep import DSfloat

from moeclip_med.results.dicom.uids import make_uid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from moeclip_transforms import Volume

_ACROSS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_SUBJECT = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)


def make_placeholders(
    volume: Volume, study_uid: str, series_uid: str, frame_of_reference_uid: str, thickness: float
) -> tuple[Dataset, ...]:
    """Make one single-frame header per slice, in the order of the volume.

    Args:
        volume: Gives size and geometry; without a place in space, frames lie 1 mm apart.
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID.
        frame_of_reference_uid: FrameOfReferenceUID.
        thickness: Slice thickness, mm.
    """
    x, y, z = volume.shape
    spacing_x, spacing_y, _ = volume.affine.spacing
    if volume.has_orientation and volume.frame_geometry:
        first = volume.frame_geometry[0]  # the reader made sure that all slices share one direction
        direction: Sequence[float] = (*first.row_direction, *first.column_direction)
        positions: list[Sequence[float]] = [frame.position for frame in volume.frame_geometry]
    else:
        spacing_x = spacing_y = thickness = 1.0
        direction, positions = _ACROSS, [(0.0, 0.0, float(index)) for index in range(z)]
    made = []
    for index, position in enumerate(positions):
        header = Dataset()
        header.SOPClassUID = CTImageStorage
        header.SOPInstanceUID = make_uid("placeholder", series_uid, str(index))
        header.StudyInstanceUID, header.SeriesInstanceUID = study_uid, series_uid
        header.FrameOfReferenceUID, header.PositionReferenceIndicator = frame_of_reference_uid, None
        header.Rows, header.Columns, header.Modality = y, x, "OT"
        header.ImagePositionPatient, header.ImageOrientationPatient = decimals(position), decimals(direction)
        header.PixelSpacing, header.SliceThickness = decimals((spacing_y, spacing_x)), decimals((thickness,))[0]
        for keyword in _SUBJECT:
            setattr(header, keyword, None)
        made.append(header)
    return tuple(made)


def decimals(values: Iterable[float]) -> list[DSfloat]:
    """Return numbers as decimal strings of at most 16 characters (PS3.5, 6.2)."""
    return [DSfloat(float(value), auto_format=True) for value in values]


def take_out_positions(result: Dataset) -> None:
    """Remove made-up positions from a result, and order its frames by their number in the stack instead.

    Args:
        result: What highdicom made from placeholders of frames without a place in space.
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
