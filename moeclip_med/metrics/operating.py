"""Sensitivity at a chosen specificity, and averages over cases, with intervals over patients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeclip_med.metrics.bootstrap import draw, with_interval
from moeclip_med.metrics.curves import NO_ABNORMAL, NO_NORMAL
from moeclip_med.metrics.value import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

SPECIFICITIES = (0.9, 0.95)
"""Specificities at which sensitivity is read."""


def sensitivity_at(
    scores: Values, labels: NDArray[np.bool_], weights: NDArray[np.float64], specificity: float
) -> Values:
    """Return the highest sensitivity of any threshold that keeps a specificity.

    Args:
        scores: (n,) of cases.
        labels: (n,) True where abnormal.
        weights: (repeats, n) how often each case counts.
        specificity: The least share of normal cases below the threshold.

    Returns:
        (repeats,); NaN where there are no normal or no abnormal cases.
    """
    order = np.argsort(-scores, kind="stable")
    is_last = np.append(np.diff(scores[order]) != 0, True)
    sorted_weights, abnormal = weights[:, order], labels[order]
    false = np.cumsum(sorted_weights * ~abnormal, axis=1)
    true = np.cumsum(sorted_weights * abnormal, axis=1)
    with np.errstate(invalid="ignore"):
        false_rate, sensitivity = false / false[:, -1:], true / true[:, -1:]
    allowed = (false_rate <= 1 - specificity + 1e-12) & is_last
    best: Values = np.where(allowed, sensitivity, 0.0).max(axis=1)
    best[(false[:, -1] == 0) | (true[:, -1] == 0)] = np.nan
    return best


def measure_sensitivity_at(
    scores: Values, labels: NDArray[np.bool_], units: NDArray[np.str_], what: str, units_are: str
) -> dict[str, Metric]:
    """Return "sensitivity_at_specificity_90" and "…_95" with their intervals, or why there are none."""
    names = [f"sensitivity_at_specificity_{100 * value:.0f}" for value in SPECIFICITIES]
    missing = [
        text.format(what=what) for text, there in ((NO_ABNORMAL, labels), (NO_NORMAL, ~labels)) if not there.any()
    ]
    if missing:
        return dict.fromkeys(names, Metric.undefined(" and ".join(missing)))
    count, weights = _weights(units)
    metrics = {}
    for name, specificity in zip(names, SPECIFICITIES, strict=True):
        value = float(sensitivity_at(scores, labels, np.ones((1, len(scores))), specificity)[0])
        samples = sensitivity_at(scores, labels, weights, specificity)
        metrics[name] = with_interval(Metric(value), samples, value, count, units_are)
    return metrics


def measure_mean(values: Values, units: NDArray[np.str_], units_are: str, *, highest: float = 1.0) -> Metric:
    """Return the mean of the cases in which a value is defined, with its interval over patients."""
    kept = ~np.isnan(values)
    if not kept.any():
        return Metric.undefined("defined in no case")
    count, weights = _weights(units[kept])
    value = float(values[kept].mean())
    with np.errstate(invalid="ignore"):
        samples = weights @ values[kept] / weights.sum(axis=1)
    return with_interval(Metric(value), samples, value, count, units_are, highest=highest)


def measure_median(values: Values, units: NDArray[np.str_], units_are: str, *, highest: float = 1.0) -> Metric:
    """Return the median of the cases in which a value is defined, with its interval over patients."""
    kept = ~np.isnan(values)
    if not kept.any():
        return Metric.undefined("defined in no case")
    order = np.argsort(values[kept], kind="stable")
    ordered = values[kept][order]
    count, weights = _weights(units[kept][order])
    value = float(np.median(ordered))
    share = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
    # The middle of an even number of cases lies between two: the mean of what reaches one half from either side.
    lower = ordered[np.argmax(share >= 0.5 - 1e-12, axis=1)]
    upper = ordered[np.argmax(share > 0.5 + 1e-12, axis=1)]
    return with_interval(Metric(value), (lower + upper) / 2, value, count, units_are, highest=highest)


def quartiles(values: Values) -> tuple[float, float] | None:
    """Return the first and third quartile of the cases in which a value is defined; None where it is in none."""
    kept = values[~np.isnan(values)]
    if not len(kept):
        return None
    low, high = np.percentile(kept, (25, 75))
    return float(low), float(high)


def _weights(units: NDArray[np.str_]) -> tuple[int, NDArray[np.float64]]:
    """Return how many units there are, and (repeats, cases) how often each case's unit was drawn."""
    names, index = np.unique(units, return_inverse=True)
    return len(names), draw(len(names))[:, index]
