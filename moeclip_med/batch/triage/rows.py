"""The lines of the triage list, from the ledger."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError, NoticeWarning
from moeclip_transforms.printable import printable

from moeclip_med.batch.records import SeriesRecord, SeriesState, StudyState
from moeclip_med.batch.worklist import series_decision
from moeclip_med.results.formats import RESULT_NAMES, ResultFormat
from moeclip_med.results.run_record import read_record
from moeclip_med.scoring.review import Decision
from moeclip_med.scoring.review_file import REVIEW_NAME, read_review

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
        decision: What a reader decided of its findings (`worklist.series_decision`), or "".
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
    decision: str
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
        decision: What a reader decided in napari: "accepted", "rejected", "open"; "" if the series was not read.
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
    decision: str = ""


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
    folder: Path,
    *,
    identify: bool,
) -> list[TriageRow]:
    """Return every line: scored series from the highest score down, then failures, then what was skipped."""
    studies = {row.study: row for row in ledger.studies()}
    identities = catalogue.identities() if identify else {}
    rows: list[TriageRow] = []
    for study, record in ledger.series():
        series_uid = catalogue.detail(record.series)[0] if identify else ""
        decision = series_decision(folder / record.folder, record.findings) if record.folder else ""
        rows.append(_row(record, studies[study].patient, study, identities.get(study, {}), series_uid, decision))
    for study, row in studies.items():
        if row.state is StudyState.FAILED:
            record = SeriesRecord("", SeriesState.FAILED, row.reason, seconds=row.seconds)
            rows.append(_row(record, row.patient, study, identities.get(study, {}), ""))
    rows += _problem_rows(problems, pseudonyms, identify=identify)
    order = {SeriesState.DONE.value: 0, SeriesState.FAILED.value: 1, SeriesState.SKIPPED.value: 2}
    return sorted(rows, key=lambda row: (order[row.state], -(row.score or 0.0), row.study, row.series))


def finding_rows(ledger: Ledger, output: Path) -> list[FindingRow]:
    """Return every finding of the archive, from the highest peak down, with what was decided of it.

    Args:
        ledger: Knows the findings.
        output: The output folder: a series that was read in napari has its review beside its results.
    """
    patients = {row.study: row.patient for row in ledger.studies()}
    rows: list[FindingRow] = []
    for study, record in ledger.series():
        decisions = _decisions(output / record.folder, record) if record.found else None
        for finding in record.found:
            values = asdict(finding)
            voxel = values.pop("peak_voxel")
            rows.append(
                FindingRow(
                    patient=patients[study],
                    study=study,
                    series=record.series,
                    modality=record.modality,
                    kind=record.kind,
                    threshold=record.threshold,
                    is_calibrated=record.is_calibrated,
                    decision="" if decisions is None else decisions.get(voxel, Decision.OPEN).value,
                    **values,
                )
            )
    return sorted(rows, key=lambda row: (-row.peak, row.study, row.series, row.rank))


def _decisions(folder: Path, record: SeriesRecord) -> dict[tuple[int, int, int], Decision] | None:
    """What a reader decided of the findings of a series, by their peak voxels; None if it was not read.

    Warns:
        NoticeWarning: When the review is damaged or belongs to other results.
    """
    if not (folder / REVIEW_NAME).is_file():
        return None
    try:
        run = read_record(folder / RESULT_NAMES[ResultFormat.RUN])
        review = read_review(folder, run.run_id, (record.columns, record.rows, record.slices))
    except InputError as error:
        warnings.warn(f"{record.series}: its decisions are not listed: {error}", NoticeWarning, stacklevel=2)
        return None
    return {entry.voxel: entry.decision for entry in review.entries}


def _row(
    record: SeriesRecord, patient: str, study: str, identity: dict[str, str], series_uid: str, decision: str = ""
) -> TriageRow:
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
        decision=decision,
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
