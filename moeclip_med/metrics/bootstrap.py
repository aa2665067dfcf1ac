"""Confidence intervals and paired tests by resampling patients (or images, where no patients are known).

Pixels of one image, and slices of one patient, resemble each other; patients are independent. So whole patients are
drawn with replacement, and every figure is computed again from the drawn ones (Efron and Tibshirani 1993, chapter 13:
the percentile interval). All resamples of a run are drawn from one seed, so figures repeat.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from moeclip_med.metrics import curves
from moeclip_med.metrics.histogram import PixelCounts
from moeclip_med.metrics.value import Interval, Metric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Samples = dict[str, NDArray[np.float64]]

REPEATS = 1000
SEED = 0
MINIMUM_UNITS = 10
"""With fewer independent units a percentile interval is far too narrow to be shown."""

_LARGEST_UNDEFINED_SHARE = 0.05


def draw(units: int, repeats: int = REPEATS, seed: int = SEED) -> NDArray[np.float64]:
    """Draw resamples.

    Returns:
        (repeats, units): how often each unit was drawn; rows sum to `units`.
    """
    rng = np.random.default_rng(seed)
    return rng.multinomial(units, np.full(units, 1.0 / units), size=repeats).astype(np.float64)


def resample(counts: PixelCounts, drawn: NDArray[np.float64]) -> PixelCounts:
    """Sum the counts of the drawn units.

    Args:
        counts: (units, bins) and (units,).
        drawn: (repeats, units).

    Returns:
        (repeats, bins) and (repeats,), as floats.
    """
    return PixelCounts(drawn @ counts.normal, drawn @ counts.abnormal, drawn @ counts.overlap, drawn @ counts.regions)


def curve_samples(counts: PixelCounts, drawn: NDArray[np.float64], *, with_regions: bool = True) -> Samples:
    """Compute AUROC, AP, F1max and, with regions, AUPRO of every resample: (repeats,) each, NaN where undefined."""
    used = counts.normal.any(axis=0) | counts.abnormal.any(axis=0)
    counts = PixelCounts(counts.normal[:, used], counts.abnormal[:, used], counts.overlap[:, used], counts.regions)
    resampled = resample(counts, drawn)
    samples = {
        "auroc": curves.auroc(resampled.normal, resampled.abnormal),
        "ap": curves.average_precision(resampled.normal, resampled.abnormal),
        "f1max": curves.f1_max(resampled.normal, resampled.abnormal),
    }
    if with_regions:
        samples["aupro"] = curves.aupro(resampled.normal, resampled.overlap, resampled.regions)
    return samples


def macro_samples(parts: Sequence[Samples]) -> Samples:
    """Average the samples of classes, over the classes in which each is defined."""
    averaged = {}
    for name in parts[0]:
        stacked = np.stack([part[name] for part in parts])
        defined = ~np.isnan(stacked)
        total = np.where(defined, stacked, 0.0).sum(axis=0)
        with np.errstate(invalid="ignore"):
            averaged[name] = total / defined.sum(axis=0)
    return averaged


def with_interval(
    metric: Metric,
    samples: NDArray[np.float64],
    coarse: float,
    units: int,
    what: str,
    *,
    highest: float = 1.0,
) -> Metric:
    """Add a 95 % interval to a figure.

    Args:
        metric: The figure.
        samples: (repeats,) its resampled values, from coarse histograms.
        coarse: The figure itself from the same coarse histograms; what differs from `metric` is taken off the
            samples.
        units: How many units were resampled.
        what: What they are ("patients" or "images").
        highest: The largest value that the figure can have; infinity for counts and sizes.

    Returns:
        The figure with its interval, or with the reason why there is none.
    """
    if metric.value is None:
        return metric
    if units < MINIMUM_UNITS:
        return replace(metric, interval_reason=f"{units} {what}; an interval needs at least {MINIMUM_UNITS}")
    defined = samples[~np.isnan(samples)]
    if len(defined) < (1 - _LARGEST_UNDEFINED_SHARE) * len(samples):
        reason = f"undefined in {1 - len(defined) / len(samples):.0%} of the resamples of {units} {what}"
        return replace(metric, interval_reason=reason)
    low, high = np.percentile(defined, (2.5, 97.5)) + (metric.value - coarse)
    if highest == 1.0:
        low, high = np.clip((low, high), 0.0, 1.0)
    return replace(metric, interval=Interval(float(low), float(high), units))


def paired_difference(
    first: Metric,
    second: Metric,
    samples: tuple[NDArray[np.float64], NDArray[np.float64]],
    units: int,
    what: str,
) -> tuple[Metric, float | None]:
    """Test whether two figures of the same units differ.

    Args:
        first: The figure of one run.
        second: The same figure of the other.
        samples: Both resampled with the same draws, (repeats,) each.
        units: How many units both runs share.
        what: What they are.

    Returns:
        Second minus first with its interval, and the two-sided p-value: twice the share of resamples in which the
        difference has the other sign or is 0 (one added to both counts, so that it is never 0). It is 1 where binning
        alone could make the difference.
    """
    for metric in (first, second):
        if metric.value is None:
            return Metric.undefined(metric.reason), None
    assert first.value is not None  # noqa: S101 - for the type checker; told above
    assert second.value is not None  # noqa: S101
    difference = second.value - first.value
    plain = Metric(difference, error_bound=first.error_bound + second.error_bound)
    if units < MINIMUM_UNITS:
        reason = f"{units} {what} in both runs; a test needs at least {MINIMUM_UNITS}"
        return replace(plain, interval_reason=reason), None
    sampled = samples[1] - samples[0]
    sampled = sampled[~np.isnan(sampled)]
    if len(sampled) < (1 - _LARGEST_UNDEFINED_SHARE) * len(samples[0]):
        return replace(plain, interval_reason="undefined in too many resamples"), None
    low, high = np.percentile(sampled, (2.5, 97.5))
    tail = min(np.count_nonzero(sampled <= 0), np.count_nonzero(sampled >= 0))
    is_binning = abs(difference) <= plain.error_bound
    p_value = 1.0 if is_binning else min(1.0, 2 * (tail + 1) / (len(sampled) + 1))
    return replace(plain, interval=Interval(float(low), float(high), units)), p_value
