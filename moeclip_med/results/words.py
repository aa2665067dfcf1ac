"""A finding in words, the same in the report and on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeclip_med.scoring.measures import IntensityUnit

if TYPE_CHECKING:
    from moeclip_med.scoring.anomaly import AnomalyVolume, Finding
    from moeclip_med.scoring.measures import FindingMeasures

_LEAST_ML = 0.01
_NARROW_SPACE = "\u202f"
_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))
"""For each axis of DICOM's patient frame (LPS+): the letter of its negative and of its positive half."""


def count_words(count: int) -> str:
    """Return how many findings there are: "no finding", "1 finding", "2 findings"."""
    return "no finding" if count == 0 else "1 finding" if count == 1 else f"{count} findings"


def size_words(finding: Finding) -> str:
    """Say how large a finding is, "3.5 ml"; in mm³ where that is little, in pixels where the image has no spacing."""
    if finding.volume_ml is None:
        return f"{finding.voxel_count:,} pixels".replace(",", _NARROW_SPACE)
    if finding.volume_ml < _LEAST_ML:
        return f"{1000 * finding.volume_ml:.2g} mm³"
    return f"{finding.volume_ml:.1f} ml" if finding.volume_ml >= 1 else f"{finding.volume_ml:.2f} ml"


def place_words(anomaly: AnomalyVolume, finding: Finding) -> str:
    """Say where its centre lies, "L 12.0 · P 3.5 · S 40.1" in mm; in pixels where the image has no orientation."""
    if finding.centre_lps_mm is None:
        x, y, z = finding.centre_voxel
        place = f"{x:.0f}, {y:.0f}"
        return place if anomaly.volume.shape[2] == 1 else f"{place}, frame {z + 1:.0f}"
    return " · ".join(
        f"{pair[value >= 0]} {abs(value):.1f}" for pair, value in zip(_LETTERS, finding.centre_lps_mm, strict=True)
    )


def slice_words(finding: Finding) -> str:
    """Say which slices it lies in, counted from 1: "26–27"."""
    first, last = (index + 1 for index in finding.slice_range)
    return str(first) if first == last else f"{first}–{last}"


def review_words(finding: Finding) -> str:
    """Say what a reader said of a finding, "accepted · outline edited · Brain · comment"; "" where nothing."""
    review = finding.review
    if review is None:
        return ""
    words = [] if review.decision == "open" else [review.decision.value]
    words += ["drawn by the reader" if review.is_drawn else "outline edited"] * review.is_edited
    words += [review.site.meaning] if review.site is not None else []
    return " · ".join([*words, *([review.comment] if review.comment else [])])


def diameter_words(measures: FindingMeasures) -> str:
    """Say the longest and the perpendicular diameter, "34.2 × 21.0 mm"; "" where there are no mm."""
    if measures.longest is None or measures.perpendicular is None:
        return ""
    return f"{measures.longest.mm:.1f} × {measures.perpendicular.mm:.1f} mm"


def intensity_words(measures: FindingMeasures) -> str:
    """Say mean and standard deviation of the intensity, "41 ± 12 HU"; "" where it has none."""
    if measures.mean is None or measures.sd is None:
        return ""
    unit = " HU" if measures.unit is IntensityUnit.HU else ""
    return f"{measures.mean:.4g} ± {measures.sd:.3g}{unit}"
