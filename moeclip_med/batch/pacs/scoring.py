"""One study of a PACS: fetched, scored as a study of an archive is, its results stored beside it."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import pydicom
from moeclip_transforms.errors import InputError
from moeclip_transforms.modality import known_modality
from moeclip_transforms.naming import OWN_NAME, OWN_RESULT

from moeclip_med.batch.headers import FileHeader, look_at_file
from moeclip_med.batch.pacs.http import PacsError, PacsUnreachableError
from moeclip_med.batch.records import (
    FileStamp,
    Halt,
    PrivateDetail,
    SeriesRecord,
    SeriesState,
    StudyJob,
    StudyReport,
    StudyState,
)
from moeclip_med.batch.redaction import Redactor
from moeclip_med.results.formats import DICOM_FORMATS, RESULT_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from pydicom import Dataset

    from moeclip_med.batch.output import BatchOutput
    from moeclip_med.batch.pacs.dicomweb import PacsServer, RemoteSeries

_WITHOUT_PIXELS = frozenset(
    {
        "AU", "DOC", "ECG", "EPS", "FID", "HD", "KO", "PLAN", "PR", "REG", "RESP", "RTDOSE", "RTPLAN", "RTRECORD",
        "RTSTRUCT", "RWV", "SEG", "SR", "STAIN", "TEXTUREMAP",
    }
)  # fmt: skip
"""Modalities (PS3.3 C.7.3.1.1.1) that need not be fetched to know that there is no image to score."""


class Destination(Protocol):
    """Where results are sent: the PACS itself by STOW-RS, or another node by C-STORE."""

    def store(self, dataset: Dataset) -> bool:
        """Store an instance; returns whether it was sent, or was there already."""
        ...


class ScoresStudies(Protocol):
    """Who scores what was fetched: a worker process, or a `StudyScorer` of this one."""

    def score(self, job: StudyJob, on_progress: Callable[[str, int, int], None]) -> StudyReport | Halt:
        """Score every series of a study that is worth it."""
        ...


@dataclass(frozen=True)
class PacsResult:
    """What became of one series that the PACS lists.

    Attributes:
        series_uid: Its SeriesInstanceUID.
        records: What became of the images in it.
        error: Why it could not be fetched or its results not be sent, or "": it deserves another try. It may name
            UIDs, for the owner alone.
        is_unreachable: Whether that was because the PACS said nothing at all.
        stored: Instances sent.
        known: Instances that were there already.
        lacks_objects: Whether nothing that was to be sent could be made.
    """

    series_uid: str
    records: tuple[SeriesRecord, ...] = ()
    error: str = ""
    is_unreachable: bool = False
    stored: int = 0
    known: int = 0
    lacks_objects: bool = False

    @property
    def has_failed(self) -> bool:
        """Whether something of it could not be fetched, scored or sent."""
        return bool(self.error) or self.lacks_objects or any(r.state is SeriesState.FAILED for r in self.records)


@dataclass(frozen=True)
class PacsJob:
    """How studies of a PACS are scored.

    Attributes:
        server: The PACS.
        scorer: Scores what was fetched.
        output: Where results, ledger and pseudonyms are kept.
        scratch: A folder of this run's own for what is fetched.
        destination: Where DICOM results are sent; None to send none.
        note_own: Told the SeriesInstanceUIDs of results before they are sent: those are never to be scored.
    """

    server: PacsServer
    scorer: ScoresStudies
    output: BatchOutput
    scratch: Path
    destination: Destination | None = None
    note_own: Callable[[Collection[str]], None] = lambda _: None

    def score_study(
        self,
        study_uid: str,
        *,
        without: Collection[str] = (),
        on_series: Callable[[PacsResult], None] = lambda _: None,
        on_progress: Callable[[str, int, int], None] = lambda *_: None,
    ) -> list[PacsResult]:
        """Score every series of a study that is worth it, each by itself: one that fails does not hold up others.

        What was fetched is removed when its series is done. The ledger knows the study afterwards.

        Args:
            study_uid: StudyInstanceUID.
            without: SeriesInstanceUIDs that are done.
            on_series: Told about each series when it is done.
            on_progress: Told the series' pseudonym, slices done and slices in all.

        Raises:
            PacsError: If the study cannot be listed.
            InputError: If no other study would fare better: the disk is full, or the output is gone.
        """
        results: list[PacsResult] = []
        entered = FileHeader(self.scratch, study=self.output.pseudonyms.study(study_uid), study_uid=study_uid)
        for remote in self.server.find_series(study_uid):
            if remote.uid in without:
                continue
            reason = reason_not_to_fetch(remote)
            if reason:
                result = PacsResult(remote.uid, (self._record(remote, SeriesState.SKIPPED, reason),))
            else:
                result = self._score_remote(remote, entered, on_progress)
            self._enter(entered, result)
            results.append(result)
            on_series(result)
        return results

    def _score_remote(
        self, remote: RemoteSeries, entered: FileHeader, on_progress: Callable[[str, int, int], None]
    ) -> PacsResult:
        folder = self.scratch / "fetched"
        try:
            try:
                instances = self.server.fetch(remote, folder)
            except PacsError as error:
                return self._failed(remote, error)
            paths = sorted(folder.iterdir())
            self._introduce(paths, entered)
            job = StudyJob(entered.study, "", tuple(map(_stamp, paths)), _signature(remote, instances))
            report = self.scorer.score(job, on_progress)
            if isinstance(report, Halt):
                raise InputError(report.reason)
            self.output.catalogue.add_details(report.private)
            if report.state is StudyState.FAILED:
                return PacsResult(remote.uid, (self._record(remote, SeriesState.FAILED, report.reason),))
            return self._send(remote, report.series)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _send(self, remote: RemoteSeries, records: tuple[SeriesRecord, ...]) -> PacsResult:
        """Send the DICOM results of a series, in the order in which they cite each other."""
        result = PacsResult(remote.uid, records)
        if self.destination is None:
            return result
        paths = [
            path for record in records if record.folder for path in dicom_files(self.output.folder / record.folder)
        ]
        if any(record.state is SeriesState.DONE for record in records) and not paths:
            return replace(result, lacks_objects=True)
        try:
            for path in paths:
                dataset = pydicom.dcmread(path)
                self.note_own([str(dataset.SeriesInstanceUID)])
                is_known = self.server.holds(str(dataset.StudyInstanceUID), str(dataset.SOPInstanceUID))
                was_sent = not is_known and self.destination.store(dataset)
                result = replace(result, stored=result.stored + was_sent, known=result.known + (not was_sent))
        except PacsError as error:
            return replace(result, error=str(error), is_unreachable=_is_silence(error))
        return result

    def _failed(self, remote: RemoteSeries, error: PacsError) -> PacsResult:
        reason = Redactor([self.server.address.url])(str(error))
        record = self._record(remote, SeriesState.FAILED, reason)
        self.output.catalogue.add_details([PrivateDetail(record.series, remote.uid, str(error))])
        return PacsResult(remote.uid, (record,), str(error), is_unreachable=_is_silence(error))

    def _record(self, remote: RemoteSeries, state: SeriesState, reason: str) -> SeriesRecord:
        study = self.output.pseudonyms.study(remote.study_uid)
        series = self.output.pseudonyms.series(study, remote.uid)
        return SeriesRecord(series, state, reason, modality=known_modality(remote.modality))

    def _introduce(self, paths: list[Path], entered: FileHeader) -> None:
        """Enter patient, scanner and week of a study, which the first instance that can be read tells."""
        known = (look_at_file(path, self.output.pseudonyms) for path in paths[:3])
        header = next((found for found in known if found.study == entered.study), None)
        if header is not None:
            self.output.catalogue.add_headers([header])
            with self.output.ledger.transaction():
                self.output.ledger.add_study(header.study, header.patient, "pacs", [])

    def _enter(self, entered: FileHeader, result: PacsResult) -> None:
        with self.output.ledger.transaction():
            self.output.ledger.add_study(entered.study, "", "pacs", [])
        self.output.ledger.finish(StudyReport(entered.study, StudyState.DONE, series=result.records), keep_others=True)


def reason_not_to_fetch(remote: RemoteSeries) -> str:
    """Say why a series need not be fetched, as far as the PACS tells; "" if it has to be looked at."""
    if remote.manufacturer == OWN_NAME:
        return OWN_RESULT
    if remote.modality in _WITHOUT_PIXELS:
        return f"modality {remote.modality}, not an image"
    return ""


def dicom_files(folder: Path) -> list[Path]:
    """List the DICOM results in a result folder: segmentation before the report that cites it."""
    found: list[Path] = []
    for fmt, name in RESULT_NAMES.items():
        if fmt in DICOM_FORMATS:
            path = folder / name
            found += sorted(path.rglob("*.dcm")) if path.is_dir() else [path] if path.is_file() else []
    return found


def _stamp(path: Path) -> FileStamp:
    facts = path.stat()
    return FileStamp(path, facts.st_size, facts.st_mtime_ns)


def _signature(remote: RemoteSeries, instances: tuple[str, ...]) -> str:
    """One value for what a series holds: results in place for it are taken over, not made again."""
    return hashlib.sha256("\n".join([remote.uid, *instances]).encode()).hexdigest()


def _is_silence(error: PacsError) -> bool:
    return isinstance(error, PacsUnreachableError) and not error.has_answered
