"""AUROC, AP, F1max and AUPRO from counts per bin, with the error that binning can have caused.

All functions take counts whose last axis runs over bins (or distinct scores) from the lowest to the highest, and work
on any number of leading axes, so that a thousand bootstrap resamples are one call.

Scores that share a bin are treated as equal. How far that can move a metric follows from the counts: in the best case
every abnormal pixel of a bin scores above every normal one, in the worst case below. Both are computed, and the larger
distance is reported as `Metric.error_bound`: no assumption about the scores is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeclip_med.metrics.value import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeclip_med.metrics.histogram import PixelCounts

    Array = NDArray[np.int64] | NDArray[np.float64]

FALSE_POSITIVE_LIMIT = 0.3
"""AUPRO is integrated up to this share of normal pixels above the threshold (Bergmann et al., CVPR 2019, section 4)."""

NO_ABNORMAL = "no abnormal {what}"
NO_NORMAL = "no normal {what}"


def auroc(normal: Array, abnormal: Array) -> NDArray[np.float64]:
    """Area under the ROC curve; equal scores count half (the Mann-Whitney statistic).

    Args:
        normal: (..., bins) counts.
        abnormal: (..., bins) counts.

    Returns:
        (...,), NaN where one of the two is empty.
    """
    true_positives, false_positives = _from_the_top(abnormal), _from_the_top(normal)
    area = (np.diff(false_positives) * (true_positives[..., 1:] + true_positives[..., :-1])).sum(axis=-1) / 2
    return _ratio(area, true_positives[..., -1] * false_positives[..., -1])


def average_precision(normal: Array, abnormal: Array) -> NDArray[np.float64]:
    """Average precision: the sum of precision times step in recall, without interpolation (scikit-learn's rule).

    Returns:
        (...,), NaN where there is nothing abnormal.
    """
    true_positives, false_positives = _from_the_top(abnormal), _from_the_top(normal)
    precision = _ratio(true_positives[..., 1:], true_positives[..., 1:] + false_positives[..., 1:], empty=0.0)
    return _ratio((np.diff(true_positives) * precision).sum(axis=-1), true_positives[..., -1])


def f1_max(normal: Array, abnormal: Array) -> NDArray[np.float64]:
    """The largest F1 (equal to Dice) that any threshold reaches.

    Returns:
        (...,), NaN where there is nothing abnormal.
    """
    true_positives, false_positives = _from_the_top(abnormal), _from_the_top(normal)
    positives = true_positives[..., -1:]
    f1 = _ratio(2 * true_positives, true_positives + false_positives + positives, empty=0.0)
    best: NDArray[np.float64] = np.where(positives[..., 0] > 0, f1.max(axis=-1), np.nan)
    return best


def aupro(normal: Array, overlap: Array, regions: Array, limit: float = FALSE_POSITIVE_LIMIT) -> NDArray[np.float64]:
    """Area under the per-region overlap curve up to a false positive rate, over that rate.

    Bergmann et al., "MVTec AD", CVPR 2019, section 4: at each threshold the share of each connected region that is
    found, averaged over all regions of all images, against the share of all normal pixels that is wrongly found;
    trapezoids between thresholds, linear where the limit falls between two.

    Args:
        normal: (..., bins) counts.
        overlap: (..., bins), as in `PixelCounts`.
        regions: (...,) number of regions.
        limit: The largest false positive rate.

    Returns:
        (...,), NaN where there is no region or no normal pixel.
    """
    false_positives = _from_the_top(normal)
    rate = _ratio(false_positives, false_positives[..., -1:], empty=np.nan)
    found = _ratio(_from_the_top(overlap), np.asarray(regions, dtype=np.float64)[..., None], empty=np.nan)
    start, stop = np.minimum(rate[..., :-1], limit), np.minimum(rate[..., 1:], limit)
    step = rate[..., 1:] - rate[..., :-1]
    slope = _ratio(found[..., 1:] - found[..., :-1], step, empty=0.0)
    at_stop = found[..., :-1] + slope * (stop - start)
    area: NDArray[np.float64] = ((stop - start) * (found[..., :-1] + at_stop) / 2).sum(axis=-1) / limit
    return area


def measure(counts: PixelCounts, what: str = "pixels", *, is_binned: bool = True) -> dict[str, Metric]:
    """Compute all four metrics of one histogram, each with its error bound or its reason.

    Args:
        counts: One histogram (no leading axes).
        what: What is counted, for the reasons.
        is_binned: False where every bin holds one distinct score: the figures are then exact.

    Returns:
        "auroc", "ap", "f1max" and "aupro".
    """
    normal, abnormal, overlap = counts.normal, counts.abnormal, counts.overlap
    missing = [
        reason.format(what=what)
        for reason, values in ((NO_ABNORMAL, abnormal), (NO_NORMAL, normal))
        if not values.any()
    ]
    if missing:
        none = Metric.undefined(" and ".join(missing))
        return {"auroc": none, "ap": none, "f1max": none, "aupro": none}
    used = (normal > 0) | (abnormal > 0)
    normal, abnormal, overlap = normal[used], abnormal[used], overlap[used]
    values = {
        "auroc": auroc(normal, abnormal),
        "ap": average_precision(normal, abnormal),
        "f1max": f1_max(normal, abnormal),
        "aupro": aupro(normal, overlap, counts.regions),
    }
    bounds = (
        _error_bounds(normal, abnormal, overlap, counts.regions, values) if is_binned else dict.fromkeys(values, 0.0)
    )
    return {name: Metric(float(value), error_bound=bounds[name]) for name, value in values.items()}


def _error_bounds(
    normal: Array, abnormal: Array, overlap: Array, regions: Array, values: dict[str, NDArray[np.float64]]
) -> dict[str, float]:
    """How far each value can be from the exact one, given what shares a bin."""
    best, best_abnormal, best_overlap = (
        _half(normal, upper=False),
        _half(abnormal, upper=True),
        _half(overlap, upper=True),
    )
    worst, worst_abnormal, worst_overlap = (
        _half(normal, upper=True),
        _half(abnormal, upper=False),
        _half(overlap, upper=False),
    )
    extremes = {
        "auroc": (auroc(best, best_abnormal), auroc(worst, worst_abnormal)),
        "ap": (average_precision(best, best_abnormal), _lowest_average_precision(normal, abnormal)),
        # Thresholds between bins are some of all thresholds, so binning can only miss a better one.
        "f1max": (f1_max(best, best_abnormal), values["f1max"]),
        "aupro": (aupro(best, best_overlap, regions), aupro(worst, worst_overlap, regions)),
    }
    return {
        name: max(float(highest - values[name]), float(values[name] - lowest), 0.0)
        for name, (highest, lowest) in extremes.items()
    }


def _from_the_top(counts: Array) -> NDArray[np.float64]:
    """(..., bins + 1): how many lie at or above each threshold, from none to all."""
    summed = np.cumsum(counts[..., ::-1], axis=-1, dtype=np.float64)
    start = np.zeros((*summed.shape[:-1], 1))
    return np.concatenate([start, summed], axis=-1)


def _ratio(numerator: Array, denominator: Array, empty: float = np.nan) -> NDArray[np.float64]:
    """Divide, with a stated value where there is nothing to divide by."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    result = np.full(numerator.shape, empty)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def _half(values: Array, *, upper: bool) -> NDArray[np.float64]:
    """Split each bin in two and put its counts in the upper or the lower half."""
    split = np.zeros((len(values), 2))
    split[:, int(upper)] = values
    return split.reshape(-1)


def _lowest_average_precision(normal: Array, abnormal: Array) -> NDArray[np.float64]:
    """Average precision if each bin's abnormal pixels had distinct scores, all below its normal ones.

    After T true and F false positives, those of this bin's n normal pixels included, its p abnormal ones add the sum
    of (T + i) / (T + F + i) over i = 1 to p: at least the integral of that increasing function from 0 to p.
    """
    true_positives, false_positives = _from_the_top(abnormal)[:-1], _from_the_top(normal)[1:]
    count = abnormal[::-1].astype(np.float64)
    before = true_positives + false_positives
    growth = np.log1p(_ratio(count, before, empty=0.0))
    return _ratio((count - false_positives * growth).sum(), count.sum())
