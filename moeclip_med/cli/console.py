"""What commands print: messages to standard error, results to standard output, progress bars in between."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from moeclip_transforms.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from rich.console import Console
    from rich.text import Text

    from moeclip_med.scoring import AnomalyVolume, SliceScores

_LOG = logging.getLogger(__name__)
_MOST_WARNINGS = 50


def make_console(*, stderr: bool = False) -> Console:
    """Return a console for standard output or standard error; colours only on a terminal, and none with NO_COLOR."""
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=True, highlight=False)


def print_error(message: str) -> None:
    """Print one error sentence to standard error, and log it."""
    _LOG.error("%s", message)


def print_warning(message: str) -> None:
    """Print one warning sentence to standard error, and log it."""
    _LOG.warning("%s", message)


def print_skipped(skipped: Sequence[str]) -> None:
    """Print why files or series are skipped: the first of them where there are many, as an archive may hold."""
    for message in skipped[:_MOST_WARNINGS]:
        print_warning(message)
    if len(skipped) > _MOST_WARNINGS:
        print_warning(f"{len(skipped) - _MOST_WARNINGS:,} more are skipped; moeclip-med info --json lists them all")


def skipped_file(file: Path, reason: str) -> str:
    """Return why a file is skipped, with its name once."""
    return reason if f'"{file.name}"' in reason else f'"{file.name}" is skipped: {reason}'


def cell(text: object) -> Text:
    """Return a table's cell of text from outside, which is neither markup nor escapes."""
    from rich.text import Text

    return Text(printable(text))


def print_findings(console: Console, anomaly: AnomalyVolume, *, most: int = 5) -> None:
    """Print the first findings of a volume, a line each."""
    from rich.table import Table

    from moeclip_med.results.words import place_words, size_words, slice_words

    if not anomaly.findings:
        return
    where = "column, row" if anomaly.findings[0].centre_lps_mm is None else "centre, mm"
    table = Table("#", "peak", "mean", "size", where, "slices", box=None, padding=(0, 1, 0, 2))
    for finding in anomaly.findings[:most]:
        table.add_row(
            str(finding.rank),
            f"{finding.peak_score:.2f}",
            f"{finding.mean_score:.2f}",
            size_words(finding),
            place_words(anomaly, finding),
            slice_words(finding),
        )
    console.print(table)
    if len(anomaly.findings) > most:
        console.print(f"  and {len(anomaly.findings) - most} more")


@contextmanager
def loading_model(*, quiet: bool) -> Iterator[None]:
    """Say while a model is loaded what takes so long the first time; only on a terminal, and gone afterwards."""
    if quiet:
        yield
        return
    with make_console(stderr=True).status("Loading the model (the first time it is compiled, half a minute or more) …"):
        yield


@contextmanager
def slice_progress(label: str, *, quiet: bool) -> Iterator[Callable[[SliceScores], None]]:
    """Show a progress bar with slices per second and time left; yields the `on_slices` callback that moves it."""
    if quiet:
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("slices"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=make_console(stderr=True),
    )
    with progress:
        task = progress.add_task(label, total=None, speed="")

        def advance(batch: SliceScores) -> None:
            speed = progress.tasks[0].speed
            progress.update(
                task, completed=batch.done, total=batch.total, speed=f"{speed:.1f} slices/s" if speed else ""
            )

        yield advance
