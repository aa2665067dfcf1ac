"""ROC and precision-recall curves as points for a chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeclip_med.metrics.histogram import PixelCounts

    Curve = tuple[NDArray[np.float64], NDArray[np.float64]]

CHART_POINTS = 200
"""Points of a curve in a report; more cannot be seen."""


def roc_points(counts: PixelCounts, limit: int = CHART_POINTS) -> Curve:
    """Return the ROC curve: false positive rate and sensitivity, from the highest threshold down.

    Args:
        counts: One histogram with both normal and abnormal counts.
        limit: The most points to give; those kept are spread evenly along the curve.
    """
    true_positives, false_positives = _cumulative(counts)
    return _thinned(false_positives / false_positives[-1], true_positives / true_positives[-1], limit)


def precision_recall_points(counts: PixelCounts, limit: int = CHART_POINTS) -> Curve:
    """Return the precision-recall curve: recall and precision, from the highest threshold down; arguments as above."""
    true_positives, false_positives = _cumulative(counts)
    true_positives, false_positives = true_positives[1:], false_positives[1:]
    return _thinned(true_positives / true_positives[-1], true_positives / (true_positives + false_positives), limit)


def _cumulative(counts: PixelCounts) -> Curve:
    used = (counts.normal > 0) | (counts.abnormal > 0)
    start = np.zeros(1)
    true_positives = np.concatenate([start, np.cumsum(counts.abnormal[used][::-1])])
    false_positives = np.concatenate([start, np.cumsum(counts.normal[used][::-1])])
    return true_positives, false_positives


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64], limit: int) -> Curve:
    if len(x) <= limit:
        return x, y
    length = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    kept = np.unique(np.searchsorted(length, np.linspace(0.0, length[-1], limit)))
    kept[-1] = len(x) - 1
    return x[kept], y[kept]
