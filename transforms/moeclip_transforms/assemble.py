"""From an array and an affine to a checked `Volume`: the last step of every reader."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict, Unpack

import numpy as np

from moeclip_transforms.errors import InputError
from moeclip_transforms.geometry import Affine
from moeclip_transforms.hashing import hash_files
from moeclip_transforms.label_maps import label_map_note
from moeclip_transforms.slice_axis import check_is_image
from moeclip_transforms.volume import FileFormat, SourceRef, Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeclip_transforms.volume import FrameGeometry, Grid, Series

_LONGEST_VOXEL, _ABSURD_VOXEL = 100.0, 1000.0
"""Longest to shortest side of a voxel: what is told, and what is refused. Five lines of OCT 0.25 mm apart have 128."""

SHORTEST_BODY, LONGEST_BODY = 30.0, 3000.0
"""Lengths in mm between which images of human body parts lie: of a finger's joint, and of a whole body."""

_FEWEST_STEPS = 256
"""Fewer values that 32-bit numbers can tell apart make no image of bytes."""

_WHOLE_IMAGE = 32
"""Fewer voxels along every axis are a cut-out, whose length says nothing."""


class Details(TypedDict, total=False):
    """The further attributes of `Volume` that a reader may set."""

    has_orientation: bool
    has_voxel_size: bool
    is_regular: bool
    padding_mask: NDArray[np.bool_] | None
    frame_geometry: tuple[FrameGeometry, ...]
    display_range: tuple[float, float] | None


def make_volume(
    array: NDArray[np.float32],
    affine: Affine | NDArray[np.float64],
    series: Series,
    *,
    slice_axis: int,
    source: SourceRef | None = None,
    notes: tuple[str, ...] = (),
    **details: Unpack[Details],
) -> Volume:
    """Check an array and its affine and put them together.

    Args:
        array: (channel, x, y, z) float32; used without a copy.
        affine: Voxel to world, mm, RAS+.
        series: What the headers said.
        slice_axis: The axis along which it was acquired.
        source: What was gathered while reading; if None, the files of the series are hashed.
        notes: What the reader had to say.
        **details: Further attributes of `Volume`.

    Raises:
        InputError: When no voxel exists, none is finite, or the affine cannot be used or has absurd proportions.
    """
    from torch import from_numpy

    name = series.files[0].name if series.files else series.uid
    if array.size == 0:
        raise InputError(f'"{name}" holds no voxels: its size is {"×".join(map(str, array.shape[1:]))}.')
    try:
        checked = affine if isinstance(affine, Affine) else Affine(affine)
    except InputError as error:
        raise InputError(f'"{name}" cannot be placed in space: {error}') from error
    check_is_image(array.shape[1:], name)
    notes += _proportion_notes(checked, array.shape[1:], name)
    known = source or SourceRef(series, hash_files(series.files))
    volume = Volume(from_numpy(array), checked, known, slice_axis=slice_axis, **details)
    found = (*_time_note(series, known.time_point), *_value_notes(array, name), *_doubts(volume))
    return replace(volume, notes=(*notes, *found))


def _proportion_notes(affine: Affine, shape: tuple[int, ...], name: str) -> tuple[str, ...]:
    """Say how long and thin voxels are, or refuse them; the spacing of a single slice does not count."""
    spacing = [step for step, size in zip(affine.spacing, shape, strict=True) if size > 1]
    if not spacing or max(spacing) <= _LONGEST_VOXEL * min(spacing):
        return ()
    sides = " × ".join(f"{step:g}" for step in affine.spacing)
    if max(spacing) > _ABSURD_VOXEL * min(spacing):
        raise InputError(
            f'"{name}" has voxels of {sides} mm; expected sides that differ by a factor of {_ABSURD_VOXEL:g} at most: '
            f"correct the spacing in its header."
        )
    return (f"The voxels are {sides} mm: one side is {max(spacing) / min(spacing):.0f} times as long as another.",)


def longest_side(volume: Grid) -> float:
    """Return the length of an image along its longest axis, mm; 0 for a cut-out, whose length says nothing."""
    if max(volume.shape) < _WHOLE_IMAGE:
        return 0.0
    return max(step * size for step, size in zip(volume.affine.spacing, volume.shape, strict=True))


def _doubts(volume: Volume) -> tuple[str, ...]:
    """What makes it doubtful that this is an image of a body, where the file itself does not tell the modality."""
    if volume.series.format not in (FileFormat.NIFTI, FileFormat.ITK):
        return ()
    doubts = [] if volume.series.is_colour else [label_map_note(volume.array)]
    longest = longest_side(volume)
    if volume.has_spacing and longest and not SHORTEST_BODY <= longest <= LONGEST_BODY:
        doubts.append(
            f"The image is {longest:.3g} mm long, as no human body part is: unless it shows a small animal or a "
            "specimen, its spacing or unit is wrong, and so are all volumes."
        )
    return tuple(filter(None, doubts))


def _time_note(series: Series, time_point: int) -> tuple[str, ...]:
    n_time = series.shape[3]
    if n_time == 1:
        return ()
    return (f"Of {n_time} time points, numbered from 0, this is number {time_point}.",)


def _value_notes(array: NDArray[np.float32], name: str) -> tuple[str, ...]:
    """What is wrong with the values themselves; looked at slice by slice to spare memory."""
    n_bad, low, high = 0, np.inf, -np.inf
    for index in range(array.shape[3]):
        plane = array[..., index]
        finite = np.isfinite(plane)
        n_bad += plane.size - int(np.count_nonzero(finite))
        if finite.any():
            values = plane if finite.all() else plane[finite]
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if n_bad == array.size:
        raise InputError(
            f'"{name}" holds no usable value: every voxel is NaN, infinite or beyond ±3.4e38, the largest 32-bit '
            "number; expected intensities: scale them down, or export the image again."
        )
    notes = []
    if n_bad:
        notes.append(f"{n_bad} of {array.size} values are NaN or infinite; they count as background.")
    step = float(np.spacing(np.float32(max(abs(low), abs(high)))))
    if low < high < low + _FEWEST_STEPS * step:
        notes.append(
            f"The values lie between {low:.9g} and {high:.9g}, where 32-bit numbers have steps of {step:g}: finer "
            "differences are lost; subtract what all have in common."
        )
    if low == high:
        notes.append(f"Every voxel has the same value ({low:g}): there is nothing to see in this image.")
    return tuple(notes)
