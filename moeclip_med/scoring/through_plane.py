"""Evidence from neighbouring slices: a Gaussian along the slice axis, in mm, while slices arrive in any order.

A network that sees one slice at a time takes a glint in one slice for a finding and loses a lesion for the slices in
which it is faint. What is real continues: each slice's raw map becomes the weighted mean of those around it, with
weights from the true distances between slices. Slices that lie far apart keep their own map. Of slices that lie
close together the network sees only some: their maps say enough of those between them.
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
"""Slices up to this many standard deviations apart say enough of what lies between them.

Stacks whose median gap is larger are left as they are: thick slices. Of stacks whose slices lie closer together the
network sees slices at most this far apart (docs/research/through_plane.md)."""


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


def slices_to_score(positions: NDArray[np.float64], sigma_mm: float) -> NDArray[np.intp]:
    """Return the slices that the network has to see, ascending: from both ends to the middle, in the widest steps.

    Two that follow each other lie at most `LARGEST_GAP` standard deviations apart, unless they are neighbours. Counted
    from the other end they are the same, since one file holds a volume feet first and another head first.

    Args:
        positions: (slices,) mm along the normal, ascending.
        sigma_mm: Standard deviation of the Gaussian, mm; 0 asks for every slice.
    """
    if sigma_mm <= 0:
        return np.arange(len(positions))
    reach = LARGEST_GAP * sigma_mm * (1 + 1e-4)  # positions from a file are rounded
    low, high = 0, len(positions) - 1
    chosen = {low, high}
    while high - low > 1 and positions[high] - positions[low] > reach:
        farthest = int(np.searchsorted(positions, positions[low] + reach, side="right")) - 1
        nearest = int(np.searchsorted(positions, positions[high] - reach, side="left"))
        low, high = max(farthest, low + 1), min(nearest, high - 1)
        chosen |= {low, high}
    return np.array(sorted(chosen))


class ThroughPlaneFilter:
    """Takes raw maps slice by slice and gives each back when all that it depends on is there.

    Maps of slices that do not come are interpolated between the two around them, before the Gaussian. The result does
    not depend on the order in which slices come. It holds as many slices as wait for a neighbour.

    Args:
        positions: (slices,) mm along the normal, ascending.
        sigma_mm: Standard deviation of the Gaussian, mm; 0 gives every slice back as it came.
        scored: The slices that come, ascending, the first and the last among them (`slices_to_score`); all if None.
    """

    def __init__(self, positions: NDArray[np.float64], sigma_mm: float, scored: NDArray[np.intp] | None = None) -> None:
        every = np.arange(len(positions))
        comes = every if scored is None else scored
        following = np.searchsorted(comes, every)
        self._positions = positions
        self._sigma = sigma_mm
        self._after = comes[following]
        self._before = np.where(self._after == every, every, comes[following - 1])
        below, above = positions - positions[self._before], positions[self._after] - positions
        self._nearest = np.where(below > above, self._after, self._before)
        self._share = np.divide(below, below + above, out=np.zeros(len(every)), where=below > 0)
        reach = REACH * sigma_mm
        self._first = np.searchsorted(positions, positions - reach, side="left")
        self._stop = np.searchsorted(positions, positions + reach, side="right")
        self._needs_from = self._before[self._first]
        self._needs_to = self._after[self._stop - 1]
        self._waiting: dict[int, NDArray[np.float32]] = {}
        self._is_there = np.zeros(len(positions), dtype=bool)
        self._is_final = np.zeros(len(positions), dtype=bool)

    def add(self, indices: Sequence[int], raw: NDArray[np.float32]) -> list[FilteredSlice]:
        """Take a batch and return what became final by it.

        Args:
            indices: Slice numbers, of those that come.
            raw: (slices, rows, columns) float32.
        """
        if self._sigma <= 0:
            return [FilteredSlice(index, one) for index, one in zip(indices, raw, strict=True)]
        for index, one in zip(indices, raw, strict=True):
            self._waiting[index] = one
            self._is_there[index] = True
        reached = sorted({other for index in indices for other in self._that_need(index)})
        return self._finish([index for index in reached if not self._is_final[index] and self._is_complete(index)])

    def flush(self) -> list[FilteredSlice]:
        """Return what still waits, from the neighbours that came: after the last slice, or when scoring stops early."""
        waiting = {other for index in self._waiting for other in self.stood_for(index)}
        return self._finish([index for index in sorted(waiting) if not self._is_final[index]])

    def scored_for(self, index: int) -> int:
        """Return the slice that comes and lies nearest to a slice."""
        return int(self._nearest[index])

    def stood_for(self, index: int) -> tuple[int, ...]:
        """Return the slices to which a slice that comes is the nearest one, itself included."""
        return tuple(other for other in self._that_need(index) if self._nearest[other] == index)

    def _that_need(self, index: int) -> range:
        """The slices whose mean a slice that comes is part of."""
        return range(
            int(np.searchsorted(self._needs_to, index, side="left")),
            int(np.searchsorted(self._needs_from, index, side="right")),
        )

    def _is_complete(self, index: int) -> bool:
        around = slice(self._first[index], self._stop[index])
        return bool(self._is_there[self._before[around]].all() and self._is_there[self._after[around]].all())

    def _finish(self, indices: list[int]) -> list[FilteredSlice]:
        final = [FilteredSlice(index, self._mean(index)) for index in indices]
        self._is_final[indices] = True
        for held in list(self._waiting):
            needed = self._that_need(held)
            if self._is_final[needed.start : needed.stop].all():
                del self._waiting[held]
        return final

    def _mean(self, index: int) -> NDArray[np.float32]:
        """The weighted mean around a slice, over those that are known, always summed in the same order."""
        around = np.arange(self._first[index], self._stop[index])
        around = around[self._is_there[self._before[around]] & self._is_there[self._after[around]]]
        gaussian = np.exp(-0.5 * ((self._positions[around] - self._positions[index]) / self._sigma) ** 2)
        gaussian /= gaussian.sum()
        start, share = int(self._needs_from[index]), self._share[around]
        weights = np.zeros(int(self._needs_to[index]) - start + 1)
        np.add.at(weights, self._before[around] - start, gaussian * (1 - share))
        np.add.at(weights, self._after[around] - start, gaussian * share)
        used = np.flatnonzero(weights)
        total = np.zeros_like(self._waiting[start + int(used[0])])
        for at in used:
            total += np.float32(weights[at]) * self._waiting[start + int(at)]
        return total
