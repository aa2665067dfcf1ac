"""The running counts of one system under one protocol, and the rows that go to disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_med.metrics.curves import measure
from moeclip_med.metrics.histogram import COARSE_BINS, PixelCounts, PixelHistogram
from moeclip_med.metrics.threshold import count_decisions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from moeclip_med.benchmark.outcomes import ThresholdKind
    from moeclip_med.metrics.binning import Binning
    from moeclip_med.metrics.value import Metric


class Tally:
    """Counts pixels of one class, system and protocol.

    Args:
        binning: Of the system's raw scores.
        thresholds: Kind to raw score from which a pixel counts as found.
        prefix: Name of its arrays in the store.
    """

    def __init__(self, binning: Binning, thresholds: Mapping[ThresholdKind, float], prefix: str) -> None:
        self.prefix = prefix
        self._binning = binning
        self._thresholds = thresholds
        self._histogram = PixelHistogram(self._binning)
        self._rows: list[dict[str, Any]] = []

    def add(
        self,
        raw: NDArray[np.float32],
        mask: NDArray[np.bool_] | None,
        inside: NDArray[np.bool_] | None,
        image_score: float,
    ) -> None:
        """Count one case; without a mask only its image score. What is not `inside` counts nowhere."""
        kept = None if inside is None else raw[inside]
        counts = PixelCounts.zeros(COARSE_BINS)
        decisions = {f"decisions/{kind}": np.zeros(4, np.int64) for kind in self._thresholds}
        if mask is not None:
            counts = self._histogram.add(raw, mask, inside=inside)
            where = slice(None) if inside is None else inside
            for kind, threshold in self._thresholds.items():
                decisions[f"decisions/{kind}"] = count_decisions((raw >= threshold)[where], mask[where])
        self._rows.append(
            {
                "normal": counts.normal.astype(np.uint32),
                "abnormal": counts.abnormal.astype(np.uint32),
                "overlap": counts.overlap.astype(np.float32),
                "regions": counts.regions,
                **decisions,
                "highest": raw.max() if kept is None else kept.max(initial=raw.min()),
                "lowest": raw.min(),
                "image_score": image_score,
            }
        )

    def take_rows(self) -> dict[str, NDArray[Any]]:
        """Return the rows since the last call, stacked, and forget them."""
        rows, self._rows = self._rows, []
        if not rows:
            return {}
        return {f"{self.prefix}/{name}": np.stack([row[name] for row in rows]) for name in rows[0]}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the histogram for the store, empty bins excluded."""
        counts = self._histogram.counts
        used = np.flatnonzero((counts.normal > 0) | (counts.abnormal > 0))
        return {
            f"{self.prefix}/used": used,
            f"{self.prefix}/normal": counts.normal[used],
            f"{self.prefix}/abnormal": counts.abnormal[used],
            f"{self.prefix}/overlap": counts.overlap[used],
            f"{self.prefix}/regions": np.asarray(counts.regions),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `arrays` gave."""
        counts = PixelCounts.zeros(self._binning.bins)
        used = arrays[f"{self.prefix}/used"]
        counts.normal[used] = arrays[f"{self.prefix}/normal"]
        counts.abnormal[used] = arrays[f"{self.prefix}/abnormal"]
        counts.overlap[used] = arrays[f"{self.prefix}/overlap"]
        counts.regions += arrays[f"{self.prefix}/regions"]
        self._histogram = PixelHistogram(self._binning, counts)

    def finish(self) -> dict[str, Metric]:
        """Return the pixel metrics of the class, and start anew for the next class."""
        metrics = measure(self._histogram.counts)
        self._histogram = PixelHistogram(self._binning)
        return metrics
