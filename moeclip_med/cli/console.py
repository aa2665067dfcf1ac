"""What commands print: messages to standard error, results to standard output, progress bars in between."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from moeclip_med.scoring import SliceScores


def make_console(*, stderr: bool = False) -> Console:
    """Make a console for standard output or standard error; colours only where a terminal shows them."""
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=True, highlight=False)


def print_error(message: str) -> None:
    """Print one error sentence to standard error."""
    make_console(stderr=True).print("[bold red]error:[/] ", end="")
    make_console(stderr=True).print(message, markup=False)


def print_warning(message: str) -> None:
    """Print one warning sentence to standard error."""
    make_console(stderr=True).print("[bold yellow]warning:[/] ", end="")
    make_console(stderr=True).print(message, markup=False)


@contextmanager
def slice_progress(label: str, *, quiet: bool) -> Iterator[Callable[[SliceScores], None]]:
    """Show a progress bar with slices per second and time left; gives the `on_slices` callback that moves it."""
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
