"""What scoring a volume gives: anomaly scores on the volume's own grid, and the findings in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from moeclip_med.scoring.measures import FindingMeasures, measure_finding

if TYPE_CHECKING:
    import numpy as np
    from moeclip_transforms import Volume
    from moeclip_transforms.geometry import Affine
    from numpy.typing import NDArray

    from moeclip_med.scoring.record import ScoringRecord
    from moeclip_med.scoring.review import FindingReview

LOW_THRESHOLD_SHARE = 0.6
"""The low (hysteresis) threshold as a share of the threshold; see `low_threshold`.

A threshold that seldom flags a healthy image cuts off most of a lesion's rim. On held-out industrial and synthetic
images, where the threshold is 0.5, the F1 of pixels is largest at 0.3 (docs/research/experiments.md). Medical images
were not used.
"""


_HIGHEST_SCALED_THRESHOLD = 0.5
"""Above it the low threshold stays where it is: fewer regions are found, with the same outlines."""


def low_threshold(threshold: float) -> float:
    """Return the score down to which a finding reaches (the lower one of a hysteresis), for the one that finds it."""
    return LOW_THRESHOLD_SHARE * min(threshold, _HIGHEST_SCALED_THRESHOLD)


@dataclass(frozen=True)
class Finding:
    """One connected region that reaches the threshold, as far as scores stay at or above `low_threshold`.

    Attributes:
        rank: 1 for the finding with the highest peak score.
        label: The value of its voxels in `AnomalyVolume.labels`.
        volume_ml: Volume in ml; None where the image has no spacing in mm (photographs).
        voxel_count: Number of voxels (of a photograph, pixels).
        peak_score: Highest score in it, 0 to 1.
        mean_score: Mean score over it, 0 to 1.
        peak_voxel: Index (x, y, z) of the highest score.
        centre_voxel: Score-weighted centre, (x, y, z), in fractional voxel indices.
        centre_lps_mm: The same point in mm, LPS+ (DICOM's frame); None without orientation.
        box_start: First voxel (x, y, z) of the bounding box.
        box_stop: One past the last voxel (x, y, z) of the bounding box.
        slice_range: First and last index along the slice axis, both included.
        review: What a reader said of it (`apply_review`), or None.
    """

    rank: int
    label: int
    volume_ml: float | None
    voxel_count: int
    peak_score: float
    mean_score: float
    peak_voxel: tuple[int, int, int]
    centre_voxel: tuple[float, float, float]
    centre_lps_mm: tuple[float, float, float] | None
    box_start: tuple[int, int, int]
    box_stop: tuple[int, int, int]
    slice_range: tuple[int, int]
    review: FindingReview | None = None

    @property
    def key(self) -> tuple[int, int, int]:
        """The voxel that a reader's decision knows it by, at any threshold."""
        return self.peak_voxel if self.review is None else self.review.voxel


@dataclass(frozen=True)
class RejectedFinding:
    """A finding that a reader rejected, with what was measured on it before its voxels were given up."""

    finding: Finding
    measures: FindingMeasures


@dataclass(frozen=True, eq=False, repr=False)
class AnomalyVolume:
    """Anomaly scores on the grid of the volume they belong to.

    Attributes:
        volume: The volume that was scored.
        scores: (x, y, z) float32, 0 to 1; comparable between volumes scored with the same model.
        raw: (x, y, z) float32, the network's unbounded map, where it was asked for; else None.
        routing: (level, x, y, z) uint8, the expert with the largest weight per patch counted from 1, and 0 where the
            network saw nothing; None where not asked for.
        labels: (x, y, z) uint16, 0 outside findings, else the finding's label.
        findings: Sorted by rank.
        record: How they came about.
        scored: (x, y, z) bool where scoring was cancelled early, True for scored voxels; None when complete.
        rejected: Findings that a reader rejected: on record, with label 0, and no part of outlines and totals.
        reader: The name of who reviewed it, where it was typed; else "".
        reviewed: When its review was last changed, in ISO 8601; "" without one.
        has_image: False for a run that was read back without its image: `volume` then holds the map, which has no
            intensities to measure.
    """

    volume: Volume
    scores: NDArray[np.float32]
    labels: NDArray[np.uint16]
    findings: tuple[Finding, ...]
    record: ScoringRecord
    raw: NDArray[np.float32] | None = None
    routing: NDArray[np.uint8] | None = None
    scored: NDArray[np.bool_] | None = None
    rejected: tuple[RejectedFinding, ...] = ()
    reader: str = ""
    reviewed: str = ""
    has_image: bool = True

    def __repr__(self) -> str:
        """Return one line without values, names or paths."""
        kind = "calibrated" if self.is_calibrated else "uncalibrated"
        return (
            f"<AnomalyVolume {self.scores.shape}, highest score {float(self.scores.max(initial=0.0)):.2f}, "
            f"threshold {self.threshold:g} ({kind}), findings: {len(self.findings)}>"
        )

    @property
    def affine(self) -> Affine:
        """Where the scores lie: the volume's own affine."""
        return self.volume.affine

    @property
    def threshold(self) -> float:
        """The score that a finding reaches; from the model's metadata unless a user set it."""
        return self.record.settings.threshold

    @property
    def is_calibrated(self) -> bool:
        """Whether the threshold is a measured operating point (`moeclip-med calibrate`); every output says so."""
        return self.record.settings.is_calibrated

    @property
    def planes(self) -> tuple[str, ...]:
        """The planes that were scored ("axial", ...); more than one when planes were fused."""
        return self.record.settings.planes

    @property
    def peak_score(self) -> float:
        """The highest score, which is the score of the volume as a whole (the paper's rule for medical images)."""
        return float(self.scores.max())

    @property
    def is_reviewed(self) -> bool:
        """Whether a reader decided, commented or corrected anything of it; a site alone may be the user's for all."""
        said = (finding.review for finding in self.findings)
        return bool(self.reader or self.rejected) or any(one is not None and one.is_read for one in said)

    @cached_property
    def measures(self) -> tuple[FindingMeasures, ...]:
        """Diameters and intensities of each finding, in the order of `findings`; measured when first asked for."""
        return tuple(self._measured(finding) for finding in self.findings)

    def _measured(self, finding: Finding) -> FindingMeasures:
        box = tuple(slice(start, stop) for start, stop in zip(finding.box_start, finding.box_stop, strict=True))
        return self.measure(self.labels[box] == finding.label, finding.box_start)

    def measure(self, inside: NDArray[np.bool_], start: tuple[int, int, int]) -> FindingMeasures:
        """Measure a region: diameters, and intensities where the image is there.

        Args:
            inside: (x, y, z) of its bounding box, True in the region.
            start: The first voxel of that box.
        """
        measures = measure_finding(inside, start, self.volume)
        return measures if self.has_image else replace(measures, mean=None, sd=None, maximum=None)
