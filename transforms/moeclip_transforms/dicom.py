"""DICOM series: found from headers, read slice by slice, placed in space."""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from moeclip_transforms import dicom_kind
from moeclip_transforms.assemble import make_volume
from moeclip_transforms.dicom_header import Frame, encoded_header, frames_of, quietly, read_header, text
from moeclip_transforms.dicom_pixels import decode_frames, display_range
from moeclip_transforms.dicom_stack import check_geometry, split_stacks, time_points, without_copies
from moeclip_transforms.errors import InputError
from moeclip_transforms.hashing import hash_files
from moeclip_transforms.naming import stable_uid
from moeclip_transforms.volume import FileFormat, FrameGeometry, FrameReference, Series, SourceRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import Dataset

    from moeclip_transforms.volume import Volume

    Allocate = Callable[[tuple[int, ...]], NDArray[np.float32]]

_MAX_SHARE_DAMAGED = 0.1


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """What a scan keeps of one file: little, since an archive has hundreds of thousands.

    Attributes:
        frames: One record per frame; a single one with 0 rows for what is not an image.
        series_uid: SeriesInstanceUID, or a name made from the file's.
        template: What a series made of this file alone would look like, but for its shape.
    """

    frames: tuple[Frame, ...]
    series_uid: str
    template: Series


def scan_dicom(path: Path, *, force: bool = False) -> ScannedFile:
    """Read one file's header.

    Args:
        path: The file.
        force: Read a file without the "DICM" mark.

    Raises:
        InputError: When the header is damaged or contradicts itself.
    """
    header = read_header(path, force=force)
    if not text(header, "SOPClassUID") and not text(header, "Rows"):
        msg = f'"{path.name}" is DICOM but neither an image nor a document (no SOP Class UID).'
        raise InputError(msg)
    if dicom_kind.is_image(header):
        frames = tuple(frames_of(path, header))
    else:
        uids = text(header, "SOPClassUID"), text(header, "SOPInstanceUID")
        frames = (Frame(path, 0, *uids, 0, 0, 1, None, None, None, None, (0.0,), 0, frozenset()),)
    uid = sys.intern(text(header, "SeriesInstanceUID") or stable_uid(path))
    return ScannedFile(frames, uid, _template(uid, path, header, frames[0]))


def group_series(files: Iterable[ScannedFile]) -> list[Series]:
    """Put scanned files together to what can be scored as one.

    The files of one Series Instance UID are one series, unless they differ in size, orientation or contrast, or are
    multi-frame images: then each part is a series of its own, with "#1", "#2", ... behind its identifier.
    """
    by_uid: dict[str, list[ScannedFile]] = defaultdict(list)
    for file in files:
        by_uid[file.series_uid].append(file)
    return [series for uid, group in by_uid.items() for series in _series_of(uid, group)]


def read_dicom(series: Series, *, time_point: int = 0, allocate: Allocate | None = None) -> Volume:
    """Read one time point of a DICOM series, slices sorted by position along their normal.

    Padding gets the lowest measured value, so that it stays dark. Up to a tenth of the slices may be damaged: they
    are left out and named in the notes.

    Args:
        series: What to read.
        time_point: Zero-based time point.
        allocate: From a shape (channel, slice, row, column) to an array of float32 zeros to decode into.

    Raises:
        InputError: When the series cannot be read or its geometry makes no sense.
    """
    with quietly():
        return _read(series, time_point, allocate or _zeros)


def _zeros(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.zeros(shape, dtype=np.float32)


def _template(uid: str, path: Path, header: Dataset, first: Frame) -> Series:
    is_palette = text(header, "PhotometricInterpretation") == "PALETTE COLOR"
    return Series(
        uid=uid,
        format=FileFormat.DICOM,
        files=(path,),
        modality=sys.intern(text(header, "Modality")),
        kind=dicom_kind.kind_of(header),
        study_uid=sys.intern(text(header, "StudyInstanceUID")),
        shape=(first.columns, first.rows, 1, 1),
        channels=first.samples if not is_palette else 3,
        is_clip=dicom_kind.is_clip(header, first),
        skip_reason=dicom_kind.skip_reason(header, first),
        description=sys.intern(text(header, "SeriesDescription")),
    )


def _series_of(uid: str, files: Sequence[ScannedFile]) -> list[Series]:
    template_of = {file.frames[0].path: file.template for file in files}
    documents = [file.frames[0] for file in files if file.frames[0].rows == 0]
    singles = [file.frames[0] for file in files if file.frames[0].rows and len(file.frames) == 1]
    stacks = [documents] if documents else []
    stacks += split_stacks(without_copies(singles)[0]) if singles else []
    paths_of_uid: dict[str, list[Path]] = defaultdict(list)  # copies stay with their series, which says so
    for frame in singles:
        paths_of_uid[frame.sop_instance_uid].append(frame.path)
    multi_frame = [file for file in files if len(file.frames) > 1]
    stacks += [stack for file in multi_frame for stack in split_stacks(file.frames)]
    found = [_describe(stack, template_of[stack[0].path], paths_of_uid) for stack in stacks]
    if len(found) == 1:
        return found
    return [replace(series, uid=f"{uid}#{index}") for index, series in enumerate(found, 1)]


def _describe(stack: Sequence[Frame], template: Series, paths_of_uid: dict[str, list[Path]]) -> Series:
    depth, times, skip_reason = len(stack), 1, template.skip_reason
    if stack[0].rows:
        try:
            points, _ = time_points(stack)
            depth, times = len(points[0]), len(points)
        except InputError as error:
            skip_reason = skip_reason or str(error).rstrip(".")
    return replace(
        template,
        files=tuple(
            dict.fromkeys(
                path
                for frame in stack
                for path in (
                    frame.path,
                    *(paths_of_uid.get(frame.sop_instance_uid, ()) if frame.sop_instance_uid else ()),
                )
            )
        ),
        shape=(*template.shape[:2], depth, times),
        is_clip=template.is_clip and depth > 1,
        skip_reason=skip_reason,
    )


def _read(series: Series, time_point: int, allocate: Allocate) -> Volume:
    if series.shape[0] == 0:
        msg = f"Series {series.uid} cannot be read as an image: {series.skip_reason}."
        raise InputError(msg)
    frames, notes = _read_frames(series)
    stacks, more_notes = time_points(frames)
    if not 0 <= time_point < len(stacks):
        msg = (
            f"Series {series.uid} has {len(stacks)} time points, numbered 0 to {len(stacks) - 1}; "
            f"{time_point} is none of them."
        )
        raise InputError(msg)
    stack = stacks[time_point]
    check_geometry(stack)  # before a voxel is read
    array, padding, errors = _decode(stack, allocate)
    stack, array, padding, damage_notes = _without_damaged(series, stack, array, padding, errors)
    if padding is not None:
        _darken(array, padding)
    geometry = check_geometry(stack)
    header = read_header(stack[0].path, force=True)
    if not geometry.has_orientation and series.modality in dicom_kind.CROSS_SECTIONAL:
        damage_notes.append("The headers say too little about where the slices lie: they are shown as stored.")
    return make_volume(
        array,
        geometry.affine,
        series,
        slice_axis=2,
        display_range=display_range(header),
        has_orientation=geometry.has_orientation,
        padding_mask=padding,
        frame_geometry=_frame_geometry(stack) if geometry.has_orientation else (),
        is_regular=geometry.is_regular,
        source=SourceRef(
            series,
            hash_files(series.files),
            time_point,
            frames=tuple(
                FrameReference(frame.path, frame.number, frame.sop_class_uid, frame.sop_instance_uid) for frame in stack
            ),
            headers=tuple(encoded_header(path) for path in dict.fromkeys(frame.path for frame in stack)),
        ),
        notes=(*notes, *more_notes, *damage_notes, *geometry.notes),
    )


def _read_frames(series: Series) -> tuple[list[Frame], tuple[str, ...]]:
    """All frames of the series' files that belong to its stack, without copies."""
    frames: list[Frame] = []
    for path in series.files:
        frames += frames_of(path, read_header(path, force=True))
    kept, notes = without_copies(frames)
    stacks = split_stacks(kept)
    paths = {frame.path for frame in kept}
    wanted = [
        stack
        for stack in stacks
        if {frame.path for frame in stack} == paths and (stack[0].columns, stack[0].rows) == series.shape[:2]
    ]
    if len(stacks) > 1 and not wanted:
        msg = f"The files of series {series.uid} have changed since they were looked at; try again."
        raise InputError(msg)
    if len(wanted) > 1:
        return wanted[_part_number(series, len(wanted))], notes
    return (wanted or stacks)[0], notes


def _part_number(series: Series, count: int) -> int:
    """Which of several stacks in one multi-frame file a series means, from the number behind its identifier."""
    part = series.uid.rpartition("#")[2]
    return (int(part) - 1) % count if part.isdigit() else 0


def _decode(
    stack: Sequence[Frame], allocate: Allocate
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None, dict[int, InputError]]:
    """Decode all frames of a stack into one (channel, x, y, z) array; memory: the array and one slice."""
    places: dict[Path, list[tuple[int, int]]] = defaultdict(list)
    for z, frame in enumerate(stack):
        places[frame.path].append((frame.number, z))
    array: NDArray[np.float32] | None = None
    padding: NDArray[np.bool_] | None = None
    errors: dict[int, InputError] = {}
    rows, columns = stack[0].rows, stack[0].columns
    for path, frames in places.items():
        frames.sort()
        decoded = decode_frames(path, [number for number, _ in frames])
        for (_, z), pixels in zip(frames, decoded, strict=True):
            if isinstance(pixels, InputError):
                errors[z] = pixels
                continue
            if array is None:
                array = allocate((pixels.values.shape[0], len(stack), rows, columns))
            if pixels.values.shape != (array.shape[0], rows, columns):
                errors[z] = InputError(f'"{path.name}" decodes to another size than its header declares.')
                continue
            array[:, z] = pixels.values
            if pixels.padding is not None:
                padding = np.zeros((len(stack), rows, columns), dtype=bool) if padding is None else padding
                padding[z] = pixels.padding
    if array is None:
        raise errors[min(errors)]
    return array.transpose(0, 3, 2, 1), None if padding is None else padding.transpose(2, 1, 0), errors


def _without_damaged(
    series: Series,
    stack: list[Frame],
    array: NDArray[np.float32],
    padding: NDArray[np.bool_] | None,
    errors: dict[int, InputError],
) -> tuple[list[Frame], NDArray[np.float32], NDArray[np.bool_] | None, list[str]]:
    """Leave out the slices that could not be decoded, or refuse the series when they are too many."""
    if not errors:
        return stack, array, padding, []
    first_error = errors[min(errors)]
    if len(stack) == 1:
        raise first_error
    if len(errors) > _MAX_SHARE_DAMAGED * len(stack):
        msg = (
            f"{len(errors)} of {len(stack)} slices of series {series.uid} cannot be decoded, more than the tenth "
            f"that may be left out; the first: {first_error}"
        )
        raise InputError(msg)
    kept = [z for z in range(len(stack)) if z not in errors]
    numbers = ", ".join(str(stack[z].instance_number) for z in sorted(errors))
    words = "slice was" if len(errors) == 1 else "slices were"
    note = f"{len(errors)} damaged {words} left out (instance number {numbers})."
    return (
        [stack[z] for z in kept],
        array[..., kept],
        None if padding is None else padding[..., kept],
        [note],
    )


def _darken(array: NDArray[np.float32], padding: NDArray[np.bool_]) -> None:
    """Give padding the lowest measured value, slice by slice to spare memory."""
    lowest = np.float32(np.inf)
    for z in range(array.shape[3]):
        measured = array[0, :, :, z][~padding[:, :, z]]
        lowest = min(lowest, measured.min()) if len(measured) else lowest
    if np.isfinite(lowest):
        for z in range(array.shape[3]):
            array[:, :, :, z][:, padding[:, :, z]] = lowest


def _frame_geometry(stack: Sequence[Frame]) -> tuple[FrameGeometry, ...]:
    return tuple(
        FrameGeometry(
            position=frame.position,
            row_direction=(frame.orientation[0], frame.orientation[1], frame.orientation[2]),
            column_direction=(frame.orientation[3], frame.orientation[4], frame.orientation[5]),
        )
        for frame in stack
        if frame.position is not None and frame.orientation is not None
    )
