"""`moeclip-med pacs`: score studies of a PACS by DICOMweb, one or as they arrive."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from moeclip_transforms.errors import InputError
from moeclip_transforms.printable import printable

from moeclip_med.cli.console import make_console, print_error
from moeclip_med.cli.options import (
    DeviceOption,
    EngineOption,
    FindingSiteOption,
    ModelOption,
    PrecisionOption,
    QuietOption,
    SegmentationOption,
)
from moeclip_med.cli.pacs_display import WatchDisplay, print_result, show_progress, write_lists
from moeclip_med.cli.pacs_job import choose, open_job
from moeclip_med.cli.pacs_options import (
    BundleOption,
    CertificateOption,
    FilterOption,
    MemoryOption,
    NodeOption,
    PasswordOption,
    ResultsOption,
    SelectOption,
    StoreOption,
    TimeOption,
    TokenOption,
    UrlOption,
    UserOption,
    read_address,
)
from moeclip_med.cli.score import EXIT_SOME_FAILED
from moeclip_med.results.formats import SegmentationKind

_EXIT_UNHEALTHY = 1

pacs_app = typer.Typer(no_args_is_help=True, help="Score studies of a PACS by DICOMweb, and store the results there.")


@pacs_app.command("score")
def pacs_score_command(  # noqa: PLR0913 - one parameter per option of the command
    url: UrlOption,
    study: Annotated[str, typer.Option(help="StudyInstanceUID.")],
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Keep the results in this folder.")] = None,
    store: StoreOption = False,
    c_store: NodeOption = None,
    results: ResultsOption = None,
    only: FilterOption = None,
    select: SelectOption = None,
    seg: SegmentationOption = SegmentationKind.BINARY,
    finding_site: FindingSiteOption = None,
    model: ModelOption = "lite",
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    user: UserOption = "",
    password_file: PasswordOption = None,
    token_file: TokenOption = None,
    ca_bundle: BundleOption = None,
    client_certificate: CertificateOption = None,
    memory: MemoryOption = None,
    time_limit: TimeOption = 1800.0,
    quiet: QuietOption = False,
) -> int:
    """Fetch a study, score every series of it that is worth it, and store or keep the results. Research use only."""
    from moeclip_med.batch.records import SeriesState

    if output is None and not store and c_store is None:
        raise InputError("nothing would come of it: add --store, --c-store or --output")
    address = read_address(url, user, password_file, token_file, ca_bundle, client_certificate)
    with ExitStack() as cleanup:
        kept = output or Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="moeclip-med-"))) / "results"
        choice = choose(
            kept, (model, device, engine, precision), results, only, select, memory, time_limit,
            store=store, c_store=c_store, is_kept=output is not None, seg=seg, finding_site=finding_site,
        )  # fmt: skip
        job = cleanup.enter_context(open_job(choice, address))
        on_progress = cleanup.enter_context(show_progress(quiet=quiet))
        done = job.score_study(study, on_series=print_result, on_progress=on_progress)
        if output is not None:
            write_lists(job.output)
    states = [record.state for result in done for record in result.records]
    failed = sum(result.has_failed for result in done)
    make_console().print(
        f"[bold]{states.count(SeriesState.DONE)} series scored[/], {failed} failed, "
        f"{states.count(SeriesState.SKIPPED)} skipped"
    )
    return EXIT_SOME_FAILED if failed else 0


@pacs_app.command("watch")
def pacs_watch_command(  # noqa: PLR0913 - one parameter per option of the command
    url: UrlOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="Results, lists, and the memory of what was done.")],
    *,
    interval: Annotated[float, typer.Option(min=1.0, help="Time between two polls, s.")] = 60.0,
    days: Annotated[
        int, typer.Option(min=1, help="Poll so many days further back than the last complete poll, for late arrivals.")
    ] = 1,
    modality: Annotated[str, typer.Option(help="Only studies with this modality.", show_default="all")] = "",
    polls: Annotated[int | None, typer.Option(min=1, help="Stop after so many polls.", show_default="never")] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Serve Prometheus metrics on 127.0.0.1 at this port.", show_default="off"),
    ] = None,
    store: StoreOption = False,
    c_store: NodeOption = None,
    results: ResultsOption = None,
    only: FilterOption = None,
    select: SelectOption = None,
    seg: SegmentationOption = SegmentationKind.BINARY,
    finding_site: FindingSiteOption = None,
    model: ModelOption = "lite",
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    user: UserOption = "",
    password_file: PasswordOption = None,
    token_file: TokenOption = None,
    ca_bundle: BundleOption = None,
    client_certificate: CertificateOption = None,
    memory: MemoryOption = None,
    time_limit: TimeOption = 1800.0,
) -> int:
    """Score studies as they arrive: each when two polls in a row find it the same. Continues after a restart."""
    from moeclip_med.batch.output import PRIVATE_NAME
    from moeclip_med.batch.pacs.service import MEMORY_NAME, Metrics, Service
    from moeclip_med.batch.pacs.watching import PacsWatcher, WatchMemory, WatchQuery

    address = read_address(url, user, password_file, token_file, ca_bundle, client_certificate)
    choice = choose(
        output, (model, device, engine, precision), results, only, select, memory, time_limit,
        store=store, c_store=c_store, is_kept=True, seg=seg, finding_site=finding_site,
    )  # fmt: skip
    with ExitStack() as cleanup:
        metrics = None if metrics_port is None else Metrics(metrics_port)
        if metrics is not None:
            cleanup.callback(metrics.close)
        job = cleanup.enter_context(open_job(choice, address))
        memory_of_watch = WatchMemory(output / PRIVATE_NAME / MEMORY_NAME)
        cleanup.callback(memory_of_watch.close)
        job = replace(job, note_own=memory_of_watch.note_own)
        listener = WatchDisplay(metrics)
        watcher = PacsWatcher(job, memory_of_watch, WatchQuery(days, modality), listener)
        Service(watcher, memory_of_watch, listener, interval, lambda: write_lists(job.output), metrics).run(polls)
    return 0


@pacs_app.command("status")
def pacs_status_command(
    output: Annotated[Path, typer.Argument(help="The --output folder of a watch.", show_default=False)],
    *,
    max_age: Annotated[
        float | None,
        typer.Option(min=1.0, help="End with exit code 1 if the last complete poll is older, s: a health check."),
    ] = None,
) -> int:
    """Show the state of a watch, and which studies wait for another try; changes nothing."""
    from moeclip_med.batch.output import PRIVATE_NAME
    from moeclip_med.batch.pacs.service import read_watch_status
    from moeclip_med.batch.pseudonyms import Pseudonyms

    status = read_watch_status(output)
    console = make_console()
    age = status.seconds_since_poll
    console.print("no poll succeeded yet" if age is None else f"last complete poll {age:.0f} s ago")
    console.print(f"watermark {status.watermark or 'none'}; studies: {_counts(status.counts)}")
    names = Pseudonyms.kept_in(output / PRIVATE_NAME / "key")
    for pending in status.pending:
        due = datetime.fromtimestamp(pending.next_try, UTC).strftime("%Y-%m-%d %H:%M UTC")
        name = names.study(pending.study_uid)
        console.print(printable(f"  {name}: tried {pending.tries} times, again {due}: {pending.reason}"), markup=False)
    if max_age is not None and (age is None or abs(age) > max_age):  # below 0: the clock was ahead then
        print_error(f"there was no complete poll within the last {max_age:g} s")
        return _EXIT_UNHEALTHY
    return 0


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none yet"
