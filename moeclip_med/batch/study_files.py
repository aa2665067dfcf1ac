"""A study's files as something to read series from, and a series as a line of the lists."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from moeclip_transforms.modality import known_modality

from moeclip_med.batch.records import FindingRecord, SeriesRecord, SeriesState
from moeclip_med.batch.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from moeclip_transforms import ImageSource, Series, Volume
    from moeclip_transforms.discovery import Findings

    from moeclip_med.batch.records import FileStamp
    from moeclip_med.scoring import AnomalyVolume

_COPIES, _SLICE_COPIES = 4, 12
"""Arrays of float32 alive at once: of the volume's size (image, scores, labels and one being made), and of a slice's,
which is cut, resized, drawn and encoded. Measured; a mammogram is one slice (docs/reliability.md)."""

MOST_LISTED = 1000
"""Findings of a series in the table of findings, the highest first; all are in its own results."""


class StudyFiles:
    """The files of a study as something to read series from, with notes that identify nobody."""

    def __init__(self, found: Findings | ImageSource, redact: Redactor) -> None:
        self.series = found.series
        self.unreadable = found.unreadable
        self.excluded = found.excluded
        self.redact = redact

    def read(self, series: Series, *, time_point: int = 0) -> Volume:
        """Read a series; its description and an undefined Modality stay behind, and its notes name no file."""
        from moeclip_transforms.source import read_series

        volume = read_series(series, time_point=time_point)
        notes = tuple(self.redact(note) for note in volume.notes)
        shown = replace(volume.series, description="", modality=known_modality(volume.series.modality))
        return replace(volume, notes=notes, source=replace(volume.source, series=shown))


@contextmanager
def open_study(files: tuple[FileStamp, ...], root: Path) -> Iterator[StudyFiles]:
    """Look at the headers of a study's files; a zip archive is unpacked until the end.

    Raises:
        InputError: When nothing in them can be read.
    """
    from moeclip_transforms.discovery import scan
    from moeclip_transforms.file_types import FileType, file_type
    from moeclip_transforms.label_maps import set_aside_label_maps
    from moeclip_transforms.source import ImageSource

    paths = [stamp.path for stamp in files]
    if len(paths) == 1 and file_type(paths[0]) is FileType.ARCHIVE:
        with ImageSource(paths[0]) as source:
            inner = [path for series in source.series for path in series.files]
            inner += [path for path, _ in (*source.unreadable, *source.excluded)]
            redact = Redactor.for_files([*inner, paths[0]], _identifiers(source.series))
            yield StudyFiles(source, redact)
        return
    found = scan(paths)
    redact = Redactor.for_files(paths, [str(root), *_identifiers(found.series)])
    yield StudyFiles(replace(found, series=set_aside_label_maps(found.series)), redact)


def _identifiers(series: tuple[Series, ...]) -> list[str]:
    return [text for found in series for text in (found.uid, found.study_uid, found.description)]


def describe(name: str, series: Series) -> SeriesRecord:
    """Say what a series is, from its header, without what could identify anyone."""
    columns, rows, slices, time_points = series.shape
    return SeriesRecord(
        name,
        SeriesState.SKIPPED,
        modality=known_modality(series.modality),
        kind=series.image_type.value,
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
        peak_voxel=finding.peak_voxel,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def scoring_bytes(columns: int, rows: int, slices: int, channels: int) -> int:
    """Estimate what scoring one time point and writing its results takes beyond an idle worker, bytes."""
    one_slice = columns * rows * channels * 4
    return one_slice * (slices * _COPIES + _SLICE_COPIES)
