"""The headers of the source frames, made ready to be cited.

Real headers lack attributes that must be in a result, repeat an orientation with rounding noise, or hold more frames
than were scored. That is settled here, on headers in memory, so that everything after can rely on highdicom's rules:
one orientation, one entry per slice, in the order of the volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom.sequence import Sequence as DicomSequence
from pydicom.valuerep import DSfloat

from moeclip_med.results.dicom.refusal import UncitableError
from moeclip_med.results.dicom.unplaced import add_stand_ins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeclip_transforms import Volume
    from pydicom.dataset import Dataset

    from moeclip_med.results.dicom.identity import Identity

_MAY_BE_EMPTY = (
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
"""Type 2 attributes of the patient and study modules (PS3.3, C.7.1.1 and C.7.2.1): present, perhaps empty."""

_SAME_DIRECTION = 1e-3
"""Largest difference of direction cosines that is rounding noise; the reader checked the geometry already."""


@dataclass(frozen=True)
class Sources:
    """Headers to derive results from.

    Attributes:
        datasets: One header per slice in the order of the volume, or a single multi-frame header.
        frame_numbers: For a multi-frame header, the 1-based number in the file of each slice; else None.
        has_position: Whether frames have a place in space; False for photographs and clips.
    """

    datasets: tuple[Dataset, ...]
    frame_numbers: tuple[int, ...] | None
    has_position: bool

    @property
    def first(self) -> Dataset:
        """The header that patient and study are taken from."""
        return self.datasets[0]

    def dataset_of(self, index: int) -> Dataset:
        """The header that a slice lies in."""
        return self.datasets[0 if self.frame_numbers else index]


def load_sources(volume: Volume, identity: Identity) -> Sources:
    """Read the headers of a volume's frames.

    Args:
        volume: A volume read from DICOM.
        identity: Names a frame of reference where the source has none.

    Raises:
        UncitableError: Where the slices lie in several multi-frame files.
    """
    paths = list(dict.fromkeys(frame.path for frame in volume.frames))
    headers = [
        pydicom.dcmread(BytesIO(header), stop_before_pixels=True, force=True) for header in volume.source.headers
    ]
    for header in headers:
        _complete(header, identity)
    has_position = volume.has_orientation and bool(volume.frame_geometry)
    if len(paths) == len(volume.frames) and not _is_multi_frame(headers[0]):
        _same_orientation(headers)
        if not has_position:
            add_stand_ins(headers, len(headers), identity.frame_of_reference_uid(volume.series.uid))
        elif len(headers) > 1:
            _thickness(headers, volume)
        return Sources(tuple(headers), None, has_position)
    if len(paths) > 1:
        msg = (
            f"{paths[0].name}: the slices lie in {len(paths)} multi-frame files, but a DICOM result can cite frames of "
            "one only; leave the DICOM results out for this series."
        )
        raise UncitableError(msg)
    _keep_frames(headers[0], [frame.frame for frame in volume.frames])
    if not has_position:
        add_stand_ins(headers, len(volume.frames), identity.frame_of_reference_uid(volume.series.uid))
    return Sources((headers[0],), tuple(frame.frame + 1 for frame in volume.frames), has_position)


def _is_multi_frame(header: Dataset) -> bool:
    return "PerFrameFunctionalGroupsSequence" in header or int(header.get("NumberOfFrames") or 1) > 1


def _complete(header: Dataset, identity: Identity) -> None:
    """Add what a result must have and this header lacks."""
    for keyword in _MAY_BE_EMPTY:
        if keyword not in header:
            setattr(header, keyword, None)
    if "ImagePositionPatient" in header and "FrameOfReferenceUID" not in header:
        header.FrameOfReferenceUID = identity.frame_of_reference_uid(str(header.SeriesInstanceUID))


def _same_orientation(headers: Sequence[Dataset]) -> None:
    """Give all slices the first one's direction cosines where they differ by rounding only."""
    first = headers[0].get("ImageOrientationPatient")
    if first is None:
        return
    for header in headers[1:]:
        own = header.get("ImageOrientationPatient")
        if own is not None and np.abs(np.asarray(own, float) - np.asarray(first, float)).max() < _SAME_DIRECTION:
            header.ImageOrientationPatient = first


def _thickness(headers: Sequence[Dataset], volume: Volume) -> None:
    """Give slices that name no thickness the distance to their neighbour, which a result must state (C.7.6.16.2.1)."""
    distance = volume.affine.spacing[2]
    for header in headers:
        if header.get("SliceThickness") is None:
            header.SliceThickness = DSfloat(distance, auto_format=True)


def _keep_frames(header: Dataset, frames: list[int]) -> None:
    """Leave only some frames in a multi-frame header, in this order, with what they share in one place."""
    header.NumberOfFrames = len(frames)
    per_frame = header.get("PerFrameFunctionalGroupsSequence")
    if not per_frame:
        return
    header.PerFrameFunctionalGroupsSequence = DicomSequence([per_frame[frame] for frame in frames])
    shared = header.SharedFunctionalGroupsSequence[0]
    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        if keyword not in shared:
            _share(header, shared, keyword)


def _share(header: Dataset, shared: Dataset, keyword: str) -> None:
    """Move a functional group that all frames repeat to the shared ones."""
    groups: list[Any] = [item.get(keyword) for item in header.PerFrameFunctionalGroupsSequence]
    if all(groups):
        setattr(shared, keyword, groups[0])
