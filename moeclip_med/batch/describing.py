"""A series as a line of the triage list."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from moeclip_transforms.modality import known_modality

from moeclip_med.batch.records import FindingRecord, SeriesRecord, SeriesState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from moeclip_transforms import Series

    from moeclip_med.scoring import AnomalyVolume

MOST_LISTED = 1000
"""Findings of a series in the table of findings, the highest first; all are in its own results."""


def describe(name: str, series: Series) -> SeriesRecord:
    """Say what a series is, from its header, without what could identify anyone."""
    columns, rows, slices, time_points = series.shape
    return SeriesRecord(
        name,
        SeriesState.SKIPPED,
        modality=known_modality(series.modality),
        kind=series.kind.value,
        format=series.format.value,
        columns=columns,
        rows=rows,
        slices=slices,
        channels=series.channels,
        time_points=time_points,
    )


def refusal_note(refused: Mapping[str, str], redact: Callable[[str], str]) -> str:
    """Say which results could not be written for a series and why, or ""."""
    if not refused:
        return ""
    reason = redact(next(iter(refused.values())))
    return f"Not written: {', '.join(refused)}. {reason}"


def summarise(record: SeriesRecord, anomaly: AnomalyVolume, *said: str) -> SeriesRecord:
    """Add what scoring found, and what else there is to say, to a record; the largest finding has the most ml."""
    from moeclip_med.results.notes import UNCALIBRATED, result_notes

    largest = max(anomaly.findings, key=lambda found: (found.volume_ml or 0.0, found.voxel_count), default=None)
    columns, rows, slices = anomaly.volume.shape
    return replace(
        record,
        state=SeriesState.DONE,
        kind=anomaly.record.settings.kind.value,
        columns=columns,
        rows=rows,
        slices=slices,
        score=round(anomaly.peak_score, 6),
        findings=len(anomaly.findings),
        largest_ml=None if largest is None or largest.volume_ml is None else round(largest.volume_ml, 4),
        largest_pixels=0 if largest is None else largest.voxel_count,
        threshold=round(anomaly.threshold, 6),
        is_calibrated=anomaly.is_calibrated,
        found=tuple(_finding(anomaly, index) for index in range(min(len(anomaly.findings), MOST_LISTED))),
        engine_note=anomaly.record.engine.fallback_reason,
        # That the threshold is uncalibrated is said once for the whole list.
        notes=tuple(note for note in (*said, *result_notes(anomaly)) if note and not note.startswith(UNCALIBRATED)),
    )


def _finding(anomaly: AnomalyVolume, index: int) -> FindingRecord:
    from moeclip_med.results.words import place_words

    finding, measures = anomaly.findings[index], anomaly.measures[index]
    first, last = finding.slice_range
    return FindingRecord(
        rank=finding.rank,
        peak=round(finding.peak_score, 6),
        mean=round(finding.mean_score, 6),
        voxels=finding.voxel_count,
        volume_ml=_rounded(finding.volume_ml),
        long_mm=_rounded(None if measures.longest is None else measures.longest.mm),
        short_mm=_rounded(None if measures.perpendicular is None else measures.perpendicular.mm),
        value_mean=_rounded(measures.mean),
        value_sd=_rounded(measures.sd),
        value_unit=measures.unit.value,
        place=place_words(anomaly, finding),
        first_slice=first + 1,
        last_slice=last + 1,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def declared_bytes(series: Series) -> int:
    """The size of one time point of a series as float32, from its header, bytes."""
    columns, rows, slices, _ = series.shape
    return columns * rows * slices * series.channels * 4
