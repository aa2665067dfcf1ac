"""What a stored threshold finds: Dice, sensitivity and specificity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeclip_med.metrics.curves import NO_ABNORMAL, NO_NORMAL
from moeclip_med.metrics.value import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

THRESHOLD_METRICS = ("dice", "sensitivity", "specificity")


def count_decisions(found: NDArray[np.bool_], mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count the four outcomes.

    Args:
        found: Any shape, True where the score is at or above the threshold.
        mask: Same shape, True where abnormal.

    Returns:
        (4,): true positives, false positives, false negatives, true negatives.
    """
    true_positives = int(np.count_nonzero(found & mask))
    positives, abnormal = int(np.count_nonzero(found)), int(np.count_nonzero(mask))
    false_positives, false_negatives = positives - true_positives, abnormal - true_positives
    true_negatives = mask.size - true_positives - false_positives - false_negatives
    return np.array([true_positives, false_positives, false_negatives, true_negatives], dtype=np.int64)


def threshold_samples(decisions: NDArray[np.integer] | NDArray[np.floating]) -> dict[str, NDArray[np.float64]]:
    """Compute the three metrics of many counts.

    Args:
        decisions: (..., 4), as `count_decisions` gives them.

    Returns:
        (...,) each; NaN where undefined.
    """
    true_positives, false_positives, false_negatives, true_negatives = np.moveaxis(decisions.astype(np.float64), -1, 0)
    abnormal = true_positives + false_negatives
    with np.errstate(invalid="ignore", divide="ignore"):
        dice = 2 * true_positives / (2 * true_positives + false_positives + false_negatives)
        return {
            "dice": np.where(abnormal > 0, dice, np.nan),
            "sensitivity": true_positives / abnormal,
            "specificity": true_negatives / (true_negatives + false_positives),
        }


def measure_at_threshold(decisions: NDArray[np.int64], what: str = "pixels") -> dict[str, Metric]:
    """Compute Dice, sensitivity and specificity of the pooled counts (4,), or say why there are none."""
    reasons = {
        "dice": NO_ABNORMAL.format(what=what),
        "sensitivity": NO_ABNORMAL.format(what=what),
        "specificity": NO_NORMAL.format(what=what),
    }
    return {
        name: Metric.undefined(reasons[name]) if np.isnan(value) else Metric(float(value))
        for name, value in threshold_samples(decisions).items()
    }
