"""Label maps, masks and probability maps among images: recognised, so that they are neither scored nor counted.

A volume is one when its values are few whole numbers and it is named as one, or lies on the grid of an image beside
it; or when they are shares between 0 and 1 on such a grid and it is named as a map of probabilities. A picture is one
when it is named as the mask or map of a picture, and its values do not plainly show an image; or when it is named as a
mask and has few values.
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_transforms.mask_names import VOLUME_SUFFIXES, is_named_as_map, is_named_as_mask, picture_of
from moeclip_transforms.memory import check_memory
from moeclip_transforms.same_grid import grid_distance
from moeclip_transforms.volume import FileFormat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from moeclip_transforms.geometry import Affine
    from moeclip_transforms.volume import Series

MOST_LABELS, MOST_PARCELS = 64, 1000
"""More whole numbers than the first are an image, unless they fill areas; more than the second in any case."""

_WHOLE, _LEAST_SPAN = 0.01, 0.5
_ALIKE = 0.7
"""The share of neighbours that have the same value in a parcellation; in an image of noise it is next to nothing."""
_SHARE_ROUNDING = 1e-4
_MOST_OF_MASK, _NEAR_END = 0.8, 1 / 8
"""Of a mask with soft edges or the ringing of JPEG, so many pixels lie so near the ends of its range."""
_FIRST_BYTES, _MORE_BYTES = 1 << 16, 1 << 22
_MOST_VALUES = 1 << 26
_MOST_SIBLINGS = 200
_UNREADABLE = (ValueError, OSError, EOFError, zlib.error, MemoryError)
"""What readers, `gzip` and NumPy raise on damaged files; `InputError` is a ValueError."""
_FILLED = 50


def set_aside_label_maps(found: Iterable[Series]) -> tuple[Series, ...]:
    """Return the series of a folder, those that are label maps with the reason to skip them.

    Args:
        found: Series that lie among others: not one that a user named alone.
    """
    return tuple(one if one.skip_reason else replace(one, skip_reason=label_map_reason(one)) for one in found)


def label_map_reason(series: Series) -> str:
    """Return why a series is a label map, or ""; the first part of its values is read where its name tells nothing."""
    is_picture = series.format is FileFormat.IMAGE
    if series.format not in (FileFormat.NIFTI, FileFormat.ITK, FileFormat.IMAGE):
        return ""
    path = series.files[0]
    is_named = is_named_as_mask(path)
    try:
        if is_picture:
            return _picture_reason(series) if is_named or is_named_as_map(path) else ""
        if series.is_colour:
            return ""
        levels = few_whole_numbers(_values(series))
        if levels is None:
            return _probability_reason(series) if is_named_as_map(path) else ""
        return _volume_reason(series, levels, is_named=is_named)
    except _UNREADABLE:
        return ""  # what cannot be read is told by its reader


def _probability_reason(series: Series) -> str:
    """Why a volume of shares that is named as a map of them is one: it lies on the grid of an image."""
    if not _are_shares(_values(series)):
        return ""
    image = _image_on_grid(series)
    named = "a map of probabilities: it is named as one, and its values lie between 0 and 1, on the grid of"
    return f'{named} "{image.name}" beside it' if image else ""


def _are_shares(chunks: Iterable[NDArray[Any]]) -> bool:
    return all(
        chunk.min(initial=0.0) >= -_SHARE_ROUNDING and chunk.max(initial=0.0) <= 1 + _SHARE_ROUNDING
        for chunk in (part[np.isfinite(part)] for part in chunks)
    )


def _volume_reason(series: Series, levels: tuple[int, ...], *, is_named: bool) -> str:
    if is_named:
        return f"a label map: it is named as one, and its values are {_listed(levels)}"
    image = _image_on_grid(series) if len(levels) > 1 else None
    return f'a label map: its values are {_listed(levels)}, on the grid of "{image.name}" beside it' if image else ""


def label_map_note(array: NDArray[np.float32]) -> str:
    """Return a sentence where the values of a volume look like those of a label map, else ""."""
    levels = few_whole_numbers(array[..., index] for index in range(array.shape[-1]))
    if levels is None or not 2 <= len(levels) <= MOST_LABELS or array.size < _FILLED * len(levels):  # noqa: PLR2004
        return ""
    return f"Its values are few whole numbers ({_listed(levels)}): is this a label map rather than an image?"


def few_whole_numbers(chunks: Iterable[NDArray[Any]]) -> tuple[int, ...] | None:
    """Return the values, where they are few whole numbers as of labels; None as soon as they are not.

    At most `MOST_LABELS` are few; of a parcellation at most `MOST_PARCELS`, if neighbours mostly agree. Values that
    differ by less than labels do are none: probabilities that stay near 0, or a volume in tiny units.

    Args:
        chunks: Parts of the values, neighbours behind each other.
    """
    levels: set[int] = set()
    low, high, n_pairs, n_alike = np.inf, -np.inf, 0, 0
    for chunk in chunks:
        flat = chunk[np.isfinite(chunk)]
        values = np.unique(flat)
        if len(values) > MOST_PARCELS or (np.abs(values - np.rint(values)) > _WHOLE).any():
            return None
        low, high = min(low, values.min(initial=low)), max(high, values.max(initial=high))
        levels |= {int(value) for value in np.rint(values)}
        if len(values) > 1:
            is_inside = (flat[1:] != 0) | (flat[:-1] != 0)
            n_pairs += int(np.count_nonzero(is_inside))
            n_alike += int(np.count_nonzero(is_inside & (flat[1:] == flat[:-1])))
        if len(levels) > MOST_PARCELS or (len(levels) > MOST_LABELS and n_alike < _ALIKE * n_pairs):
            return None
    return None if 0 < high - low <= _LEAST_SPAN else tuple(sorted(levels))


def _listed(levels: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, levels[:5]))
    return f"{shown}{', ...' if len(levels) > 5 else ''}"  # noqa: PLR2004


def _values(series: Series) -> Iterator[NDArray[Any]]:
    """The first values of a volume piece by piece, so that an image is told after its first bytes."""
    count = 0
    for piece in _all_values(series):
        yield piece
        count += piece.size
        if count > _MOST_VALUES:
            return


def _all_values(series: Series) -> Iterator[NDArray[Any]]:
    if series.format is FileFormat.ITK:
        from moeclip_transforms.grid_file import value_pieces
        from moeclip_transforms.itk import read_header as read_itk_header

        for piece in value_pieces(read_itk_header(series.files[0])):
            yield piece.astype(np.float64)
        return
    from moeclip_transforms.nifti import read_header

    header, voxels = read_header(series.files[0]), series.files[-1]
    with voxels.open("rb") as file:
        opened: Any = gzip.open if file.read(2) == b"\x1f\x8b" else open
    if np.issubdtype(header.dtype, np.complexfloating):
        yield np.array([0.5])  # no label
        return
    size = header.dtype.itemsize
    left, wanted = math.prod(header.shape) * size, _FIRST_BYTES
    with opened(voxels, "rb") as file:
        file.seek(header.start)
        while content := file.read(min(wanted, left) // size * size):
            left -= len(content)
            stored = np.frombuffer(content[: len(content) // size * size], dtype=header.dtype)
            yield stored.astype(np.float64) * header.slope + header.intercept
            wanted = _MORE_BYTES


def _image_on_grid(series: Series) -> Path | None:
    """A volume beside this one, on its grid, whose values are no few whole numbers."""
    from moeclip_transforms.itk import scan_itk
    from moeclip_transforms.nifti import scan_nifti

    path = series.files[0]
    own, shape = _affine(series), series.shape[:3]
    for other in sorted(path.parent.iterdir())[:_MOST_SIBLINGS]:
        name = other.name.lower()
        if other in series.files or not other.is_file() or not name.endswith(VOLUME_SUFFIXES) or name.startswith("._"):
            continue
        try:
            sibling = (scan_nifti if name.endswith((".nii.gz", ".nii", ".hdr")) else scan_itk)(other)
            is_on_grid = sibling.shape[:3] == shape and grid_distance(own, _affine(sibling), shape).is_same
            if is_on_grid and few_whole_numbers(_values(sibling)) is None and not is_named_as_map(other):
                return other
        except _UNREADABLE:
            continue
    return None


def _affine(series: Series) -> Affine:
    """Where a volume lies, from its header."""
    if series.format is FileFormat.ITK:
        from moeclip_transforms.itk import read_header

        return read_header(series.files[0]).affine
    from moeclip_transforms.nifti import read_header as read_nifti_header

    return read_nifti_header(series.files[0]).affine


def _picture_reason(series: Series) -> str:
    """Why a picture that is named as a mask is one: it has a picture to belong to and no values of one, or few."""
    path = series.files[0]
    if not is_named_as_mask(path):
        image = picture_of(path)
        return f'a map: it is named as that of "{image.name}"' if image else ""
    from moeclip_transforms.images import read_image

    check_memory(series)
    values = read_image(series).array
    levels = few_whole_numbers([values])
    if levels is None and not _is_two_sided(values):
        return ""
    if image := picture_of(path):
        return f'a mask: it is named as that of "{image.name}"'
    return "" if levels is None else f"a mask: it is named as one, and its values are {_listed(levels)}"


def _is_two_sided(values: NDArray[np.float32]) -> bool:
    """Whether nearly all values lie near either end of their range, as those of a binary mask do."""
    low, high = float(values.min()), float(values.max())
    margin = _NEAR_END * (high - low)
    inside = np.count_nonzero((values > low + margin) & (values < high - margin))
    return bool(inside <= (1 - _MOST_OF_MASK) * values.size)
