"""DICOM series read as volumes: every file opened once, slices sorted, placed in space, damage excluded and told."""

from __future__ import annotations

from collections import defaultdict
from io import BytesIO
from typing import TYPE_CHECKING

from pydicom import dcmread

from moeclip_transforms.assemble import make_volume
from moeclip_transforms.dicom_file import opened
from moeclip_transforms.dicom_geometry import check_geometry
from moeclip_transforms.dicom_pixels import decode
from moeclip_transforms.dicom_place import CROSS_SECTIONAL
from moeclip_transforms.dicom_values import ALIKE, Canvas, display_range
from moeclip_transforms.errors import InputError
from moeclip_transforms.hashing import hash_of_hashes
from moeclip_transforms.library_warnings import quietly
from moeclip_transforms.volume import FrameGeometry, FrameReference, SourceRef

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from moeclip_transforms.dicom_file import KeptFiles
    from moeclip_transforms.dicom_frame import Frame
    from moeclip_transforms.dicom_values import Allocate
    from moeclip_transforms.volume import Series, Volume

_MAX_SHARE_DAMAGED = 0.1


def read_dicom(
    series: Series, *, time_point: int = 0, allocate: Allocate | None = None, kept: KeptFiles | None = None
) -> Volume:
    """Read one volume of a DICOM series, slices sorted by position along their normal.

    Padding gets the lowest measured value, so that it stays dark. Up to a tenth of the slices may be damaged: they
    are skipped and named in the notes.

    Args:
        series: What to read, as a scan found it.
        time_point: Zero-based number of the volume.
        allocate: From a shape (channel, slice, row, column) to an array of float32 zeros to decode into.
        kept: The bytes of files that the scan kept; the others are opened, each once.

    Raises:
        InputError: When the series cannot be read or its geometry makes no sense.
    """
    if series.shape[0] == 0 or not series.volumes:
        raise InputError(f"Series {series.uid} cannot be read as an image: {series.skip_reason}.")
    if not 0 <= time_point < len(series.volumes):
        count = len(series.volumes)
        raise InputError(
            f"Series {series.uid} has {count} time points, numbered 0 to {count - 1}; {time_point} is none of them."
        )
    with quietly():
        return _read(series, time_point, allocate, kept)


def _read(series: Series, time_point: int, allocate: Allocate | None, kept: KeptFiles | None) -> Volume:
    stack: Sequence[Frame] = series.volumes[time_point]
    check_geometry(stack)  # before a voxel is read
    first = stack[0]
    canvas = Canvas(len(stack), first.rows, first.columns)
    if allocate is not None:
        canvas.allocate = allocate
    headers, digests = _decode(stack, canvas, kept)
    indices, damage_notes = _undamaged(series, stack, canvas)
    assert canvas.values is not None  # noqa: S101  else every frame has an error, which was raised
    canvas.darken_padding()
    values, padding = canvas.values, canvas.padding
    if len(indices) < len(stack):
        values, stack = values[:, indices], [stack[z] for z in indices]
        padding = None if padding is None else padding[indices]
    geometry = check_geometry(stack)
    if not geometry.has_orientation and series.modality in CROSS_SECTIONAL:
        damage_notes.append("The headers say too little about where the slices lie: they are shown as stored.")
    if {True, False} <= canvas.is_rescaled:
        damage_notes.append(
            "Some slices have a Rescale Slope and Intercept (0028,1053 and 1052), others have none: their values may "
            "not fit together."
        )
    for keyword, what in ALIKE.items():
        if (count := len(canvas.named[keyword] - {""})) > 1:
            damage_notes.append(f"The slices name {count} {what} may not fit together.")
    frame_notes = dict.fromkeys(note for frame in stack for note in frame.notes)
    fullest = max(len(volume) for volume in series.volumes)
    if len(series.volumes[time_point]) < fullest:
        damage_notes.append(f"This volume has {len(series.volumes[time_point])} slices, others {fullest}.")
    paths = list(dict.fromkeys(frame.path for frame in stack))
    return make_volume(
        values.transpose(0, 3, 2, 1),
        geometry.affine,
        series,
        slice_axis=2,
        display_range=display_range(dcmread(BytesIO(headers[paths[0]]), force=True)),
        has_orientation=geometry.has_orientation,
        has_voxel_size=geometry.has_voxel_size and not series.is_cine,
        padding_mask=None if padding is None else padding.transpose(2, 1, 0),
        frame_geometry=_frame_geometry(stack) if geometry.has_orientation else (),
        is_regular=geometry.is_regular,
        source=SourceRef(
            series,
            hash_of_hashes(digests),
            time_point,
            frames=tuple(
                FrameReference(frame.path, frame.number, frame.sop_class_uid, frame.sop_instance_uid) for frame in stack
            ),
            headers=tuple(headers[path] for path in paths),
        ),
        notes=tuple(dict.fromkeys([*series.notes, *frame_notes, *canvas.notes, *damage_notes, *geometry.notes])),
    )


def _decode(stack: Sequence[Frame], canvas: Canvas, kept: KeptFiles | None) -> tuple[dict[Path, bytes], list[str]]:
    """Decode all frames of a stack, opening each file once; memory: the volume and one file.

    Returns:
        The encoded header of each file that has one, and the SHA-256 of each file that can be opened.
    """
    wanted: dict[Path, list[tuple[int, int]]] = defaultdict(list)
    for z, frame in enumerate(stack):
        wanted[frame.path].append((frame.number, z))
    headers: dict[Path, bytes] = {}
    digests: list[str] = []
    for path, frames in wanted.items():
        try:
            with opened(path, kept) as file:
                digests.append(file.sha256())
                headers[path] = decode(file, sorted(frames), canvas)
        except OSError as error:
            problem = InputError(f'"{path.name}" cannot be opened ({error.strerror or type(error).__name__}).')
            canvas.errors.update({z: problem for _, z in frames})
        except InputError as problem:
            canvas.errors.update({z: problem for _, z in frames})
    return headers, digests


def _undamaged(series: Series, stack: Sequence[Frame], canvas: Canvas) -> tuple[list[int], list[str]]:
    """The indices of the slices that could be decoded, and a note on the others.

    Raises:
        InputError: When more than a tenth is damaged.
    """
    errors = canvas.errors
    kept = [z for z in range(len(stack)) if z not in errors]
    if not errors:
        return kept, []
    first_error = errors[min(errors)]
    if len(stack) == 1 or not kept:
        raise first_error
    if len(errors) > _MAX_SHARE_DAMAGED * len(stack):
        raise InputError(
            f"{len(errors)} of {len(stack)} slices of series {series.uid} cannot be decoded, more than the tenth "
            f"that may be skipped; the first: {first_error}"
        )
    numbers = ", ".join(str(_instance_number(stack[z])) for z in sorted(errors))
    words = "slice was" if len(errors) == 1 else "slices were"
    return kept, [f"{len(errors)} damaged {words} skipped (instance number {numbers})."]


def _instance_number(frame: Frame) -> int:
    return frame.instance[2] if frame.group else frame.instance[0]


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
