"""`findings.json` and `findings.csv`: the findings as data."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

from moeclip_med.results.formats import RESULT_NAMES, ResultFormat
from moeclip_med.results.notes import RESEARCH_USE
from moeclip_med.results.writers import ResultWriter

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_med.scoring.anomaly import AnomalyVolume, Finding
    from moeclip_med.scoring.measures import Diameter, FindingMeasures
    from moeclip_med.scoring.review import FindingReview

FORMAT_VERSION = 1
"""Raised whenever a field of `findings.json` changes its name or meaning."""

CSV_COLUMNS = (
    "rank",
    "label",
    "volume_ml",
    "voxel_count",
    "peak_score",
    "mean_score",
    "peak_voxel_x",
    "peak_voxel_y",
    "peak_voxel_z",
    "centre_voxel_x",
    "centre_voxel_y",
    "centre_voxel_z",
    "centre_lps_x_mm",
    "centre_lps_y_mm",
    "centre_lps_z_mm",
    "box_start_x",
    "box_start_y",
    "box_start_z",
    "box_stop_x",
    "box_stop_y",
    "box_stop_z",
    "slice_first",
    "slice_last",
    "longest_diameter_mm",
    "perpendicular_diameter_mm",
    "mean_intensity",
    "sd_intensity",
    "max_intensity",
    "intensity_unit",
    "decision",
    "is_edited",
    "is_drawn",
    "site",
    "site_code",
    "comment",
    "threshold",
    "is_calibrated",
)


def findings_document(anomaly: AnomalyVolume, notes: tuple[str, ...]) -> dict[str, Any]:
    """The content of `findings.json`: plain types only, no identity of a patient.

    Args:
        anomaly: The scored volume.
        notes: What has to be said beside the numbers.

    Returns:
        A dictionary that `json` can write.
    """
    return {
        "format": "moeclip-med findings",
        "format_version": FORMAT_VERSION,
        "intended_use": RESEARCH_USE,
        "peak_score": round(anomaly.peak_score, 6),
        "threshold": round(anomaly.threshold, 6),
        "is_calibrated": anomaly.is_calibrated,
        "is_complete": anomaly.scored is None,
        "planes": list(anomaly.planes),
        "shape": list(anomaly.volume.shape),
        "affine_ras_mm": anomaly.affine.matrix.tolist(),
        "time_point": anomaly.volume.source.time_point,
        "reader": anomaly.reader,
        "notes": list(notes),
        "findings": [_finding_record(*pair) for pair in zip(anomaly.findings, anomaly.measures, strict=True)],
        "rejected": [_finding_record(one.finding, one.measures) for one in anomaly.rejected],
    }


def write_json(anomaly: AnomalyVolume, path: Path, notes: tuple[str, ...]) -> None:
    """Write `findings.json`."""
    text = json.dumps(findings_document(anomaly, notes), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def write_csv(anomaly: AnomalyVolume, path: Path, notes: tuple[str, ...]) -> None:  # noqa: ARG001 - shared signature
    """Write `findings.csv`: a header, and one line per finding, rejected ones last; unknown values are empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        rejected = [(one.finding, one.measures) for one in anomaly.rejected]
        for finding, measures in [*zip(anomaly.findings, anomaly.measures, strict=True), *rejected]:
            row = _csv_row(finding, measures)
            writer.writerow([*row, round(anomaly.threshold, 6), str(anomaly.is_calibrated).lower()])


def _finding_record(finding: Finding, measures: FindingMeasures) -> dict[str, Any]:
    return {
        "rank": finding.rank,
        "label": finding.label,
        "volume_ml": _rounded(finding.volume_ml, 4),
        "voxel_count": finding.voxel_count,
        "peak_score": round(finding.peak_score, 6),
        "mean_score": round(finding.mean_score, 6),
        "peak_voxel": list(finding.peak_voxel),
        "centre_voxel": [round(value, 3) for value in finding.centre_voxel],
        "centre_lps_mm": (
            None if finding.centre_lps_mm is None else [round(value, 3) for value in finding.centre_lps_mm]
        ),
        "box_start": list(finding.box_start),
        "box_stop": list(finding.box_stop),
        "slice_range": list(finding.slice_range),
        "longest_diameter": _line_record(measures.longest),
        "perpendicular_diameter": _line_record(measures.perpendicular),
        "intensity": {
            "mean": _rounded(measures.mean, 4),
            "sd": _rounded(measures.sd, 4),
            "max": _rounded(measures.maximum, 4),
            "unit": measures.unit.value,
        },
        "review": _review_record(finding.review),
    }


def _review_record(review: FindingReview | None) -> dict[str, Any] | None:
    """What a reader said of a finding; None where nothing."""
    if review is None:
        return None
    site = review.site
    return {
        "decision": review.decision.value,
        "is_edited": review.is_edited,
        "is_drawn": review.is_drawn,
        "site": None if site is None else {"meaning": site.meaning, "code": site.code, "scheme": site.scheme},
        "comment": review.comment,
    }


def _line_record(line: Diameter | None) -> dict[str, Any] | None:
    if line is None:
        return None
    ends = [[round(value, 3) for value in end] for end in (line.start, line.stop)]
    return {"mm": round(line.mm, 3), "start_voxel": ends[0], "stop_voxel": ends[1]}


def _csv_row(finding: Finding, measures: FindingMeasures) -> list[Any]:
    record = _finding_record(finding, measures)
    scalars = [record[name] for name in CSV_COLUMNS[:6]]
    triples = [
        value
        for name in ("peak_voxel", "centre_voxel", "centre_lps_mm", "box_start", "box_stop")
        for value in record[name] or ("", "", "")
    ]
    diameters = [(record[name] or {}).get("mm") for name in ("longest_diameter", "perpendicular_diameter")]
    intensity = record["intensity"].values()
    values = (*scalars, *triples, *record["slice_range"], *diameters, *intensity, *_review_cells(finding.review))
    return ["" if value is None else value for value in values]


def _review_cells(review: FindingReview | None) -> tuple[str, ...]:
    if review is None:
        return ("open", "false", "false", "", "", "")
    site, flags = review.site, (review.is_edited, review.is_drawn)
    place = ("", "") if site is None else (site.meaning, f"{site.scheme}:{site.code}" if site.code else "")
    return (review.decision.value, *(str(flag).lower() for flag in flags), *place, review.comment)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


CSV = ResultWriter(RESULT_NAMES[ResultFormat.CSV], write_csv)
JSON = ResultWriter(RESULT_NAMES[ResultFormat.JSON], write_json)
