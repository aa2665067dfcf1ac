"""Counts of normal and abnormal pixels per score bin: all that the pixel metrics need, in constant memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeclip_med.metrics.binning import Binning

    Array = NDArray[np.int64] | NDArray[np.float64]

COARSE_BINS = 1024
"""Bins of the histograms kept for every patient, from which confidence intervals are resampled."""

_BLOCK = 1 << 22
"""Pixels counted at a time: bounds the working memory on large volumes."""


@dataclass
class PixelCounts:
    """Histograms over the bins of one `Binning`, lowest scores first.

    Attributes:
        normal: (..., bins) int64 (float64 once resampled), pixels outside every mask.
        abnormal: (..., bins), pixels inside a mask.
        overlap: (..., bins) float64, every abnormal pixel weighted with 1 / (area of its region): its sum over the
            bins from a threshold up is the summed per-region overlap at that threshold.
        regions: (...,), number of regions.
    """

    normal: Array
    abnormal: Array
    overlap: NDArray[np.float64]
    regions: Array

    @classmethod
    def zeros(cls, bins: int) -> PixelCounts:
        """No pixel seen yet."""
        return cls(
            np.zeros(bins, np.int64), np.zeros(bins, np.int64), np.zeros(bins, np.float64), np.zeros((), np.int64)
        )

    def __iadd__(self, other: PixelCounts) -> PixelCounts:
        self.normal += other.normal
        self.abnormal += other.abnormal
        self.overlap += other.overlap
        self.regions += other.regions
        return self

    @property
    def pixels(self) -> int:
        """How many pixels were counted."""
        return int(self.normal.sum() + self.abnormal.sum())


class PixelHistogram:
    """Counts the pixels of any number of maps in one pass and constant memory.

    Attributes:
        binning: Scores to bins.
    """

    def __init__(self, binning: Binning, counts: PixelCounts | None = None) -> None:
        self.binning = binning
        self._counts = PixelCounts.zeros(binning.bins) if counts is None else counts
        self._waiting: list[NDArray[np.int64]] = []
        self._n_waiting = 0

    def add(
        self,
        raw: NDArray[np.floating[Any]],
        mask: NDArray[np.bool_],
        *,
        inside: NDArray[np.bool_] | None = None,
    ) -> PixelCounts:
        """Count the pixels of one map.

        Args:
            raw: (rows, columns) or (x, y, z), finite scores, higher is more abnormal.
            mask: Same shape, True where abnormal.
            inside: Same shape, True where pixels count; all of them if None. A region that is cut by it stays one.

        Returns:
            The counts of this map alone, over `COARSE_BINS`.
        """
        scores = np.ascontiguousarray(raw, dtype=np.float32).reshape(-1)
        abnormal = mask if inside is None else mask & inside
        flat = abnormal.reshape(-1)
        kept = None if inside is None else inside.reshape(-1)
        both: NDArray[np.int64] = np.zeros(2 * COARSE_BINS, dtype=np.int64)
        for start in range(0, len(scores), _BLOCK):
            part = slice(start, start + _BLOCK)
            # One key for bin and label, so that one pass counts both.
            keys = self.binning.index(scores[part])
            keys[flat[part]] += self.binning.bins
            both += self._count(keys if kept is None else keys[kept[part]])
        coarse = PixelCounts(both[:COARSE_BINS], both[COARSE_BINS:], np.zeros(COARSE_BINS), np.zeros((), np.int64))
        if flat.any():
            self._add_overlap(coarse, raw, mask, abnormal)
        return coarse

    @property
    def counts(self) -> PixelCounts:
        """All counts so far."""
        self._flush()
        return self._counts

    def _count(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count one map, and give its coarse counts: (2 * COARSE_BINS,), normal then abnormal.

        Small maps wait to be counted together, since each count touches every bin, however few the pixels.
        """
        if len(keys) >= self.binning.bins:
            coarse: NDArray[np.int64] = self._add(keys).reshape(2 * COARSE_BINS, -1).sum(axis=1)
            return coarse
        self._waiting.append(keys)
        self._n_waiting += len(keys)
        if self._n_waiting >= self.binning.bins:
            self._flush()
        return np.bincount(keys // (self.binning.bins // COARSE_BINS), minlength=2 * COARSE_BINS)

    def _add(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        bins = self.binning.bins
        both = np.bincount(keys, minlength=2 * bins)
        self._counts.normal += both[:bins]
        self._counts.abnormal += both[bins:]
        return both

    def _flush(self) -> None:
        if self._waiting:
            self._add(np.concatenate(self._waiting))
            self._waiting, self._n_waiting = [], 0

    def _add_overlap(
        self,
        coarse: PixelCounts,
        raw: NDArray[np.floating[Any]],
        mask: NDArray[np.bool_],
        counted: NDArray[np.bool_],
    ) -> None:
        """Add the regions of `mask`, as far as their pixels are `counted`."""
        box = ndimage.find_objects(mask.view(np.uint8))[0]
        labels, count = label_regions(mask[box])
        region = labels[counted[box]]
        area = np.bincount(region, minlength=count + 1)
        weights = 1.0 / area[region]
        bins = self.binning.index(raw[box][counted[box]])
        np.add.at(self._counts.overlap, bins, weights)
        np.add.at(coarse.overlap, bins // (self.binning.bins // COARSE_BINS), weights)
        regions = int(np.count_nonzero(area[1:]))
        self._counts.regions += regions
        coarse.regions += regions


def label_regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Number the connected regions of a mask: 8 neighbours in 2-D, 26 in 3-D; 0 is outside."""
    labels, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim, dtype=bool))
    return labels, count
