"""One study, from its files to its results: what a worker does, wherever it runs.

Results are written beside their place, with the record of what they are, and then renamed: a result folder is whole or
absent. A run that was killed after the rename and before the ledger knew finds the record and takes it over.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import traceback
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

from moeclip_med.batch.ledger import record_from_json
from moeclip_med.batch.pseudonyms import Pseudonyms
from moeclip_med.batch.records import (
    Halt,
    PrivateDetail,
    SeriesRecord,
    SeriesState,
    StudyReport,
    StudyState,
)
from moeclip_med.batch.redaction import Redactor
from moeclip_med.batch.resources import close_to_others, resident_bytes
from moeclip_med.batch.selection import decide
from moeclip_med.batch.study_files import describe, open_study, refusal_note, scoring_bytes, summarise
from moeclip_med.scoring.review_file import REVIEW_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from moeclip_transforms import Series

    from moeclip_med.batch.records import StudyJob, WorkOrder
    from moeclip_med.batch.selection import SeriesDecision
    from moeclip_med.batch.study_files import StudyFiles
    from moeclip_med.scoring import Detector, SliceScores

RECORD_NAME = "record.json"
THUMBNAIL_NAME = "thumbnail.webp"
OUTDATED_REVIEW_NAME = "review-of-earlier-results.json"
MARK_NAME = "key"
"""A file that an output folder in its place always holds; an unmounted one does not."""

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_OUTPUT_GONE = "the output folder is gone; mount it again, then run the same command again"
_UNREADABLE, _EXCLUDED = "unreadable files", "files of no series"


class StudyScorer:
    """Scores studies with one detector; lives as long as its worker."""

    def __init__(self, order: WorkOrder, detector: Detector, place: Path) -> None:
        """Take the order.

        Args:
            order: What is the same for every study.
            detector: The model, ready to run.
            place: A folder of the worker's own for unfinished results, on the file system of the output.
        """
        self._order = order
        self._detector = detector
        self._place = place
        self._names = Pseudonyms(order.key)
        self._idle_bytes = resident_bytes(os.getpid()) or 0

    def score(self, job: StudyJob, on_progress: Callable[[str, int, int], None]) -> StudyReport | Halt:
        """Score every series of a study that is worth it.

        Args:
            job: The study.
            on_progress: Told the series' pseudonym, slices done and slices in all.

        Returns:
            The report; or a halt when the trouble is not the study's own.
        """
        started = time.perf_counter()
        try:
            report = self._score_unchanged(job, on_progress)
        except Exception as error:  # noqa: BLE001 - one bad study costs that study, never the batch
            halt = self._halt(job, error)
            if halt is not None:
                return halt
            report = self._failed_study(job, error)
        return replace(report, seconds=round(time.perf_counter() - started, 3))

    def _score_unchanged(self, job: StudyJob, on_progress: Callable[[str, int, int], None]) -> StudyReport:
        _check_unchanged(job)
        records: list[SeriesRecord] = []
        details: list[PrivateDetail] = []
        with open_study(job.files, self._order.root) as source:
            decisions = decide(source.series, self._order.filters, self._order.selection)
            for series, decision in zip(source.series, decisions, strict=True):
                record, message = self._score_series(job, source, series, decision, on_progress)
                records.append(record)
                details.append(PrivateDetail(record.series, series.uid, message))
            for record, detail in self._without_series(job, source):
                records.append(record)
                details.append(detail)
        _check_unchanged(job)
        return StudyReport(job.study, StudyState.DONE, series=tuple(records), private=tuple(details))

    def _score_series(
        self,
        job: StudyJob,
        source: StudyFiles,
        series: Series,
        decision: SeriesDecision,
        on_progress: Callable[[str, int, int], None],
    ) -> tuple[SeriesRecord, str]:
        """Score one series; returns its record, and the full reason of a failure for the owner alone."""
        name = self._names.series(job.study, series.uid)
        record = replace(describe(name, series), rule=decision.rule, is_filtered=decision.is_filtered)
        if decision.reason:
            # A rule's name is the user's own; what a header says is not.
            shown = decision.reason if decision.is_filtered else source.redact(decision.reason)
            return replace(record, state=SeriesState.SKIPPED, reason=shown), decision.reason
        kept = self._kept_record(job, name)
        if kept is not None:
            return kept, ""
        try:
            self._check_memory(series)
            return self._write(job, source, series, record, on_progress), ""
        except InputError as error:
            self._raise_if_hopeless(job, error)
            return replace(record, state=SeriesState.FAILED, reason=source.redact(str(error))), str(error)
        except MemoryError:
            reason = "it needs more memory than there is; run it on a larger machine or with fewer workers"
            return replace(record, state=SeriesState.FAILED, reason=reason), reason
        except Exception as error:  # noqa: BLE001 - one bad series costs that series, never the study
            self._raise_if_hopeless(job, error)
            reason = f"it could not be scored because of an internal error ({type(error).__name__})"
            return replace(record, state=SeriesState.FAILED, reason=reason), traceback.format_exc()

    def _write(
        self,
        job: StudyJob,
        source: StudyFiles,
        series: Series,
        record: SeriesRecord,
        on_progress: Callable[[str, int, int], None],
    ) -> SeriesRecord:
        """Score a series and put its results in place."""
        from moeclip_med.pipeline import score_series

        started = time.perf_counter()
        target = f"studies/{job.study}/{record.series}"
        self._place.mkdir(mode=0o700, exist_ok=True)
        draft = self._place / record.series
        shutil.rmtree(draft, ignore_errors=True)

        def on_slices(batch: SliceScores) -> None:
            on_progress(record.series, batch.done, batch.total)
            if batch.done == batch.total:
                self._check_output()  # before anything is written where the output was mounted

        try:
            result = score_series(
                source,
                series,
                self._detector,
                self._order.settings,
                draft,
                on_slices=on_slices,
            )
            if self._order.thumbnails:
                from moeclip_med.batch.thumbnails import write_thumbnail

                write_thumbnail(result.anomaly, draft / THUMBNAIL_NAME)
            note = refusal_note(result.refused, source.redact)
            finished = replace(
                summarise(record, result.anomaly, note, *result.header_notes),
                seconds=round(time.perf_counter() - started, 3),
                folder=target,
                report="report" in result.files,
            )
            self._write_record(job, finished, draft)
            _check_unchanged(job)
            self._check_output()
            self._put_in_place(draft, self._order.output / target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return finished

    def _write_record(self, job: StudyJob, record: SeriesRecord, folder: Path) -> None:
        content = {"fingerprint": self._order.fingerprint, "signature": job.signature, "record": asdict(record)}
        (folder / RECORD_NAME).write_text(json.dumps(content, ensure_ascii=False, allow_nan=False), encoding="utf-8")

    def _kept_record(self, job: StudyJob, series: str) -> SeriesRecord | None:
        """The record of results already in place from the same files and settings."""
        path = self._order.output / "studies" / job.study / series / RECORD_NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["fingerprint"] != self._order.fingerprint or content["signature"] != job.signature:
                return None
            return record_from_json(json.dumps(content["record"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _put_in_place(self, draft: Path, target: Path) -> None:
        (self._order.output / "studies").mkdir(mode=0o700, exist_ok=True)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        close_to_others(draft)
        outdated = self._place / f"{target.name}.outdated"
        shutil.rmtree(outdated, ignore_errors=True)
        if target.exists():
            target.rename(outdated)
            if (outdated / REVIEW_NAME).is_file():  # a reader's work is kept, though it is of other results
                shutil.copyfile(outdated / REVIEW_NAME, draft / OUTDATED_REVIEW_NAME)
                (draft / OUTDATED_REVIEW_NAME).chmod(0o600)
        draft.rename(target)
        shutil.rmtree(outdated, ignore_errors=True)

    def _check_output(self) -> None:
        if not _exists(self._order.private / MARK_NAME):
            raise InputError(_OUTPUT_GONE)

    def _check_memory(self, series: Series) -> None:
        limit = self._order.memory_bytes
        columns, rows, slices, _ = series.shape
        needed = self._idle_bytes + scoring_bytes(columns, rows, slices, series.channels)
        if limit is not None and needed > limit:
            raise InputError(
                f"the series declares {'×'.join(map(str, series.shape))} values, which takes about "
                f"{needed / 2**30:.1f} GiB to score, more than the {limit / 2**30:.1f} GiB of a worker; "
                "raise --memory or use fewer --workers"
            )

    def _without_series(self, job: StudyJob, source: StudyFiles) -> Iterator[tuple[SeriesRecord, PrivateDetail]]:
        """One record for the files of a study that cannot be read, and one for those that belong to no series."""
        for group, verb, state, files in (
            (_UNREADABLE, "cannot be read", SeriesState.FAILED, source.unreadable),
            (_EXCLUDED, "skipped", SeriesState.SKIPPED, source.excluded),
        ):
            if not files:
                continue
            name, first = self._names.series(job.study, group), source.redact(files[0][1])
            words = f"1 file {verb}: {first}" if len(files) == 1 else f"{len(files)} files {verb}; the first: {first}"
            full = "\n".join(f"{path}: {why}" for path, why in files)
            yield SeriesRecord(name, state, words), PrivateDetail(name, group, full)

    def _raise_if_hopeless(self, job: StudyJob, error: BaseException) -> None:
        if self._halt(job, error) is not None or isinstance(error, ChangedError):
            raise error

    def _halt(self, job: StudyJob, error: BaseException) -> Halt | None:
        """Whether every other study would meet the same trouble."""
        if not _exists(self._order.private / MARK_NAME):
            return Halt(job.study, _OUTPUT_GONE)
        if _errno(error) in _DISK_FULL:
            return Halt(job.study, "the disk is full; free some space, then run the same command again")
        if not any(_exists(stamp.path) for stamp in job.files[:3]) and _is_gone(self._order.root):
            return Halt(job.study, "the archive is gone; mount it again, then run the same command again")
        return None

    def _failed_study(self, job: StudyJob, error: BaseException) -> StudyReport:
        redact = Redactor.for_files([stamp.path for stamp in job.files], [str(self._order.root)])
        if isinstance(error, InputError):
            reason, full = redact(str(error)), str(error)
        elif isinstance(error, OSError):
            reason = f"a file cannot be read ({error.strerror or type(error).__name__})"
            full = str(error)
        else:
            reason = f"it could not be looked at because of an internal error ({type(error).__name__})"
            full = traceback.format_exc()
        detail = PrivateDetail(job.study, str(job.files[0].path) if job.files else "", full)
        return StudyReport(job.study, StudyState.FAILED, reason, private=(detail,))


class ChangedError(InputError):
    """A study's files changed while they were read: whatever was made of them is thrown away."""


def _check_unchanged(job: StudyJob) -> None:
    for stamp in job.files:
        try:
            facts = stamp.path.stat()
        except FileNotFoundError as error:
            raise ChangedError(
                "a file of this study vanished after it was found; run the same command again when all are in place"
            ) from error
        if (facts.st_size, facts.st_mtime_ns) != (stamp.size, stamp.mtime_ns):
            raise ChangedError(
                "a file of this study changed while it was read; run the same command again when it is complete"
            )


def _errno(error: BaseException | None) -> int | None:
    while error is not None:
        if isinstance(error, OSError):
            return error.errno
        error = error.__cause__
    return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _is_gone(root: Path) -> bool:
    """Whether the archive is no longer there: the folder is missing, or empty as an unmounted one is."""
    try:
        return not any(root.iterdir()) if root.is_dir() else not root.exists()
    except OSError:
        return True
