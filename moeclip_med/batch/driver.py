"""The run: plan, hand out studies, enter what comes back, keep the triage list fresh, stop in good order."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from moeclip_transforms.errors import InputError

from moeclip_med._version import __version__
from moeclip_med.batch.drift import drift_warning, weekly_shares
from moeclip_med.batch.local import Limits, LocalExecutor
from moeclip_med.batch.output import BatchOutput
from moeclip_med.batch.planning import plan
from moeclip_med.batch.records import Halt, PrivateDetail, StudyJob, StudyReport, StudyState, WorkOrder
from moeclip_med.batch.resources import Resources, share
from moeclip_med.batch.triage import write_triage
from moeclip_med.batch.workers import Finished, Lost, Ready, StudyProgress, Unusable

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_med.batch.batch_settings import BatchSettings
    from moeclip_med.batch.ledger import Counts
    from moeclip_med.batch.planning import Plan
    from moeclip_med.batch.workers import Event, Executor, LoadsDetector

_TRIES_AFTER_A_DEATH = 2
_TRIAGE_EVERY_SECONDS = 60.0
_SHARE = 20
"""Neither writing the list nor counting for the progress bar takes more than a twentieth of the driver's time."""


@dataclass(frozen=True)
class BatchOutcome:
    """How a batch ended.

    Attributes:
        plan: What was found.
        counts: Studies and series by state.
        files: The triage lists written, by format.
    """

    plan: Plan
    counts: Counts
    files: dict[str, Path]

    @property
    def has_failures(self) -> bool:
        """Whether a study, a series or a file could not be scored."""
        from moeclip_med.batch.records import SeriesState

        failed = self.counts.studies[StudyState.FAILED] + self.counts.series[SeriesState.FAILED]
        return bool(failed or self.plan.problems)


class Watcher(Protocol):
    """Who is told how a run goes: a progress bar, or nobody."""

    def planning(self, what: str, done: int, total: int | None) -> None:
        """Files are being found or headers read."""
        ...

    def planned(self, plan: Plan, counts: Counts) -> None:
        """The tree is known."""
        ...

    def working(self, counts: Counts, slices: dict[str, tuple[int, int]]) -> None:
        """Studies finished so far; slices done and in all of the studies being scored."""
        ...

    def warn(self, message: str) -> None:
        """Something has to be said; real names may be in it."""
        ...


def run_batch(settings: BatchSettings, watcher: Watcher, *, load: LoadsDetector | None = None) -> BatchOutcome:
    """Score every series below a folder that is worth it, going on where an earlier run stopped.

    Args:
        settings: The choices of the batch.
        watcher: Told how it goes.
        load: Loads the model in a worker; `settings.model` if None.

    Raises:
        InputError: If the folders cannot be used, settings changed, no worker can load the model, the disk is full,
            or the archive is gone. What was done is kept; the same command goes on from there.
    """
    if not settings.root.exists():
        raise InputError(f'"{settings.root}" does not exist; check the path, or mount it')
    with BatchOutput(settings.output) as output:
        fingerprint = output.agree_on(settings_that_matter(settings), redo=settings.redo)
        _reconsider(output, settings)
        run = output.ledger.start_run(__version__)
        outcome = "failed"
        try:
            found = plan(settings.archive, output.ledger, output.catalogue, output.pseudonyms, watcher.planning)
            watcher.planned(found, output.ledger.counts())
            if found.outside_links:
                watcher.warn(
                    f"{found.outside_links:,} links lead out of the archive and are not followed; "
                    "add --follow-links if they are trusted"
                )
            loop = _Loop(output, settings, fingerprint, run, watcher, found)
            if output.ledger.has_waiting():
                loop.score_all(load)
            outcome = "done"
            files = loop.write_triage()
            drift = drift_warning(weekly_shares(output.ledger, output.catalogue))
            if drift:
                watcher.warn(drift)
            return BatchOutcome(found, output.ledger.counts(), files)
        except (KeyboardInterrupt, SystemExit):
            outcome = "interrupted"
            raise
        finally:
            output.ledger.end_run(run, outcome)


class _Loop:
    """Hands out studies and enters what comes back."""

    def __init__(
        self,
        output: BatchOutput,
        settings: BatchSettings,
        fingerprint: str,
        run: int,
        watcher: Watcher,
        found: Plan,
    ) -> None:
        self._output = output
        self._settings = settings
        self._fingerprint = fingerprint
        self._run = run
        self._watcher = watcher
        self._plan = found
        self._running: dict[str, tuple[int, int]] = {}
        self._notices: set[str] = set()
        self._triage_due = 0.0
        self._telling_due = 0.0

    def score_all(self, load: LoadsDetector | None) -> None:
        """Score until nothing waits."""
        settings = self._settings
        resources = share(
            settings.workers, settings.threads, settings.memory_bytes, settings.model.device, settings.ray_address
        )
        order = work_order(settings, self._output, self._fingerprint, resources)
        load = load or replace(settings.model, threads=resources.threads)
        executor = make_executor(settings, resources, order, load)
        try:
            self._triage_due = time.monotonic() + _TRIAGE_EVERY_SECONDS
            while self._hand_out(executor) or self._running or self._output.ledger.has_waiting():
                for event in executor.wait(0.5):
                    self._enter(event)
                self._tell_watcher()
                self._write_triage_sometimes()
        finally:
            executor.close()

    def write_triage(self) -> dict[str, Path]:
        """Write the triage lists."""
        return write_triage(self._output, self._plan.problems, identify=self._settings.identify)

    def _hand_out(self, executor: Executor) -> int:
        """Return a study to each free worker; returns how many."""
        given = 0
        for _ in range(executor.free()):
            row = self._output.ledger.claim(self._run)
            if row is None:
                break
            files = self._output.catalogue.files_of(row.study)
            executor.submit(StudyJob(row.study, row.patient, files, row.signature))
            self._running[row.study] = (0, 0)
            given += 1
        return given

    def _enter(self, event: Event) -> None:
        match event:
            case Ready(identity, notices):
                self._output.check_model(identity)
                for notice in sorted(set(notices) - self._notices):
                    self._watcher.warn(notice)
                self._notices.update(notices)
            case Unusable(reason):
                raise InputError(reason)
            case StudyProgress(study, done, total):
                self._running[study] = (done, total)
            case Finished(Halt(study, reason)):
                self._output.ledger.give_back(study, died=False)
                raise InputError(reason)
            case Finished(StudyReport() as report):
                self._finish(report)
            case Lost():
                self._lose(event)

    def _finish(self, report: StudyReport) -> None:
        self._running.pop(report.study, None)
        self._output.catalogue.add_details(report.private)
        self._output.ledger.finish(report)

    def _lose(self, lost: Lost) -> None:
        """A worker died: its study gets another try, unless it was its own fault or has had one."""
        self._running.pop(lost.study, None)
        deaths = self._output.ledger.give_back(lost.study, died=True)
        if not lost.may_retry or deaths >= _TRIES_AFTER_A_DEATH:
            files = self._output.catalogue.files_of(lost.study)
            where = str(files[0].path) if files else ""
            detail = PrivateDetail(lost.study, where, lost.reason)
            self._finish(StudyReport(lost.study, StudyState.FAILED, lost.reason, private=(detail,)))

    def _tell_watcher(self) -> None:
        started = time.monotonic()
        if started >= self._telling_due:
            counts = self._output.ledger.counts()
            self._telling_due = started + _SHARE * (time.monotonic() - started)
            self._watcher.working(counts, self._running)

    def _write_triage_sometimes(self) -> None:
        started = time.monotonic()
        if started < self._triage_due:
            return
        self.write_triage()
        took = time.monotonic() - started
        self._triage_due = started + max(_TRIAGE_EVERY_SECONDS, _SHARE * took)


def work_order(settings: BatchSettings, output: BatchOutput, fingerprint: str, resources: Resources) -> WorkOrder:
    """Say what is the same for every study of a run."""
    return WorkOrder(
        root=settings.root,
        output=settings.output.absolute(),
        settings=settings.score,
        filters=settings.filters,
        key=output.pseudonyms.key,
        fingerprint=fingerprint,
        memory_bytes=resources.memory_bytes,
        thumbnails=settings.thumbnails,
        selection=settings.selection,
    )


def make_executor(
    settings: BatchSettings,
    resources: Resources,
    order: WorkOrder,
    load: LoadsDetector,
) -> Executor:
    """Start the workers that the settings ask for: processes here, or actors on a Ray cluster."""
    limits = Limits(resources.threads, settings.time_limit, resources.memory_bytes)
    if settings.ray_address is not None:
        from moeclip_med.batch.ray_cluster import RayExecutor

        return RayExecutor(settings.ray_address, settings.workers, load, order, limits)
    return LocalExecutor(resources.workers, load, order, limits)


def settings_that_matter(settings: BatchSettings) -> dict[str, Any]:
    """Return what changes a result, ready for JSON; what only changes the speed is skipped."""
    score, model = settings.score, settings.model
    return {
        "model": model.model,
        "engine": model.engine,
        "precision": model.precision,
        "prompts": None if model.prompts is None else str(model.prompts),
        "plane": score.plane.value,
        "preset": None if score.image_type is None else score.image_type.value,
        "threshold": score.threshold,
        "time point": score.time_point,
        "min volume": score.min_volume_ml,
        "every slice": score.every_slice,
        "results": sorted(str(fmt) for fmt in score.formats),
        "segmentation": score.dicom.segmentation.value,
        "finding site": None if score.dicom.finding_site is None else str(score.dicom.finding_site),
    }


def _reconsider(output: BatchOutput, settings: BatchSettings) -> None:
    """Make studies waiting again that other filters or rules excluded."""
    rules = "" if settings.selection is None else settings.selection.text
    filters = "; ".join([*(str(condition) for condition in settings.filters), rules])
    changed = filters != output.ledger.meta("filters")
    if changed:
        output.ledger.set_meta("filters", filters)
    output.ledger.retry(failed=settings.retry_failed, filtered=changed)
