"""One record per DICOM frame with all that tells where it belongs, alike from single-frame and enhanced files."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moeclip_transforms.dicom_header import all_numbers, first_item, items, number, numbers, text, value_of
from moeclip_transforms.dicom_place import PixelSize, Place, pixel_size, place_of
from moeclip_transforms.dicom_traits import CONTENT, TRAIT_KEYWORDS, TRAITS, group_trait, top_trait
from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydicom import Dataset

    from moeclip_transforms.dicom_traits import TraitValue

_MAX_FRAMES = 100_000
_MAX_SIZE = 65_535
_SPATIAL_POINTERS = frozenset([
    0x00200032,  # Image Position (Patient)
    0x00201041,  # Slice Location
    0x00209056,  # Stack ID, which is a trait of its own
    0x00209057,  # In-Stack Position Number
    0x00209301,  # Image Position (Volume)
])  # fmt: skip
_NM_VECTORS = ("EnergyWindowVector", "PhaseVector", "RRIntervalVector", "TimeSlotVector", "TimeSliceVector")


FRAME_KEYWORDS: tuple[str | int, ...] = (
    "SOPClassUID", "SOPInstanceUID", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "InstanceNumber",
    "ImageType", "ComplexImageComponent", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "DimensionIndexSequence", "ConcatenationUID", "InConcatenationNumber", *_NM_VECTORS,
    *TRAIT_KEYWORDS,
    "AcquisitionDate", "ContentDate", 0x00190010, 0x20010010, 0x00650010, 0x20050010, 0x00430010,
)  # fmt: skip

MAGNITUDE = frozenset(["M", "MAGNITUDE"])
PHASE = frozenset(["P", "PHASE", "PHASE MAP", "PHASE_MAP", "VELOCITY", "VELOCITY MAP", "VELOCITY_MAP"])
COMPLEX = frozenset(["I", "IMAGINARY", "R", "REAL"])
FIELD_MAP = frozenset(["B0 MAP", "B0_MAP", "B0MAP", "B1 MAP", "B1_MAP", "FIELD MAP", "FIELD_MAP", "FIELDMAP"])
_CONTRAST_WORDS = MAGNITUDE | PHASE | COMPLEX | FIELD_MAP | frozenset([
    "ADC", "EADC", "F", "FA", "FAT", "GRID", "IN_PHASE", "IP", "LOCALIZER", "MIP", "MOSAIC", "MPR", "OP",
    "OPP_PHASE", "OUT_PHASE", "SCOUT", "TRACEW", "W", "WATER",
])  # fmt: skip
"""The parts of Image Type (0008,0008) that tell images of the same slice apart."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of one file, with what is needed to sort it among others.

    Attributes:
        path: The file.
        number: Zero-based frame number in the file.
        sop_class_uid: SOP Class UID.
        sop_instance_uid: SOP Instance UID.
        group: What the frames of one multi-frame image share: its ConcatenationUID or SOP Instance UID; "" for a
            single-frame file.
        rows: Rows.
        columns: Columns.
        samples: Samples per pixel, 1 or 3.
        position: Image Position (Patient), mm, LPS+, or None.
        orientation: Image Orientation (Patient): row then column direction, LPS+, or None.
        spacing: Distance between rows, between columns, mm, or None.
        thickness: Spacing Between Slices, else Slice Thickness, mm, or None.
        instance: Instance Number, number in the concatenation, frame number: the order of what was written.
        contrast: The parts of Image or Frame Type that make a different image of the same slice.
        dimensions: Dimension Index Values (0020,9157) of the dimensions that are not known to be spatial.
        traits: The values of `TRAITS`.
        notes: What had to be assumed about its place.
        has_size: Whether `spacing` is in mm; else at most the shape of a pixel is known.
    """

    path: Path
    number: int
    sop_class_uid: str
    sop_instance_uid: str
    group: str
    rows: int
    columns: int
    samples: int
    position: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    thickness: float | None
    instance: tuple[int, int, int]
    contrast: frozenset[str]
    dimensions: tuple[float, ...]
    traits: tuple[TraitValue, ...]
    notes: tuple[str, ...] = ()
    has_size: bool = True


NO_IMAGE = Frame(
    path=None, number=0, sop_class_uid="", sop_instance_uid="", group="", rows=0, columns=0, samples=1, position=None,  # type: ignore[arg-type]
    orientation=None, spacing=None, thickness=None, instance=(0, 0, 0), contrast=frozenset(), dimensions=(), traits=(),
)  # fmt: skip
"""What stands for a file that is no image, with its path and UIDs put in."""


def frame_count(path: Path, dataset: Dataset) -> int:
    """Number of Frames (0028,0008), 1 where missing or 0.

    Raises:
        InputError: When it is not a number from 0 to 100 000.
    """
    if not text(dataset, "NumberOfFrames"):
        return 1
    count = number(dataset, "NumberOfFrames")
    if count is None or not 0 <= count <= _MAX_FRAMES or count != int(count):
        raise InputError(
            f'Number of Frames (0028,0008) of "{path.name}" is {text(dataset, "NumberOfFrames")[:20]!r}; '
            f"expected a number from 1 to {_MAX_FRAMES}."
        )
    return int(count) or 1


def frames_of(path: Path, dataset: Dataset) -> list[Frame]:
    """One record per frame of a file; functional groups (PS3.3 C.7.6.16) come before top-level attributes.

    Raises:
        InputError: When the size is missing or the functional groups do not match the number of frames.
    """
    rows, columns = (number(dataset, keyword) or 0 for keyword in ("Rows", "Columns"))
    samples = number(dataset, "SamplesPerPixel") or 1
    if not (0 < rows <= _MAX_SIZE and 0 < columns <= _MAX_SIZE):
        raise InputError(f'"{path.name}" has {columns:g} columns and {rows:g} rows; expected at least one of each.')
    if samples not in (1, 3):
        raise InputError(f'"{path.name}" has {samples:g} samples per pixel; expected 1 (grey) or 3 (colour).')
    count = frame_count(path, dataset)
    shared = first_item(dataset, "SharedFunctionalGroupsSequence")
    per_frame: Sequence[Dataset | None] = items(dataset, "PerFrameFunctionalGroupsSequence") or [None] * count
    if len(per_frame) != count:
        raise InputError(
            f'"{path.name}" declares {count} frames but describes {len(per_frame)} in its functional groups; '
            f"export it again."
        )
    maker = _FrameMaker(path, dataset, shared, (int(rows), int(columns), int(samples)), count)
    return [maker.frame(index, own) for index, own in enumerate(per_frame)]


class _FrameMaker:
    """Makes the frames of one file; what they share is looked up once."""

    def __init__(
        self, path: Path, dataset: Dataset, shared: Dataset | None, size: tuple[int, int, int], count: int
    ) -> None:
        self._path, self._dataset, self._shared, self._size = path, dataset, shared, size
        self._uids = sys.intern(text(dataset, "SOPClassUID")), text(dataset, "SOPInstanceUID")
        own_group = (self._uids[1] or str(path)) if count > 1 else ""
        self._group = sys.intern(text(dataset, "ConcatenationUID") or own_group)
        self._instance = (
            int(number(dataset, "InstanceNumber") or 0), int(number(dataset, "InConcatenationNumber") or 0),
        )  # fmt: skip
        self._top_traits = tuple(top_trait(dataset, trait) for trait in TRAITS)
        self._contrast = _contrast(dataset)
        self._place = place_of(dataset, count)
        self._pixel_size = pixel_size(dataset)
        self._spatial = tuple(
            value_of(item, "DimensionIndexPointer") in _SPATIAL_POINTERS
            for item in items(dataset, "DimensionIndexSequence")
        )
        slices = all_numbers(dataset, "SliceVector")
        self._slices = slices if len(slices) == count else tuple(range(1, count + 1))
        vectors = [all_numbers(dataset, keyword) for keyword in _NM_VECTORS]
        self._vectors = [vector for vector in vectors if len(vector) == count]

    def frame(self, index: int, own: Dataset | None) -> Frame:
        groups = [group for group in (own, self._shared) if group is not None]
        place, notes = self._placed(index, groups)
        spacing = next((found for group in groups if (found := _macro_numbers(group, *_SPACING))), None)
        if spacing is not None and min(spacing) > 0:
            size: PixelSize | None = PixelSize(spacing[0], spacing[1])
        else:
            size = self._pixel_size
        notes = (*notes, size.note) if size is not None and size.note else notes
        return Frame(
            path=self._path,
            number=index,
            sop_class_uid=self._uids[0],
            sop_instance_uid=self._uids[1],
            group=self._group,
            rows=self._size[0],
            columns=self._size[1],
            samples=self._size[2],
            position=place.position,
            orientation=place.orientation,
            spacing=None if size is None else (size.rows, size.columns),
            thickness=place.thickness,
            instance=(*self._instance, index),
            contrast=next((one for group in groups if (one := _frame_contrast(group))), self._contrast),
            dimensions=self._dimensions(index, groups),
            traits=self._traits(groups),
            notes=notes,
            has_size=size is not None and size.is_length,
        )

    def _placed(self, index: int, groups: Sequence[Dataset]) -> tuple[Place, tuple[str, ...]]:
        top = self._place
        thickness = next((abs(found[0]) for key in _THICKNESS for group in groups
                          if (found := _macro_numbers(group, *key)) and found[0]), top.thickness)  # fmt: skip
        position = next(
            (found for key in _POSITIONS for group in groups if (found := _macro_numbers(group, *key))), None
        )
        orientation = next(
            (found for key in _ORIENTATIONS for group in groups if (found := _macro_numbers(group, *key))),
            top.orientation,
        )
        if position is not None:
            is_probe = any(_macro_numbers(group, *_POSITIONS[1]) for group in groups)
            return Place((position[0], position[1], position[2]), orientation, thickness), (_PROBE_NOTE,) * is_probe
        if top.position is None or top.step is None:
            return Place(top.position, orientation, thickness), ()
        steps = self._slices[index] - 1
        moved = tuple(start + steps * step for start, step in zip(top.position, top.step, strict=True))
        return Place((moved[0], moved[1], moved[2]), orientation, thickness), (top.note,) if top.note else ()

    def _dimensions(self, index: int, groups: Sequence[Dataset]) -> tuple[float, ...]:
        content = next((item for group in groups if (item := first_item(group, CONTENT)) is not None), None)
        values = () if content is None else all_numbers(content, "DimensionIndexValues")
        is_spatial = self._spatial if len(self._spatial) == len(values) else (False,) * len(values)
        kept = [value for value, spatial in zip(values, is_spatial, strict=True) if not spatial]
        return (*kept, *(vector[index] for vector in self._vectors))

    def _traits(self, groups: Sequence[Dataset]) -> tuple[TraitValue, ...]:
        if not groups:
            return self._top_traits
        return tuple(group_trait(groups, trait, top) for trait, top in zip(TRAITS, self._top_traits, strict=True))


_SPACING = "PixelMeasuresSequence", "PixelSpacing", 2
_THICKNESS = (("PixelMeasuresSequence", "SpacingBetweenSlices", 1), ("PixelMeasuresSequence", "SliceThickness", 1))
_POSITIONS = (
    ("PlanePositionSequence", "ImagePositionPatient", 3),
    ("PlanePositionVolumeSequence", "ImagePositionVolume", 3),
)
_ORIENTATIONS = (
    ("PlaneOrientationSequence", "ImageOrientationPatient", 6),
    ("PlaneOrientationVolumeSequence", "ImageOrientationVolume", 6),
)
_PROBE_NOTE = (
    "Positions are in the frame of reference of the ultrasound volume, not of the patient: R, L and the other letters "
    "do not hold."
)
_FRAME_TYPES = (
    "MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence", "USImageDescriptionSequence",
    "XAXRFFrameCharacteristicsSequence",
)  # fmt: skip


def _macro_numbers(group: Dataset, macro: str, keyword: str, count: int) -> tuple[float, ...] | None:
    item = first_item(group, macro)
    return None if item is None else numbers(item, keyword, count)


def _contrast(dataset: Dataset) -> frozenset[str]:
    """From values 3 and on of Image Type, and Complex Image Component."""
    parts = frozenset(part.strip() for part in text(dataset, "ImageType").upper().split("\\")[2:])
    component = text(dataset, "ComplexImageComponent").upper()
    return _CONTRAST_WORDS & (parts | {component} if component else parts)


def _frame_contrast(group: Dataset) -> frozenset[str]:
    for keyword in _FRAME_TYPES:
        item = first_item(group, keyword)
        if item is not None:
            parts = frozenset(part.strip() for part in text(item, "FrameType").upper().split("\\")[2:])
            component = text(item, "ComplexImageComponent").upper()
            return _CONTRAST_WORDS & (parts | {component} if component else parts)
    return frozenset()
