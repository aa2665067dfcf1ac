"""From an array and an affine to a checked `Volume`: the last step of every reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np

from moeclip_transforms.errors import InputError
from moeclip_transforms.geometry import Affine
from moeclip_transforms.intensity import DISPLAY_RANGE_KEY
from moeclip_transforms.volume import Volume, image_when_asked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeclip_transforms.volume import FrameGeometry, FrameReference, Series

_LONGEST_VOXEL = 100.0
"""Longest to shortest side of a voxel. The most in use is about 60, between the B-scans of an OCT volume."""


class Details(TypedDict, total=False):
    """The further attributes of `Volume` that a reader may set."""

    has_orientation: bool
    padding_mask: NDArray[np.bool_] | None
    frames: tuple[FrameReference, ...]
    frame_geometry: tuple[FrameGeometry, ...]
    is_regular: bool
    time_point: int


def make_volume(
    array: NDArray[np.float32],
    affine: NDArray[np.float64],
    series: Series,
    *,
    slice_axis: int,
    display_range: tuple[float, float] | None = None,
    notes: tuple[str, ...] = (),
    **details: Unpack[Details],
) -> Volume:
    """Check an array and its affine and put them together.

    Args:
        array: (channel, x, y, z) float32; used without a copy.
        affine: 4x4 voxel-to-world matrix, mm, RAS+.
        series: Where it came from.
        slice_axis: The axis along which it was acquired.
        display_range: Lowest and highest value of images stored ready for display.
        notes: What the reader had to say.
        **details: Further attributes of `Volume`.

    Raises:
        InputError: When no voxel exists, none is finite, or the affine cannot be used or has absurd proportions.
    """
    from torch import from_numpy

    name = series.files[0].name if series.files else series.uid
    if array.size == 0:
        msg = f'"{name}" holds no voxels: its size is {"×".join(map(str, array.shape[1:]))}.'
        raise InputError(msg)
    try:
        checked = Affine(affine)
    except InputError as error:
        msg = f'"{name}" cannot be placed in space: {error}'
        raise InputError(msg) from error
    _check_proportions(checked, array.shape[1:], name)
    meta: dict[str, Any] = {
        "original_affine": from_numpy(checked.matrix.copy()),
        "spatial_shape": np.array(array.shape[1:]),
        "space": "RAS",
    }
    if display_range is not None:
        meta[DISPLAY_RANGE_KEY] = display_range
    return Volume(
        image=image_when_asked(from_numpy(array), checked.matrix.copy(), meta),
        series=series,
        slice_axis=slice_axis,
        notes=notes + _time_note(series, details.get("time_point", 0)) + _value_notes(array, name),
        **details,
    )


def _check_proportions(affine: Affine, shape: tuple[int, ...], name: str) -> None:
    """Refuse voxels so long and thin that the header must be wrong; the spacing of a single slice does not count."""
    spacing = [step for step, size in zip(affine.spacing, shape, strict=True) if size > 1]
    if spacing and max(spacing) > _LONGEST_VOXEL * min(spacing):
        msg = (
            f'"{name}" has voxels of {" × ".join(f"{step:g}" for step in affine.spacing)} mm; expected sides that '
            f"differ by a factor of {_LONGEST_VOXEL:g} at most: correct the spacing in its header."
        )
        raise InputError(msg)


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
        msg = f'"{name}" holds no usable value: every voxel is NaN or infinite.'
        raise InputError(msg)
    notes = []
    if n_bad:
        notes.append(f"{n_bad} of {array.size} values are NaN or infinite; they count as background.")
    if low == high:
        notes.append(f"Every voxel has the same value ({low:g}): there is nothing to see in this image.")
    return tuple(notes)
