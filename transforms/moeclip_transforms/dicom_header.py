"""DICOM headers without pixels: one record per frame, read the same from single-frame and enhanced files."""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.errors import BytesLengthException, InvalidDicomError

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydicom import Dataset

HEADER_KEYWORDS = [
    "AcquisitionNumber", "AcquisitionTime", "BitsAllocated", "BitsStored", "BodyPartExamined", "CineRate", "Columns",
    "ContentTime", "ConvolutionKernel", "DiffusionBValue", "EchoNumbers", "EchoTime", "FrameTime", "FrameTimeVector",
    "ImageOrientationPatient", "ImagePositionPatient", "ImageType", "ImagerPixelSpacing", "InstanceNumber",
    "Manufacturer", "Modality", "NumberOfFrames", "PerFrameFunctionalGroupsSequence", "PhotometricInterpretation",
    "PixelAspectRatio", "PixelRepresentation", "PixelSpacing", "ProtocolName", "RescaleIntercept", "RescaleSlope",
    "Rows", "SOPClassUID", "SOPInstanceUID", "SamplesPerPixel", "SeriesDescription", "SeriesInstanceUID",
    "SharedFunctionalGroupsSequence", "SliceThickness", "SpacingBetweenSlices", "StudyDescription",
    "StudyInstanceUID", "TemporalPositionIdentifier", "TriggerTime",
]  # fmt: skip
"""All that a scan reads of a file. No name, no patient ID."""

DAMAGED = (
    ArithmeticError, AttributeError, BytesLengthException, EOFError, LookupError, NotImplementedError, OSError,
    RecursionError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip
"""What pydicom may raise on a damaged header, found by reading damaged files."""

_MAX_FRAMES = 100_000
_MAX_SIZE = 65_535
_LARGE_READ = 65_536


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of one file, with what is needed to sort it among others.

    Attributes:
        path: The file.
        number: Zero-based frame number in the file.
        sop_class_uid: SOP Class UID.
        sop_instance_uid: SOP Instance UID.
        rows: Rows.
        columns: Columns.
        samples: Samples per pixel, 1 or 3.
        position: Image Position (Patient), mm, LPS+, or None.
        orientation: Image Orientation (Patient): row then column direction, LPS+, or None.
        spacing: Pixel Spacing: distance between rows, between columns, mm, or None.
        thickness: Spacing Between Slices, else Slice Thickness, mm, or None.
        order: What tells frames at one position apart, in order of rank; -1 where the header says nothing.
        instance_number: Instance Number, or frame number in multi-frame files.
        contrast: The parts of Image Type (0008,0008) that make a different image of the same slice.
    """

    path: Path
    number: int
    sop_class_uid: str
    sop_instance_uid: str
    rows: int
    columns: int
    samples: int
    position: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    thickness: float | None
    order: tuple[float, ...]
    instance_number: int
    contrast: frozenset[str]


CONTRAST_WORDS = frozenset([
    "ADC", "F", "FA", "FAT", "I", "IMAGINARY", "IN_PHASE", "IP", "LOCALIZER", "M", "MAGNITUDE", "MIP", "MOSAIC", "MPR",
    "OP", "OPP_PHASE", "OUT_PHASE", "P", "PHASE", "R", "REAL", "TRACEW", "W", "WATER",
])  # fmt: skip
"""The parts of Image Type (0008,0008) that tell images of the same slice apart."""


class BoundedFile(io.BufferedReader):
    """A file that never tries to read beyond its end: a damaged length may claim gigabytes."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes, all that is left for None or a negative number."""
        if size is not None and size > _LARGE_READ:
            size = min(size, max(0, self._size - self.tell()))
        return super().read(size)


@contextmanager
def quietly() -> Iterator[None]:
    """Keep pydicom's warnings to ourselves: they quote values, which may name the patient."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_header(path: Path, *, keywords: list[str] | None = HEADER_KEYWORDS, force: bool = False) -> Dataset:
    """Read a file's header up to the pixels.

    Args:
        path: The file.
        keywords: The attributes wanted; None reads all.
        force: Read a file without the "DICM" mark.

    Raises:
        InputError: When the file is not DICOM or its header is damaged.
    """
    try:
        tags = None if keywords is None else [*keywords]
        with BoundedFile(path) as file:
            return dcmread(file, stop_before_pixels=True, specific_tags=tags, force=force)
    except InvalidDicomError as error:
        msg = f'"{path.name}" is not a DICOM file; expected the mark "DICM" at byte 128.'
        raise InputError(msg) from error
    except DAMAGED as error:
        msg = f'The DICOM header of "{path.name}" is damaged ({type(error).__name__}); copy the file again.'
        raise InputError(msg) from error


def encoded_header(path: Path) -> bytes:
    """Return the bytes of a file up to its pixels: a DICOM file of its own, which holds the header.

    Raises:
        InputError: When the header is damaged.
    """
    try:
        with BoundedFile(path) as file:
            dcmread(file, stop_before_pixels=True, force=True)
            end = file.tell()
            file.seek(0)
            return file.read(end)
    except DAMAGED as error:
        msg = f'The DICOM header of "{path.name}" is damaged ({type(error).__name__}); copy the file again.'
        raise InputError(msg) from error


def text(dataset: Dataset, keyword: str) -> str:
    """An attribute as text, "" where missing or damaged; several values are joined by a backslash."""
    value = _value(dataset, keyword)
    if value is None:
        return ""
    if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue":
        return "\\".join(str(part) for part in value)
    return str(value).strip()


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """An attribute as exactly `count` finite numbers, or None."""
    value = _value(dataset, keyword)
    if value is None or isinstance(value, str | bytes):
        parts = [value] if isinstance(value, str) and value.strip() else []
    else:
        parts = list(value) if hasattr(value, "__iter__") else [value]
    try:
        found = tuple(float(part) for part in parts)
    except DAMAGED:
        return None
    return found if len(found) == count and all(math.isfinite(part) for part in found) else None


def number(dataset: Dataset, keyword: str) -> float | None:
    """An attribute as one finite number, or None."""
    found = numbers(dataset, keyword, 1)
    return None if found is None else found[0]


def frame_count(dataset: Dataset) -> int:
    """Number of Frames (0028,0008), 1 where missing.

    Raises:
        InputError: When it is not a number from 1 to 100 000.
    """
    if not text(dataset, "NumberOfFrames"):
        return 1
    count = number(dataset, "NumberOfFrames")
    if count is None or not 1 <= count <= _MAX_FRAMES or count != int(count):
        msg = (
            f"Number of Frames (0028,0008) is {text(dataset, 'NumberOfFrames')[:20]!r}; "
            f"expected a number from 1 to {_MAX_FRAMES}."
        )
        raise InputError(msg)
    return int(count)


def frames_of(path: Path, dataset: Dataset) -> list[Frame]:
    """One record per frame of a file; functional groups (PS3.3 C.7.6.16) come before top-level attributes.

    Raises:
        InputError: When the size is missing or the functional groups do not match the number of frames.
    """
    rows, columns = (number(dataset, keyword) or 0 for keyword in ("Rows", "Columns"))
    samples = number(dataset, "SamplesPerPixel") or 1
    if not (0 < rows <= _MAX_SIZE and 0 < columns <= _MAX_SIZE):
        msg = f'"{path.name}" has {columns:g} columns and {rows:g} rows; expected at least one of each.'
        raise InputError(msg)
    if samples not in (1, 3):
        msg = f'"{path.name}" has {samples:g} samples per pixel; expected 1 (grey) or 3 (colour).'
        raise InputError(msg)
    count = frame_count(dataset)
    shared = _first(dataset, "SharedFunctionalGroupsSequence")
    per_frame = _value(dataset, "PerFrameFunctionalGroupsSequence")
    groups = list(per_frame) if per_frame else [None] * count
    if len(groups) != count:
        msg = (
            f'"{path.name}" declares {count} frames but describes {len(groups)} in its functional groups; '
            f"export it again."
        )
        raise InputError(msg)
    return [
        _frame(path, dataset, _Lookup(dataset, shared, group), index, (int(rows), int(columns), int(samples)))
        for index, group in enumerate(groups)
    ]


class _Lookup:
    """Finds an attribute in the frame's own group, then the shared group, then the file's top level."""

    def __init__(self, dataset: Dataset, shared: Dataset | None, own: Dataset | None) -> None:
        self.dataset, self.groups = dataset, [group for group in (own, shared) if group is not None]

    def numbers(self, macro: str, keyword: str, count: int) -> tuple[float, ...] | None:
        for group in self.groups:
            item = _first(group, macro)
            found = None if item is None else numbers(item, keyword, count)
            if found is not None:
                return found
        return numbers(self.dataset, keyword, count)

    def number(self, macro: str, keyword: str) -> float:
        found = self.numbers(macro, keyword, 1)
        return -1.0 if found is None else found[0]


def _frame(path: Path, dataset: Dataset, lookup: _Lookup, index: int, size: tuple[int, int, int]) -> Frame:
    position = lookup.numbers("PlanePositionSequence", "ImagePositionPatient", 3)
    orientation = lookup.numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = lookup.numbers("PixelMeasuresSequence", "PixelSpacing", 2)
    thickness = lookup.number("PixelMeasuresSequence", "SpacingBetweenSlices")
    if thickness <= 0:
        thickness = lookup.number("PixelMeasuresSequence", "SliceThickness")
    is_multi_frame = bool(lookup.groups) or frame_count(dataset) > 1
    instance = index if is_multi_frame else int(number(dataset, "InstanceNumber") or 0)
    order = (
        lookup.number("FrameContentSequence", "TemporalPositionIndex"),
        number_or(dataset, "TemporalPositionIdentifier"),
        lookup.number("MREchoSequence", "EffectiveEchoTime"),
        number_or(dataset, "EchoTime"),
        lookup.number("MRDiffusionSequence", "DiffusionBValue"),
        lookup.number("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
        number_or(dataset, "TriggerTime"),
        number_or(dataset, "AcquisitionNumber"),
        number_or(dataset, "AcquisitionTime"),
        number_or(dataset, "ContentTime"),
        float(instance),
    )
    return Frame(
        path=path,
        number=index,
        sop_class_uid=text(dataset, "SOPClassUID"),
        sop_instance_uid=text(dataset, "SOPInstanceUID"),
        rows=size[0],
        columns=size[1],
        samples=size[2],
        position=None if position is None else (position[0], position[1], position[2]),
        orientation=orientation,
        spacing=None if spacing is None or min(spacing) <= 0 else (spacing[0], spacing[1]),
        thickness=thickness if thickness > 0 else None,
        order=order,
        instance_number=instance,
        contrast=CONTRAST_WORDS.intersection(text(dataset, "ImageType").upper().split("\\")[2:]),
    )


def number_or(dataset: Dataset, keyword: str) -> float:
    """An attribute as one number, -1 where missing: for sorting."""
    found = number(dataset, keyword)
    return -1.0 if found is None else found


def _first(dataset: Dataset, keyword: str) -> Dataset | None:
    sequence = _value(dataset, keyword)
    return sequence[0] if sequence else None


def _value(dataset: Dataset, keyword: str) -> Any:  # noqa: ANN401  the value of any attribute
    """An attribute's value; None where missing or where converting it fails."""
    tag = tag_for_keyword(keyword)
    try:
        return None if tag is None or tag not in dataset else dataset[tag].value
    except DAMAGED:
        return None
