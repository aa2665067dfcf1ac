"""The lines of the triage list, from the ledger."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from moeclip_transforms.printable import printable

from moeclip_med.batch.records import SeriesRecord, SeriesState, StudyState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from moeclip_med.batch.catalogue import Catalogue
    from moeclip_med.batch.ledger import Ledger
    from moeclip_med.batch.pseudonyms import Pseudonyms


@dataclass(frozen=True)
class TriageRow:
    """One line: a series, or a study or file that could not be read.

    Attributes are those of `SeriesRecord`, and:
        patient: The patient's pseudonym, or "".
        study: The study's pseudonym.
        patient_id: PatientID, only with `--identify`.
        accession_number: AccessionNumber, only with `--identify`.
        study_uid: StudyInstanceUID or path, only with `--identify`.
        series_uid: SeriesInstanceUID, only with `--identify`.
    """

    state: str
    score: float | None
    findings: int | None
    largest_ml: float | None
    largest_pixels: int | None
    patient: str
    study: str
    series: str
    modality: str
    kind: str
    format: str
    columns: int
    rows: int
    slices: int
    seconds: float
    threshold: float | None
    is_calibrated: bool
    reason: str
    notes: str
    folder: str
    report: bool
    rule: str
    engine_note: str
    patient_id: str = ""
    accession_number: str = ""
    study_uid: str = ""
    series_uid: str = ""


@dataclass(frozen=True)
class FindingRow:
    """One finding of one series.

    Attributes are those of `FindingRecord`, and:
        patient: The patient's pseudonym, or "".
        study: The study's pseudonym.
        series: The series' pseudonym.
        modality: DICOM modality, or "".
        kind: The image type.
        threshold: The score that a finding reaches.
        is_calibrated: Whether that threshold was calibrated for the model.
    """

    patient: str
    study: str
    series: str
    modality: str
    kind: str
    rank: int
    volume_ml: float | None
    long_mm: float | None
    short_mm: float | None
    value_mean: float | None
    value_sd: float | None
    value_unit: str
    peak: float
    mean: float
    voxels: int
    place: str
    first_slice: int
    last_slice: int
    threshold: float | None
    is_calibrated: bool


IDENTITY_COLUMNS = ("patient_id", "accession_number", "study_uid", "series_uid")


def column_names(*, identify: bool) -> list[str]:
    """Return the columns of the list, in their order."""
    names = [field.name for field in fields(TriageRow)]
    return names if identify else [name for name in names if name not in IDENTITY_COLUMNS]


def triage_rows(
    ledger: Ledger,
    catalogue: Catalogue,
    pseudonyms: Pseudonyms,
    problems: Iterable[tuple[Path, str]],
    *,
    identify: bool,
) -> list[TriageRow]:
    """Return every line: scored series from the highest score down, then failures, then what was skipped."""
    studies = {row.study: row for row in ledger.studies()}
    identities = catalogue.identities() if identify else {}
    rows: list[TriageRow] = []
    for study, record in ledger.series():
        series_uid = catalogue.detail(record.series)[0] if identify else ""
        rows.append(_row(record, studies[study].patient, study, identities.get(study, {}), series_uid))
    for study, row in studies.items():
        if row.state is StudyState.FAILED:
            record = SeriesRecord("", SeriesState.FAILED, row.reason, seconds=row.seconds)
            rows.append(_row(record, row.patient, study, identities.get(study, {}), ""))
    rows += _problem_rows(problems, pseudonyms, identify=identify)
    order = {SeriesState.DONE.value: 0, SeriesState.FAILED.value: 1, SeriesState.SKIPPED.value: 2}
    return sorted(rows, key=lambda row: (order[row.state], -(row.score or 0.0), row.study, row.series))


def finding_rows(ledger: Ledger) -> list[FindingRow]:
    """Return every finding of the archive, from the highest peak down."""
    patients = {row.study: row.patient for row in ledger.studies()}
    rows = [
        FindingRow(
            patient=patients[study],
            study=study,
            series=record.series,
            modality=record.modality,
            kind=record.kind,
            threshold=record.threshold,
            is_calibrated=record.is_calibrated,
            **asdict(finding),
        )
        for study, record in ledger.series()
        for finding in record.found
    ]
    return sorted(rows, key=lambda row: (-row.peak, row.study, row.series, row.rank))


def _row(record: SeriesRecord, patient: str, study: str, identity: dict[str, str], series_uid: str) -> TriageRow:
    is_done = record.state is SeriesState.DONE
    return TriageRow(
        state=record.state.value,
        score=record.score,
        findings=record.findings if is_done else None,
        largest_ml=record.largest_ml,
        largest_pixels=record.largest_pixels if is_done else None,
        patient=patient,
        study=study,
        series=record.series,
        modality=record.modality,
        kind=record.kind,
        format=record.format,
        columns=record.columns,
        rows=record.rows,
        slices=record.slices,
        seconds=record.seconds,
        threshold=record.threshold,
        is_calibrated=record.is_calibrated,
        reason=record.reason,
        notes=" ".join(record.notes),
        folder=record.folder,
        report=record.report,
        rule=record.rule,
        engine_note=record.engine_note,
        series_uid=series_uid,
        **identity,
    )


def _problem_rows(
    problems: Iterable[tuple[Path, str]], pseudonyms: Pseudonyms, *, identify: bool
) -> Iterator[TriageRow]:
    for path, reason in problems:
        record = SeriesRecord("", SeriesState.FAILED, reason)
        identity = {"study_uid": printable(path)} if identify else {}
        yield _row(record, "", pseudonyms.study(str(path)), identity, "")
