"""A batch looked at without scoring: how far it is, and what a run would score and skip (`--dry-run`)."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

from moeclip_med.batch.catalogue import Catalogue
from moeclip_med.batch.database import RunLock, open_database
from moeclip_med.batch.driver import settings_that_matter
from moeclip_med.batch.ledger import Counts, Ledger
from moeclip_med.batch.output import CATALOGUE_NAME, LEDGER_NAME, PRIVATE_NAME, check_settings, check_usable
from moeclip_med.batch.planning import plan
from moeclip_med.batch.pseudonyms import Pseudonyms
from moeclip_med.batch.records import SeriesState, StudyState
from moeclip_med.batch.selection import decide
from moeclip_med.batch.study import MARK_NAME
from moeclip_med.batch.study_files import open_study

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moeclip_med.batch.batch_settings import BatchSettings
    from moeclip_med.batch.driver import Watcher
    from moeclip_med.batch.records import FileStamp


@dataclass(frozen=True)
class Status:
    """How far a batch is.

    Attributes:
        counts: Studies and series by state.
        is_running: Whether a run is working on it now.
        outcome: How the last run ended: "done", "failed", "interrupted", or "" when it was killed or still runs.
        version: The version of moeclip-med of the last run.
        seconds: Since the last run started, or how long it took, s.
        failures: Reasons of failures, with how often each occurs, most frequent first.
    """

    counts: Counts
    is_running: bool
    outcome: str
    version: str
    seconds: float
    failures: tuple[tuple[str, int], ...]


def read_status(folder: Path) -> Status:
    """Read how far the batch in an output folder is; changes nothing.

    Raises:
        InputError: If the folder holds no batch.
    """
    private = folder / PRIVATE_NAME
    if not (private / LEDGER_NAME).is_file():
        raise InputError(f'"{folder}" holds no batch; name the --output folder of "moeclip-med batch"')
    ledger = Ledger(private / LEDGER_NAME, read_only=True)
    try:
        if not ledger.is_begun:
            raise InputError(
                f'"{folder}" holds a batch that ended before its first entry, on a full disk for example; '
                'run "moeclip-med batch" with it again'
            )
        run = ledger.last_run()
        return Status(
            counts=ledger.counts(),
            is_running=_is_locked(private, folder),
            outcome=run["outcome"] if run else "",
            version=run["version"] if run else "",
            seconds=((run["ended"] or time.time()) - run["started"]) if run else 0.0,
            failures=_failures(ledger),
        )
    finally:
        ledger.close()


def _failures(ledger: Ledger) -> tuple[tuple[str, int], ...]:
    reasons = Counter(row.reason for row in ledger.studies() if row.state is StudyState.FAILED)
    reasons.update(record.reason for _, record in ledger.series() if record.state is SeriesState.FAILED)
    return tuple(reasons.most_common())


def _is_locked(private: Path, folder: Path) -> bool:
    try:
        RunLock(private / "lock", folder).release()
    except InputError:
        return True
    return False


@dataclass(frozen=True)
class DryLine:
    """What would become of one series.

    Attributes:
        path: Its first file.
        kind: Modality or format.
        size: (columns, rows, slices).
        reason: Why it would be skipped, or "".
        rule: The rule of `--select` that takes it, or "".
    """

    path: Path
    kind: str
    size: tuple[int, int, int]
    reason: str
    rule: str = ""


@dataclass(frozen=True)
class DryRun:
    """What a run would do.

    Attributes:
        series: One line per series of the studies that a run would look at.
        studies: Studies that a run would look at.
        done_before: Studies that earlier runs finished.
        problems: Files and folders that cannot be read, with the reason.
        outside_links: Links that lead out of the archive and would not be followed.
    """

    series: tuple[DryLine, ...]
    studies: int
    done_before: int
    problems: tuple[tuple[Path, str], ...]
    outside_links: int = 0


def look_at_archive(settings: BatchSettings, watcher: Watcher) -> DryRun:
    """Look at every study that a run with these settings would score.

    Raises:
        InputError: If the archive does not exist, or the run would be refused: the output folder holds something
            else, or results of other settings.
    """
    if not settings.root.exists():
        raise InputError(f'"{settings.root}" does not exist; check the path, or mount it')
    check_usable(settings.output)
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="moeclip-med-")))
        _copy_state(settings.output / PRIVATE_NAME, folder)
        ledger = Ledger(folder / LEDGER_NAME)
        cleanup.callback(ledger.close)
        catalogue = Catalogue(folder / CATALOGUE_NAME)
        cleanup.callback(catalogue.close)
        if settings.redo:
            ledger.forget_results()
        else:
            check_settings(settings.output, ledger, settings_that_matter(settings))
        ledger.retry(failed=settings.retry_failed, filtered=True)
        pseudonyms = Pseudonyms.kept_in(folder / MARK_NAME)
        found = plan(settings.archive, ledger, catalogue, pseudonyms, watcher.planning)
        waiting = [row.study for row in ledger.studies() if row.state in {StudyState.WAITING, StudyState.RUNNING}]
        lines: list[DryLine] = []
        problems = list(found.problems)
        for number, study in enumerate(waiting, start=1):
            lines += _lines(catalogue.files_of(study), settings, problems)
            watcher.planning("studies looked at", number, len(waiting))
        done_before = found.studies - len(waiting)
        return DryRun(tuple(lines), len(waiting), done_before, tuple(problems), found.outside_links)


def _lines(
    files: tuple[FileStamp, ...], settings: BatchSettings, problems: list[tuple[Path, str]]
) -> Iterator[DryLine]:
    try:
        with open_study(files, settings.root) as source:
            problems += source.unreadable
            decisions = decide(source.series, settings.filters, settings.selection)
            for series, decision in zip(source.series, decisions, strict=True):
                columns, rows, slices, _ = series.shape
                yield DryLine(
                    files[0].path if len(files) == 1 else series.files[0],
                    series.modality or series.format.value,
                    (columns, rows, slices),
                    decision.reason,
                    decision.rule,
                )
    except (InputError, OSError) as error:
        problems.append((files[0].path, str(error)))
    except Exception as error:  # noqa: BLE001 - one bad study costs that study, never the list
        fault = f"it could not be looked at because of an internal error ({type(error).__name__})"
        problems.append((files[0].path, fault))


def _copy_state(source: Path, target: Path) -> None:
    """Copy ledger, catalogue and key of an earlier run, if there was one, as they are at this moment."""
    for name in (LEDGER_NAME, CATALOGUE_NAME):
        if (source / name).is_file():
            before, after = open_database(source / name, "", read_only=True), open_database(target / name, "")
            with before, after:
                before.backup(after)
            before.close()
            after.close()
    if (source / MARK_NAME).is_file():
        shutil.copyfile(source / MARK_NAME, target / MARK_NAME)
