"""What `moeclip-med pacs` shows: series as they are scored, delays, and the lists of a watch."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from moeclip_transforms.printable import printable

from moeclip_med.cli.console import make_console, print_error, print_warning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moeclip_med.batch.output import BatchOutput
    from moeclip_med.batch.pacs.scoring import PacsResult
    from moeclip_med.batch.pacs.service import Metrics


class WatchDisplay:
    """Shows how a watch proceeds: on the terminal, or in the journal of a service."""

    def __init__(self, metrics: Metrics | None) -> None:
        self._metrics = metrics

    def series(self, study: str, result: PacsResult) -> None:
        """A series is done, or put off."""
        if self._metrics is not None:
            self._metrics.series(result)
        print_result(result, f"{study}/")

    def trouble(self, study: str, reason: str, next_try: float) -> None:
        """A study is put off."""
        print_error(f"{study}: {reason}; tried again in {max(0.0, next_try - time.time()):.0f} s")

    def notice(self, message: str) -> None:
        """Something has to be known about the PACS."""
        print_warning(message)


@contextmanager
def show_progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show how far the series being scored is."""
    if quiet:
        yield lambda *_: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TextColumn("slices"))
    with Progress(*columns, console=make_console(stderr=True)) as progress:
        task = progress.add_task("scoring", total=None)
        yield lambda _, done, total: progress.update(task, completed=done, total=total)


def print_result(result: PacsResult, prefix: str = "") -> None:
    """Show what became of a series, and what was stored."""
    from moeclip_med.batch.records import SeriesState
    from moeclip_med.results.words import count_words

    for record in result.records:
        name = f"{prefix}{record.series}"
        if record.state is SeriesState.FAILED:
            print_error(f"{name}: {result.error or record.reason}")
        elif record.state is SeriesState.SKIPPED:
            print_warning(f"{name} is skipped: {record.reason}")
        else:
            for note in record.notes:
                print_warning(f"{name}: {note}")
            line = f"{name}: {count_words(record.findings)}, highest score {record.score:.2f}"
            make_console().print(printable(line), markup=False)
    if result.stored or result.known:
        known = f", {result.known} were there already" if result.known else ""
        make_console().print(f"{result.stored} objects stored{known}", markup=False)
    if result.error and any(record.state is SeriesState.DONE for record in result.records):
        print_error(f"{prefix}{result.records[0].series}: scored, but not sent: {result.error}")
    if result.lacks_objects:
        print_error(f"{prefix}{result.records[0].series}: no object that a PACS takes could be made")


def write_lists(output: BatchOutput) -> None:
    """Write the triage lists of an output, and warn if the share of findings drifts."""
    from moeclip_med.batch.drift import drift_warning, weekly_shares
    from moeclip_med.batch.triage import write_triage

    write_triage(output, (), identify=False)
    drift = drift_warning(weekly_shares(output.ledger, output.catalogue))
    if drift:
        print_warning(drift)
