"""Evidence from neighbouring slices: a Gaussian along the slice axis, in mm, while slices arrive in any order.

A network that sees one slice at a time takes a glint in one slice for a finding and loses a lesion for the slices in
which it is faint. What is real continues: each slice's raw map becomes the weighted mean of those around it, with
weights from the true distances between slices. Slices that lie far apart keep their own map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms.assemble import SHORTEST_BODY, longest_side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeclip_transforms import SliceView
    from moeclip_transforms.volume import Grid
    from numpy.typing import NDArray

SIGMA_MM = 3.0
"""Standard deviation of the Gaussian, mm; chosen on simulated stacks (docs/research/through_plane.md)."""

REACH = 3.0
"""Slices up to this many standard deviations away count."""

_HUMAN_MM = 200.0
"""The length of the images that `SIGMA_MM` was meant for."""

LARGEST_GAP = 1.0
"""Stacks whose median gap is larger than this many standard deviations are left as they are: thick slices."""


@dataclass(frozen=True, eq=False)
class FilteredSlice:
    """A slice whose map is final.

    Attributes:
        index: Its number in the view.
        raw: (rows, columns) float32, the raw map after the filter.
    """

    index: int
    raw: NDArray[np.float32]


def slice_positions(volume: Grid, view: SliceView) -> NDArray[np.float64]:
    """Return the distance of each slice of a view from its first, mm, along the normal of the slices.

    Args:
        volume: The volume; its `frame_geometry` counts where no affine fits all slices.
        view: A view of it.
    """
    along_frames = view.axes[0] == volume.slice_axis and len(volume.frame_geometry) == view.n_slices
    if not volume.is_regular and along_frames:
        first = volume.frame_geometry[0]
        normal = np.cross(first.row_direction, first.column_direction)
        along = np.array([np.dot(normal, frame.position) for frame in volume.frame_geometry])
        return np.asarray(np.abs(along - along[0]), dtype=np.float64)
    return np.arange(view.n_slices, dtype=np.float64) * float(view.spacing[0])


def sigma_for(volume: Grid, view: SliceView, sigma_mm: float) -> float:
    """Return the standard deviation that suits a view: 0, which is no filter, for thick slices and photographs.

    A slab of a few mm has no filter either, since its slices have no neighbours that count. In images that are shorter
    than any part of a human body, of small animals, it is as much smaller as they are.

    Args:
        volume: The volume.
        view: The view whose slices are scored.
        sigma_mm: What is wanted, mm.
    """
    if sigma_mm <= 0 or view.n_slices == 1 or not volume.has_orientation:
        return 0.0
    longest = longest_side(volume)
    if 0 < longest < SHORTEST_BODY:
        sigma_mm *= longest / _HUMAN_MM
    positions = slice_positions(volume, view)
    if positions[-1] < REACH * sigma_mm:
        return 0.0
    gap = float(np.median(np.diff(positions)))
    return sigma_mm if gap <= LARGEST_GAP * sigma_mm else 0.0


class ThroughPlaneFilter:
    """Takes raw maps slice by slice and gives each back when all that it depends on is there.

    The result does not depend on the order in which slices come. It holds as many slices as wait for a neighbour.

    Args:
        positions: (slices,) mm along the normal, ascending.
        sigma_mm: Standard deviation of the Gaussian, mm; 0 gives every slice back as it came.
    """

    def __init__(self, positions: NDArray[np.float64], sigma_mm: float) -> None:
        self._positions = positions
        self._sigma = sigma_mm
        reach = REACH * sigma_mm
        self._first = np.searchsorted(positions, positions - reach, side="left")
        self._stop = np.searchsorted(positions, positions + reach, side="right")
        self._waiting: dict[int, NDArray[np.float32]] = {}
        self._is_there = np.zeros(len(positions), dtype=bool)
        self._is_final = np.zeros(len(positions), dtype=bool)

    def add(self, indices: Sequence[int], raw: NDArray[np.float32]) -> list[FilteredSlice]:
        """Take a batch and return what became final by it.

        Args:
            indices: Slice numbers.
            raw: (slices, rows, columns) float32.
        """
        if self._sigma <= 0:
            return [FilteredSlice(index, one) for index, one in zip(indices, raw, strict=True)]
        for index, one in zip(indices, raw, strict=True):
            self._waiting[index] = one
            self._is_there[index] = True
        reached = sorted({other for index in indices for other in self._around(index)})
        ready = [
            index
            for index in reached
            if not self._is_final[index] and self._is_there[self._first[index] : self._stop[index]].all()
        ]
        return self._finish(ready)

    def flush(self) -> list[FilteredSlice]:
        """Return what still waits, from the neighbours that came: after the last slice, or when scoring stops early."""
        return self._finish([index for index in sorted(self._waiting) if not self._is_final[index]])

    def _around(self, index: int) -> range:
        return range(int(self._first[index]), int(self._stop[index]))

    def _finish(self, indices: list[int]) -> list[FilteredSlice]:
        final = [FilteredSlice(index, self._mean(index)) for index in indices]
        self._is_final[indices] = True
        for index in [held for held in self._waiting if self._is_final[self._first[held] : self._stop[held]].all()]:
            del self._waiting[index]
        return final

    def _mean(self, index: int) -> NDArray[np.float32]:
        """The weighted mean around a slice, over the slices that are there, always summed in the same order."""
        there = [other for other in self._around(index) if self._is_there[other]]
        distances = (self._positions[there] - self._positions[index]) / self._sigma
        weights = np.exp(-0.5 * distances**2)
        weights = (weights / weights.sum()).astype(np.float32)
        total: NDArray[np.float32] = weights[0] * self._waiting[there[0]]
        for weight, other in zip(weights[1:], there[1:], strict=True):
            total += weight * self._waiting[other]
        return total
