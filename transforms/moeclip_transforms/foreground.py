"""The part of a slice that a network is shown: the square around what is not air."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from moeclip_transforms.intensity import Window
    from moeclip_transforms.slicing import SliceView
    from moeclip_transforms.volume import Volume

_MINIMUM_SHARE = 0.01
_CHUNK_VALUES = 2**18
"""So many values of a volume are copied at a time: slices may be large, and have three channels."""


@dataclass(frozen=True)
class SquareBox:
    """A box that is square in mm, in pixels of a slice; it may reach outside the slice.

    Attributes:
        row_start: First row.
        row_stop: One past the last row.
        column_start: First column.
        column_stop: One past the last column.
    """

    row_start: int
    row_stop: int
    column_start: int
    column_stop: int


def foreground_box(volume: Volume, view: SliceView, window: Window) -> SquareBox:
    """The square around the foreground over all slices of a view.

    A row or column belongs to the foreground when at least 1 % of its pixels do in some slice, so that specks of
    noise do not widen the box. Without any foreground the box is the square around the whole slice.

    Args:
        volume: The volume.
        view: The view whose slices are looked at.
        window: Tells foreground from background (`Window.foreground`).

    Returns:
        A box whose sides have equal length in mm (to within one pixel), centred on the foreground.
    """
    return foreground_square(volume.tensor, view, window)


def foreground_square(image: Tensor, view: SliceView, window: Window) -> SquareBox:
    """The square around the foreground of an image (channel, x, y, z); see `foreground_box`."""
    rows: NDArray[np.bool_] = np.zeros(view.rows, dtype=bool)
    columns: NDArray[np.bool_] = np.zeros(view.columns, dtype=bool)
    for indices in _chunks(view.n_slices, image.shape[0] * view.rows * view.columns):
        mask = window.foreground(view.take(image, indices)).any(1).numpy()
        rows |= (mask.mean(axis=2) >= _MINIMUM_SHARE).any(axis=0)
        columns |= (mask.mean(axis=1) >= _MINIMUM_SHARE).any(axis=0)
    row_range = _extent(rows)
    column_range = _extent(columns)
    row_spacing, column_spacing = view.spacing[1:]
    side = max((row_range[1] - row_range[0]) * row_spacing, (column_range[1] - column_range[0]) * column_spacing)
    row_start, row_stop = _around(row_range, round(side / row_spacing))
    column_start, column_stop = _around(column_range, round(side / column_spacing))
    return SquareBox(row_start, row_stop, column_start, column_stop)


def _chunks(count: int, values_per_slice: int) -> Iterator[range]:
    size = max(1, _CHUNK_VALUES // values_per_slice)
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


def _extent(mask: NDArray[np.bool_]) -> tuple[int, int]:
    found = np.flatnonzero(mask)
    return (int(found[0]), int(found[-1]) + 1) if len(found) else (0, len(mask))


def _around(interval: tuple[int, int], length: int) -> tuple[int, int]:
    """An interval of the given length with the same centre."""
    start = (interval[0] + interval[1] - length) // 2
    return start, start + length
