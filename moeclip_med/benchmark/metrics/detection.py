"""Detection per volume: lesions hit, false findings, and the FROC curve over thresholds.

A lesion counts as hit when a finding touches at least one of its voxels; a finding that touches no lesion is false.
Findings are the connected regions at or above a threshold that are large enough to be listed, as in the product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_med.benchmark.metrics.histogram import label_regions
from moeclip_med.benchmark.metrics.value import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

FROC_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False findings per volume at which sensitivity is read (the LUNA16 challenge's seven rates)."""


@dataclass
class Detections:
    """Hits and false findings of volumes at several thresholds.

    Attributes:
        thresholds: (thresholds,) raw scores.
        hits: (volumes, thresholds) lesions hit.
        false_findings: (volumes, thresholds).
        lesions: (volumes,).
    """

    thresholds: NDArray[np.float64]
    hits: NDArray[np.int64]
    false_findings: NDArray[np.int64]
    lesions: NDArray[np.int64]

    @classmethod
    def none(cls, thresholds: NDArray[np.float64]) -> Detections:
        """No volume seen yet."""
        empty = np.zeros((0, len(thresholds)), np.int64)
        return cls(thresholds, empty, empty.copy(), np.zeros(0, np.int64))

    def add(self, raw: NDArray[np.floating[Any]], mask: NDArray[np.bool_], smallest: int) -> None:
        """Count one volume.

        Args:
            raw: (x, y, z), higher is more abnormal.
            mask: Same shape, True where abnormal.
            smallest: Findings of fewer voxels are not counted.
        """
        lesion_labels, lesions = label_regions(mask)
        row = [detect(raw >= threshold, lesion_labels, lesions, smallest) for threshold in self.thresholds]
        self.hits = np.vstack([self.hits, [[hits for hits, _ in row]]])
        self.false_findings = np.vstack([self.false_findings, [[false for _, false in row]]])
        self.lesions = np.append(self.lesions, lesions)


def detect(found: NDArray[np.bool_], lesion_labels: NDArray[np.int32], lesions: int, smallest: int) -> tuple[int, int]:
    """Compare findings with lesions.

    Args:
        found: (x, y, z), True at or above the threshold.
        lesion_labels: Same shape, the number of the lesion or 0.
        lesions: How many lesions there are.
        smallest: Findings of fewer voxels are not counted.

    Returns:
        Lesions hit, and findings that touch none.
    """
    labels, count = label_regions(found)
    size = np.bincount(labels.reshape(-1), minlength=count + 1)
    is_listed = size >= smallest
    is_listed[0] = False
    touching = lesion_labels > 0
    pairs_finding, pairs_lesion = labels[touching], lesion_labels[touching]
    kept = is_listed[pairs_finding]
    hit = np.zeros(lesions + 1, dtype=bool)
    hit[pairs_lesion[kept]] = True
    is_true = np.zeros(count + 1, dtype=bool)
    is_true[pairs_finding[kept]] = True
    return int(hit.sum()), int((is_listed & ~is_true).sum())


def froc(detections: Detections) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the FROC curve.

    Returns:
        (thresholds,) false findings per volume and (thresholds,) share of all lesions hit, from the highest
        threshold down.
    """
    order = np.argsort(-detections.thresholds, kind="stable")
    false_rate = detections.false_findings.mean(axis=0)[order]
    sensitivity = detections.hits.sum(axis=0)[order] / detections.lesions.sum()
    return false_rate, sensitivity


def measure_froc(detections: Detections) -> dict[str, Metric]:
    """Read the sensitivity at each of `FROC_RATES`, and their mean ("froc_mean").

    The sensitivity at a rate is the best of all thresholds with no more false findings per volume: lower thresholds
    can merge false findings, so the rate does not always rise.
    """
    names = [f"sensitivity_at_{rate:g}" for rate in FROC_RATES]
    if not detections.lesions.sum():
        return dict.fromkeys([*names, "froc_mean"], Metric.undefined("no lesion in any volume"))
    false_rate, sensitivity = froc(detections)
    at_rate = [float(sensitivity[false_rate <= rate].max(initial=0.0)) for rate in FROC_RATES]
    metrics = {name: Metric(value) for name, value in zip(names, at_rate, strict=True)}
    metrics["froc_mean"] = Metric(float(np.mean(at_rate)))
    return metrics
