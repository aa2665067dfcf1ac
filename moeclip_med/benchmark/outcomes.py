"""What the findings of one system in one case are worth, at one threshold.

Findings are those that `moeclip-med score` would list: the same function, threshold, lower limit and smallest size. A
system that is not a model of this package has no lower limit: its findings are the connected regions at its threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from moeclip_med.metrics.detection import LesionPlaces, lesion_places, match_marks
from moeclip_med.metrics.lesions import BRATS_GLIOMA, LesionRule, measure_lesions, panoptic
from moeclip_med.metrics.overlap import TOLERANCE_MM, TOLERANCE_PIXELS, diagonal, measure_overlap
from moeclip_med.metrics.surfaces import bounding_box
from moeclip_med.scoring.findings import FindingsResult, find_findings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moeclip_transforms import Volume
    from numpy.typing import NDArray

    from moeclip_med.benchmark.systems import Scored

    Mask = NDArray[np.bool_]

LESION_PIXELS = 3.0
"""Dilation of the lesion-wise measures, for images without a size in mm."""

_MARGIN = 4


class ThresholdKind(StrEnum):
    """Where a threshold comes from: told apart in every table."""

    STORED = "stored"
    """The model's own, or the one that a user gave for maps of another program."""
    CHOSEN = "chosen"
    """The one of the highest Dice on another set (`--threshold-from`)."""
    ORACLE = "oracle"
    """The one of the highest Dice on this very set: an upper bound, not a result."""


CASE_COLUMNS = (
    "truth_size",
    "found_size",
    "dice",
    "iou",
    "sensitivity",
    "precision",
    "hd95",
    "nsd",
    "findings",
    "false_positives",
    "lesions",
    "lesions_hit",
    "lesion_dice",
    "lesion_hd95",
    "false_regions",
    "matched_50",
    "missed_50",
    "false_50",
    "iou_50",
    "matched_10",
    "missed_10",
    "false_10",
    "iou_10",
)
"""Numbers kept for each case and threshold; NaN where undefined. Sizes in ml and distances in mm, or both in pixels."""


@dataclass(frozen=True)
class CaseTruth:
    """The truth of one case, and the units it is measured in.

    Attributes:
        volume: The image.
        mask: (x, y, z) True where abnormal; None where only the label of the case is known.
        places: Its lesions; None without a mask.
        ignored: (x, y, z) True where nothing counts; None where there is no such place.
    """

    volume: Volume
    mask: Mask | None
    places: LesionPlaces | None
    ignored: Mask | None = None

    @classmethod
    def of(cls, volume: Volume, mask: Mask | None, ignored: Mask | None = None) -> CaseTruth:
        """Number the lesions of a mask."""
        return cls(volume, mask, None if mask is None else lesion_places(mask), ignored)

    @property
    def has_mm(self) -> bool:
        """Whether sizes are known in mm."""
        return self.volume.has_spacing

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along each axis, mm; 1 for pixels without a size."""
        return self.volume.affine.spacing if self.has_mm else (1.0, 1.0, 1.0)

    @property
    def element_size(self) -> float:
        """Size of one voxel in ml; 1 for pixels without a size."""
        return self.volume.affine.voxel_ml if self.has_mm else 1.0


class Marks(NamedTuple):
    """What was found at one threshold.

    Attributes:
        result: Labels and findings.
        places: For each finding the voxels (n, 3) of its highest score.
    """

    result: FindingsResult
    places: list[NDArray[np.intp]]


def find(system: Scored, scores: NDArray[np.float32], volume: Volume, threshold: float) -> Marks:
    """List the findings of a map as the product does.

    Args:
        system: Says whether it has a lower limit.
        scores: (x, y, z) float32 of `System.scores`.
        volume: The image.
        threshold: On the scale of the scores.
    """
    if not system.has_lower_limit:
        scores = np.where(scores >= threshold, scores, np.float32(0.0))
    result = find_findings(scores, volume, threshold)
    return Marks(result, list(_peaks(scores, result)))


def detect(
    system: Scored, scores: NDArray[np.float32], truth: CaseTruth, threshold: float
) -> tuple[NDArray[np.bool_], int]:
    """Compare the findings at one threshold with the lesions: (lesions,) True where hit; false positives."""
    assert truth.places is not None  # noqa: S101 - for the type checker; the caller looked
    if scores.max() < threshold:
        return np.zeros(len(truth.places.sizes), dtype=bool), 0
    return match_marks(truth.places, find(system, scores, truth.volume, threshold).places)


def measure_case(truth: CaseTruth, marks: Marks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Measure the findings of one case.

    Args:
        truth: Of the case.
        marks: What was found.

    Returns:
        (`CASE_COLUMNS`,), and (lesions, 2) size and hit of each lesion.
    """
    found = marks.result.labels > 0
    row = dict.fromkeys(CASE_COLUMNS, float("nan"))
    row["findings"] = len(marks.result.findings)
    row["found_size"] = float(np.count_nonzero(found)) * truth.element_size
    if truth.mask is None or truth.places is None:
        return np.array(list(row.values())), np.zeros((0, 2))
    hit, false = match_marks(truth.places, marks.places)
    sizes = truth.places.sizes * truth.element_size
    row |= {"false_positives": false, "lesions": len(hit), "lesions_hit": int(hit.sum())}
    row |= _compare(truth, found, marks)
    return np.array(list(row.values())), np.stack([sizes, hit.astype(float)], axis=1)


def _compare(truth: CaseTruth, found: Mask, marks: Marks) -> dict[str, float]:
    """Compare masks inside the box that holds all of both."""
    assert truth.mask is not None  # noqa: S101 - for the type checker; the caller looked
    assert truth.places is not None  # noqa: S101
    everything = truth.mask | found
    box = bounding_box(everything, _MARGIN) if everything.any() else (slice(0, 1),) * 3
    axes = tuple(axis for axis in range(3) if truth.volume.shape[axis] > 1) or (0, 1)
    spacing = tuple(truth.spacing[axis] for axis in axes)

    def cut(array: NDArray[np.generic]) -> NDArray[np.generic]:
        part = array[box]
        return part.reshape([part.shape[axis] for axis in axes])

    worst = diagonal(tuple(truth.volume.shape[axis] for axis in axes), spacing)
    rule = BRATS_GLIOMA if truth.has_mm else LesionRule(LESION_PIXELS, 0.0, worst)
    mask, mine = cut(truth.mask).astype(bool), cut(found).astype(bool)
    overlap = measure_overlap(
        mask,
        mine,
        spacing,
        element_size=truth.element_size,
        tolerance=TOLERANCE_MM if truth.has_mm else TOLERANCE_PIXELS,
        worst=worst,
    )
    row = {name: getattr(overlap, name) for name in ("truth_size", "dice", "iou", "sensitivity", "precision")}
    row |= {"hd95": overlap.hd95, "nsd": overlap.nsd}
    if mask.any():
        lesions = measure_lesions(mask, mine, spacing, rule)
        row |= {"lesion_dice": lesions.dice, "lesion_hd95": lesions.hd95, "false_regions": lesions.false_regions}
    labels = cut(truth.places.labels).astype(np.int64), cut(marks.result.labels).astype(np.int64)
    for percent in (50, 10):
        pairs = panoptic(*labels, percent / 100)
        row |= {
            f"matched_{percent}": pairs.matched,
            f"missed_{percent}": pairs.missed,
            f"false_{percent}": pairs.false,
            f"iou_{percent}": pairs.iou_sum,
        }
    return row


def _peaks(scores: NDArray[np.float32], result: FindingsResult) -> Iterator[NDArray[np.intp]]:
    for finding in result.findings:
        box = tuple(slice(a, b) for a, b in zip(finding.box_start, finding.box_stop, strict=True))
        inside = result.labels[box] == finding.label
        highest = scores[box][inside].max()
        yield np.argwhere(inside & (scores[box] == highest)) + np.array(finding.box_start)
