"""What `moeclip-med batch` shows: progress, then a summary. Real paths appear here and nowhere else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from moeclip_transforms.printable import printable

from moeclip_med.cli.console import make_console, print_warning

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console

    from moeclip_med.batch.driver import BatchOutcome
    from moeclip_med.batch.ledger import Counts
    from moeclip_med.batch.overview import DryRun, Status
    from moeclip_med.batch.planning import Plan

_SHOWN_PROBLEMS = 10


class BatchDisplay:
    """A `Watcher` that draws progress bars on standard error; silent when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

        self._quiet = quiet
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
            console=make_console(stderr=True),
            disable=quiet,
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def planning(self, what: str, done: int, total: int | None) -> None:
        """Files are being found or headers read."""
        text = f"{done:,}" if total is None else f"{done:,} of {total:,}"
        self._update(what, done, total, text)

    def planned(self, plan: Plan, counts: Counts) -> None:
        """The tree is known."""
        if self._quiet:
            return
        waiting = counts.total - counts.finished
        done = f"; {counts.finished:,} of {_studies(counts.total)} done before" if counts.finished else ""
        self._progress.console.print(
            f"{_counted(plan.files, 'file')}: {_studies(plan.studies)}, {_counted(plan.others, 'other file')}{done}; "
            f"{_studies(waiting)} to look at"
        )

    def working(self, counts: Counts, slices: dict[str, tuple[int, int]]) -> None:
        """Studies finished so far, and a share for those being scored."""
        from moeclip_med.batch.records import SeriesState

        share = sum(done / total for done, total in slices.values() if total)
        failed = counts.series[SeriesState.FAILED]
        text = f"{counts.finished:,} of {_studies(counts.total)}, {counts.series[SeriesState.DONE]:,} series scored"
        text += f", {failed:,} failed" if failed else ""
        self._update("scoring", counts.finished + share, counts.total, text)

    def warn(self, message: str) -> None:
        """Something has to be said."""
        print_warning(message)

    def _update(self, what: str, done: float, total: float | None, text: str) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total, text=text)
        self._progress.update(self._tasks[what], completed=done, total=total, text=text)


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _studies(count: int) -> str:
    return _counted(count, "study", "studies")


def print_outcome(outcome: BatchOutcome) -> None:
    """Say how a batch ended and where its lists lie."""
    from moeclip_med.batch.records import SeriesState, StudyState

    console = make_console()
    series, studies = outcome.counts.series, outcome.counts.studies
    console.print(
        f"[bold]{series[SeriesState.DONE]:,} series scored[/] in {_studies(studies[StudyState.DONE])}; "
        f"{series[SeriesState.SKIPPED]:,} series skipped; {series[SeriesState.FAILED]:,} series, "
        f"{_studies(studies[StudyState.FAILED])} and {_counted(len(outcome.plan.problems), 'file')} failed"
    )
    _print_problems(outcome.plan.problems)
    for path in outcome.files.values():
        console.print(printable(f"  {path}"), markup=False)


def print_dry_run(look: DryRun) -> None:
    """Say what would be scored and what excluded, one line per series."""
    console = make_console()
    for line in look.series:
        by = f" (rule {line.rule})" if line.rule else ""
        what = f"skipped: {line.reason}" if line.reason else f"would be scored{by}"
        x, y, z = line.size
        console.print(printable(f"{line.path}  {line.kind}  {x} × {y} × {z}  {what}"), markup=False)
    _print_problems(look.problems)
    reasons = Counter(line.reason for line in look.series)
    console.print(f"[bold]{reasons.pop('', 0):,} series would be scored[/] in {_studies(look.studies)}")
    for reason, count in reasons.most_common():
        console.print(f"  {count:,} skipped: {printable(reason)}", markup=False)
    if look.outside_links:
        print_warning(
            f"{_counted(look.outside_links, 'link')} out of the archive not followed; --follow-links follows them"
        )
    if look.done_before:
        console.print(f"{_studies(look.done_before)} done by an earlier run would not be touched")


def print_status(console: Console, status: Status) -> None:
    """Say how far a batch is."""
    from moeclip_med.batch.records import SeriesState, StudyState

    studies, series = status.counts.studies, status.counts.series
    outcomes = {"done": "ended", "failed": "stopped by an error", "interrupted": "interrupted"}
    state = (
        "running" if status.is_running else outcomes.get(status.outcome, "killed; the same command continues from here")
    )
    console.print(f"[bold]{state}[/] (moeclip-med {status.version}, {status.seconds / 60:.1f} min)")
    console.print(
        f"  {status.counts.finished:,} of {_studies(status.counts.total)} finished: "
        f"{studies[StudyState.DONE]:,} done, {studies[StudyState.FAILED]:,} failed; "
        f"{studies[StudyState.RUNNING]:,} running, {studies[StudyState.WAITING]:,} waiting"
    )
    console.print(
        f"  {series[SeriesState.DONE]:,} series scored, {series[SeriesState.SKIPPED]:,} skipped, "
        f"{series[SeriesState.FAILED]:,} failed"
    )
    for reason, count in status.failures[:_SHOWN_PROBLEMS]:
        console.print(f"  {count:,} failed: {reason}", markup=False)


def _print_problems(problems: tuple[tuple[Path, str], ...]) -> None:
    for path, reason in problems[:_SHOWN_PROBLEMS]:
        print_warning(f'"{printable(path)}": {reason}')
    if len(problems) > _SHOWN_PROBLEMS:
        print_warning(f"{len(problems) - _SHOWN_PROBLEMS:,} more files or folders cannot be read")
