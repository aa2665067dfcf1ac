"""From stored rows to figures, each with its error bound and interval over patients, or the reason for its absence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from moeclip_med.metrics import bootstrap
from moeclip_med.metrics.curves import measure
from moeclip_med.metrics.exact import exact_counts, measure_exactly
from moeclip_med.metrics.histogram import PixelCounts
from moeclip_med.metrics.threshold import THRESHOLD_METRICS, measure_at_threshold, threshold_samples
from moeclip_med.metrics.value import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeclip_med.benchmark.outcomes import ThresholdKind
    from moeclip_med.benchmark.protocol import Protocol
    from moeclip_med.benchmark.stored_rows import Rows, Scores
    from moeclip_med.metrics.bootstrap import Samples

PIXEL_METRICS = ("auroc", "ap", "f1max", "aupro")
IMAGE_METRICS = ("auroc", "ap", "f1max")

_RANK_BINS = 1024
_NO_MASKS = "the set has no masks"
_NO_THRESHOLD = "it has no such threshold"


@dataclass
class Level:
    """Figures of one kind: of pixels, of images, of volumes, of decisions at the threshold.

    Attributes:
        metrics: The figures, averaged over classes.
        groups: The same of each class.
        samples: (repeats,) bootstrap samples of each figure, for paired tests.
    """

    metrics: dict[str, Metric]
    groups: dict[str, dict[str, Metric]] = field(default_factory=dict)
    samples: Samples = field(default_factory=dict)


@dataclass
class LevelPart:
    """What one class adds to a level: its figures, and their resampled and coarse values."""

    metrics: dict[str, Metric]
    samples: Samples
    coarse: dict[str, float]
    units: int


def pixel_level(rows: Rows, system: str, protocol: Protocol) -> Level:
    """Return AUROC, AP, F1max and AUPRO of pixels."""
    if not rows.has_mask.any():
        return Level(dict.fromkeys(PIXEL_METRICS, Metric.undefined(_NO_MASKS)))
    parts = {}
    for group in rows.group_names():
        stored = rows.progress.groups[group][f"{system}/{protocol}"]
        metrics = {name: stored[name] for name in PIXEL_METRICS}
        names, counts = rows.unit_counts(system, protocol, rows.groups == group)
        parts[group] = pixel_part(metrics, counts, len(names))
    return combine(parts, rows.about.units_are)


def pixel_part(metrics: dict[str, Metric], counts: PixelCounts, units: int) -> LevelPart:
    """Resample the pixel metrics of one class.

    Args:
        metrics: The exact ones; empty to take those of the coarse histograms.
        counts: (units, bins).
        units: How many there are.
    """
    coarse = measure(
        PixelCounts(
            counts.normal.sum(0), counts.abnormal.sum(0), counts.overlap.sum(0), np.asarray(counts.regions.sum())
        )
    )
    samples = bootstrap.curve_samples(counts, bootstrap.draw(units))
    return LevelPart(metrics or coarse, samples, {name: _number(metric) for name, metric in coarse.items()}, units)


def threshold_level(rows: Rows, system: str, protocol: Protocol, kind: ThresholdKind) -> Level:
    """Return Dice, sensitivity and specificity of pixels at a threshold."""
    if kind not in rows.thresholds(system):
        return Level(dict.fromkeys(THRESHOLD_METRICS, Metric.undefined(_NO_THRESHOLD)))
    if not rows.has_mask.any():
        return Level(dict.fromkeys(THRESHOLD_METRICS, Metric.undefined(_NO_MASKS)))
    parts = {}
    for group in rows.group_names():
        decisions = rows.unit_decisions(system, protocol, kind, rows.groups == group)
        metrics = measure_at_threshold(decisions.sum(axis=0))
        samples = threshold_samples(bootstrap.draw(len(decisions)) @ decisions)
        coarse = {name: _number(metric) for name, metric in metrics.items()}
        parts[group] = LevelPart(metrics, samples, coarse, len(decisions))
    return combine(parts, rows.about.units_are)


def image_level(rows: Rows, system: str, protocol: Protocol) -> Level:
    """Return AUROC, AP and F1max of images (of slices, where the set is of volumes)."""
    what = "slices" if rows.about.is_volumes else "images"
    parts = {
        group: scores_part(rows.image_scores(system, protocol, rows.groups == group), what)
        for group in rows.group_names()
    }
    return combine(parts, rows.about.units_are)


def volume_level(rows: Rows, system: str, protocol: Protocol) -> Level:
    """Return AUROC, AP and F1max of whole volumes."""
    everything = np.ones(len(rows.keys), dtype=bool)
    return combine({"": scores_part(rows.case_scores(system, protocol, everything), "volumes")}, rows.about.units_are)


def scores_part(scores: Scores, what: str) -> LevelPart:
    """Compute and resample the metrics of image scores."""
    metrics = measure_exactly(scores.scores, scores.labels, what)
    binned = _rank_binned(scores.scores)
    names, index = np.unique(scores.units, return_inverse=True)
    distinct, column = np.unique(binned, return_inverse=True)
    shape = (len(names), len(distinct))
    normal, abnormal = np.zeros(shape), np.zeros(shape)
    np.add.at(normal, (index[~scores.labels], column[~scores.labels]), 1)
    np.add.at(abnormal, (index[scores.labels], column[scores.labels]), 1)
    counts = PixelCounts(normal, abnormal, np.zeros(shape), np.zeros(len(names)))
    samples = bootstrap.curve_samples(counts, bootstrap.draw(len(names)), with_regions=False)
    coarse = measure(exact_counts(binned, scores.labels), is_binned=False)
    return LevelPart(metrics, samples, {name: _number(coarse[name]) for name in IMAGE_METRICS}, len(names))


def combine(parts: dict[str, LevelPart], units_are: str) -> Level:
    """Average figures over classes, each over those in which it is defined, and add intervals."""
    first = next(iter(parts.values()), None)
    if first is None:
        return Level({})
    samples = bootstrap.macro_samples([part.samples for part in parts.values()])
    units = sum(part.units for part in parts.values())
    metrics = {}
    for name in first.metrics:
        averaged = _average([part.metrics[name] for part in parts.values()])
        coarse = [part.coarse[name] for part in parts.values() if part.metrics[name].value is not None]
        mean = float(np.mean(coarse)) if coarse else float("nan")
        metrics[name] = bootstrap.with_interval(averaged, samples[name], mean, units, units_are)
    groups = {group: part.metrics for group, part in parts.items()} if len(parts) > 1 else {}
    return Level(metrics, groups, samples)


def _average(metrics: list[Metric]) -> Metric:
    values = [metric.value for metric in metrics if metric.value is not None]
    if not values:
        return Metric.undefined(", ".join(dict.fromkeys(metric.reason for metric in metrics)))
    bound = float(np.mean([metric.error_bound for metric in metrics if metric.value is not None]))
    return Metric(float(np.mean(values)), error_bound=bound)


def _rank_binned(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace scores by the rank of their quantile where there are too many distinct ones to resample."""
    if len(np.unique(scores)) <= _RANK_BINS:
        return scores
    edges = np.quantile(scores, np.linspace(0, 1, _RANK_BINS + 1)[1:-1])
    return np.searchsorted(edges, scores, side="right").astype(np.float64)


def _number(metric: Metric) -> float:
    return float("nan") if metric.value is None else metric.value
