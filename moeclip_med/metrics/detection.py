"""Detection per volume: lesions hit, false findings, and the FROC curve over thresholds.

Findings are the connected regions at or above a threshold that are large enough to be listed. (The product also
joins what scores of the lower threshold connect, and counts the joined parts together.) Each is marked
where its score is highest. A lesion is hit when a mark lies in it or right beside it (one of the 26 neighbours); a
finding whose mark lies in no lesion is false. Were any overlap enough, one finding that covers the whole organ would
hit every lesion and never be false.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from moeclip_med.metrics.histogram import label_regions
from moeclip_med.metrics.value import Metric

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
        places = lesion_places(mask)
        row = [detect(raw, threshold, places, smallest) for threshold in self.thresholds]
        self.hits = np.vstack([self.hits, [[hits for hits, _ in row]]])
        self.false_findings = np.vstack([self.false_findings, [[false for _, false in row]]])
        self.lesions = np.append(self.lesions, places[1])


def lesion_places(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Number the lesions of a mask and widen each by one voxel, so that marks right beside it count.

    Args:
        mask: (x, y, z), True where abnormal.

    Returns:
        (x, y, z) the number of the lesion or 0; how many there are.
    """
    labels, count = label_regions(mask)
    if not count:
        return labels, 0
    wider = ndimage.grey_dilation(labels, footprint=np.ones((3,) * mask.ndim, dtype=bool), mode="nearest")
    return np.where(labels > 0, labels, wider), count


def detect(
    raw: NDArray[np.floating[Any]], threshold: float, places: tuple[NDArray[np.int32], int], smallest: int
) -> tuple[int, int]:
    """Compare the findings at one threshold with the lesions.

    Args:
        raw: (x, y, z), higher is more abnormal.
        threshold: The lowest score that counts.
        places: Of `lesion_places`.
        smallest: Findings of fewer voxels are not counted.

    Returns:
        Lesions hit, and findings whose mark lies in none.
    """
    lesion_labels, _ = places
    labels, count = label_regions(raw >= threshold)
    found = labels.reshape(-1).nonzero()[0]
    finding, score = labels.reshape(-1)[found], raw.reshape(-1)[found]
    size = np.bincount(finding, minlength=count + 1)
    highest = np.full(count + 1, -np.inf)
    np.maximum.at(highest, finding, score)
    is_peak = (score == highest[finding]) & (size[finding] >= smallest)
    # Where several voxels share the highest score, the one that lies in a lesion (the highest number) is the mark.
    mark = np.full(count + 1, -1, dtype=np.int64)
    np.maximum.at(mark, finding[is_peak], lesion_labels.reshape(-1)[found[is_peak]])
    marks = mark[mark >= 0]
    return len(np.unique(marks[marks > 0])), int(np.count_nonzero(marks == 0))


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
