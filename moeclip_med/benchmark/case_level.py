"""Figures of cases and of lesions at one threshold: what a clinical reader looks at first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from moeclip_med.metrics.bootstrap import draw, with_interval
from moeclip_med.metrics.detection import measure_froc
from moeclip_med.metrics.operating import measure_mean, measure_median, measure_sensitivity_at, quartiles
from moeclip_med.metrics.value import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeclip_med.benchmark.outcomes import ThresholdKind
    from moeclip_med.benchmark.protocol import Protocol
    from moeclip_med.benchmark.stored_rows import Rows

    Chosen = NDArray[np.bool_]

SHARES = ("dice", "iou", "sensitivity", "precision", "nsd", "lesion_dice")
"""Case figures between 0 and 1."""

SPREADS = (
    "dice",
    "iou",
    "sensitivity",
    "precision",
    "size_error",
    "relative_size_error",
    "hd95",
    "nsd",
    "auroc",
    "ap",
    "lesion_dice",
    "lesion_hd95",
)
"""Case figures whose spread over the cases of a set is shown."""

BANDS_ML = (0.0, 0.1, 1.0, 10.0)
BANDS_PIXELS = (0.0, 100.0, 1000.0, 10000.0)
"""Lower ends of the bands of lesion sizes."""


class Spread(NamedTuple):
    """How a case figure is spread over the cases in which it is defined.

    Attributes:
        median: With its interval over patients.
        mean: With its interval over patients.
        quartiles: First and third; None where it is defined in no case.
        defined: In how many cases.
    """

    median: Metric
    mean: Metric
    quartiles: tuple[float, float] | None
    defined: int


class Band(NamedTuple):
    """Lesions of one size.

    Attributes:
        low: The smallest size in it, ml or pixels.
        high: The size at which the next one starts; None for the last.
        lesions: How many there are.
        hit: The share that was hit.
    """

    low: float
    high: float | None
    lesions: int
    hit: Metric


@dataclass(frozen=True)
class CaseLevel:
    """The figures of one system at one threshold.

    Attributes:
        spreads: `SPREADS` to their spread; empty where nothing is true in any case.
        lesions: "lesion_sensitivity", "false_positives_per_case", "panoptic_50", "panoptic_10".
        bands: Hits by size of lesion.
        healthy: Of normal cases: "healthy_flagged", "healthy_findings", "healthy_size"; and how many there are.
        healthy_cases: How many normal cases there are.
    """

    spreads: dict[str, Spread] = field(default_factory=dict)
    lesions: dict[str, Metric] = field(default_factory=dict)
    bands: tuple[Band, ...] = ()
    healthy: dict[str, Metric] = field(default_factory=dict)
    healthy_cases: int = 0


def case_values(rows: Rows, system: str, kind: ThresholdKind, protocol: Protocol) -> dict[str, NDArray[np.float64]]:
    """Return every figure of each case: the stored ones, size errors, AUROC and AP; empty without findings."""
    values = rows.outcomes(system, kind)
    if not values:
        return {}
    error = values["found_size"] - values["truth_size"]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(values["truth_size"] > 0, error / values["truth_size"], np.nan)
    error = np.where(values["truth_size"] > 0, error, np.nan)
    auroc, precision = rows.case_curves(system, protocol)
    return values | {"size_error": error, "relative_size_error": share, "auroc": auroc, "ap": precision}


def measure_cases(rows: Rows, system: str, kind: ThresholdKind, protocol: Protocol, chosen: Chosen) -> CaseLevel:
    """Summarize the chosen cases."""
    values = case_values(rows, system, kind, protocol)
    if not values:
        return CaseLevel()
    units, units_are = rows.units, rows.about.units_are
    spreads = {}
    for name in SPREADS:
        column = values[name][chosen]
        highest = 1.0 if name in {*SHARES, "auroc", "ap"} else np.inf
        spreads[name] = Spread(
            measure_median(column, units[chosen], units_are, highest=highest),
            measure_mean(column, units[chosen], units_are, highest=highest),
            quartiles(column),
            int(np.count_nonzero(~np.isnan(column))),
        )
    known = chosen & rows.has_truth
    healthy = chosen & ~rows.labels
    counts = {name: np.nan_to_num(values[name]) for name in values}

    def share(above: NDArray[np.float64], below: NDArray[np.float64], reason: str, highest: float = 1.0) -> Metric:
        return measure_ratio(above[known], below[known], units[known], units_are, reason, highest=highest)

    lesions = {
        "lesion_sensitivity": share(counts["lesions_hit"], counts["lesions"], "no lesion in any case"),
        "false_positives_per_case": share(
            counts["false_positives"], np.ones(len(units)), "no case with known truth", np.inf
        ),
    }
    for percent in (50, 10):
        parts = [counts[f"{name}_{percent}"] for name in ("matched", "missed", "false")]
        lesions[f"panoptic_{percent}"] = share(
            counts[f"iou_{percent}"], parts[0] + (parts[1] + parts[2]) / 2, "neither lesions nor findings"
        )
    return CaseLevel(
        spreads,
        lesions,
        _bands(rows, rows.lesion_rows(system, kind), chosen),
        {
            "healthy_flagged": _healthy_mean((values["findings"] > 0).astype(float), healthy, rows),
            "healthy_findings": _healthy_mean(values["findings"], healthy, rows, np.inf),
            "healthy_size": _healthy_mean(values["found_size"], healthy, rows, np.inf),
        },
        int(np.count_nonzero(healthy)),
    )


def measure_specificity(rows: Rows, system: str, protocol: Protocol, chosen: Chosen) -> dict[str, dict[str, Metric]]:
    """Return the sensitivity at 90 and 95 % specificity of whole cases, and of patients where these have several."""
    units_are = rows.about.units_are
    what = "volumes" if rows.about.is_volumes else "images"
    levels = {what: rows.case_scores(system, protocol, chosen)}
    if len(np.unique(rows.units)) < len(rows.units):
        levels[units_are] = rows.patient_scores(system, protocol, chosen)
    return {
        name: measure_sensitivity_at(scores.scores, scores.labels, scores.units, name, units_are)
        for name, scores in levels.items()
    }


def measure_detections(rows: Rows, system: str, chosen: Chosen) -> dict[str, Metric]:
    """Return the figures of the FROC curve; empty where findings were not counted at many thresholds."""
    detections = rows.detections(system, chosen)
    return {} if detections is None else measure_froc(detections, rows.about.units_are)


def measure_ratio(
    above: NDArray[np.float64],
    below: NDArray[np.float64],
    units: NDArray[np.str_],
    units_are: str,
    reason: str,
    *,
    highest: float = 1.0,
) -> Metric:
    """Return the sum of one column over the sum of another, with its interval over patients."""
    if not below.sum():
        return Metric.undefined(reason)
    names, index = np.unique(units, return_inverse=True)
    sums = [np.bincount(index, weights=column) for column in (above, below)]
    drawn = draw(len(names))
    with np.errstate(invalid="ignore", divide="ignore"):
        samples = (drawn @ sums[0]) / (drawn @ sums[1])
    value = float(above.sum() / below.sum())
    return with_interval(Metric(value), samples, value, len(names), units_are, highest=highest)


def _healthy_mean(values: NDArray[np.float64], healthy: Chosen, rows: Rows, highest: float = 1.0) -> Metric:
    if not healthy.any():
        return Metric.undefined("no normal cases")
    return measure_mean(values[healthy], rows.units[healthy], rows.about.units_are, highest=highest)


def _bands(rows: Rows, lesions: NDArray[np.float64], chosen: Chosen) -> tuple[Band, ...]:
    case = lesions[:, 0].astype(int)
    kept = lesions[chosen[case]] if len(lesions) else lesions
    if not len(kept):
        return ()
    units = rows.units[kept[:, 0].astype(int)]
    starts = BANDS_ML if rows.has_mm else BANDS_PIXELS
    bands = []
    for low, high in zip(starts, (*starts[1:], None), strict=True):
        inside = (kept[:, 1] >= low) & (kept[:, 1] < (np.inf if high is None else high))
        hit = measure_ratio(
            kept[inside, 2],
            np.ones(int(inside.sum())),
            units[inside],
            rows.about.units_are,
            "no lesion of this size",
        )
        bands.append(Band(low, high, int(inside.sum()), hit))
    return tuple(bands)
