"""`moeclip-med pacs`: score studies of a PACS by DICOMweb, one or as they arrive."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from moeclip_transforms.errors import InputError
from moeclip_transforms.printable import printable

from moeclip_med.cli.console import make_console, print_error, print_warning
from moeclip_med.cli.options import (
    DeviceOption,
    EngineOption,
    ModelOption,
    PrecisionOption,
    QuietOption,
    SegmentationOption,
)
from moeclip_med.cli.score import EXIT_SOME_FAILED, parse_formats
from moeclip_med.results.formats import SegmentationKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moeclip_med.batch.driver import BatchSettings
    from moeclip_med.batch.executors import Ready
    from moeclip_med.batch.output import BatchOutput
    from moeclip_med.batch.pacs.http import PacsAddress
    from moeclip_med.batch.pacs.scoring import PacsJob, PacsResult
    from moeclip_med.batch.pacs.service import Metrics

_STORED = "seg,sr,sc"
_KEPT = "nifti,json,csv,report,run"
_GIBIBYTE = 2**30
_EXIT_UNHEALTHY = 1
_LONGEST_SECRET = 65_536

pacs_app = typer.Typer(no_args_is_help=True, help="Score studies of a PACS by DICOMweb, and store the results there.")

UrlOption = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="MOECLIP_MED_PACS_URL",
        help="Base of its DICOMweb services, e.g. https://pacs.example/dicom-web.",
    ),
]
UserOption = Annotated[
    str,
    typer.Option(
        envvar="MOECLIP_MED_PACS_USER",
        help="User for basic authentication; the password is in MOECLIP_MED_PACS_PASSWORD or --password-file.",
    ),
]
PasswordOption = Annotated[Path | None, typer.Option("--password-file", help="A file that holds the password alone.")]
TokenOption = Annotated[
    Path | None,
    typer.Option("--token-file", help="A file that holds a bearer token; or set MOECLIP_MED_PACS_TOKEN."),
]
BundleOption = Annotated[
    Path | None, typer.Option("--ca-bundle", help="Certificates of the authority that signed the server's.")
]
CertificateOption = Annotated[
    Path | None, typer.Option("--client-certificate", help="Our certificate with its key, PEM.")
]
StoreOption = Annotated[bool, typer.Option("--store", help="Store DICOM results in the PACS.")]
NodeOption = Annotated[
    str | None, typer.Option("--c-store", help="Send DICOM results by C-STORE to TITLE@host:port instead.")
]
ResultsOption = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated: nifti, json, csv, report, run, seg, pm, sr, sc, rtstruct.",
        show_default=f"{_STORED} to store, {_KEPT} to keep",
    ),
]
FilterOption = Annotated[
    list[str] | None, typer.Option("--filter", help='Score only series that meet this, e.g. "modality=CT,MR".')
]
SelectOption = Annotated[
    Path | None, typer.Option("--select", help="Rules (YAML) that choose among the series of a study.")
]
MemoryOption = Annotated[
    float | None,
    typer.Option(min=0.5, help="Memory for scoring, GiB.", show_default="four fifths of what is free"),
]
TimeOption = Annotated[float, typer.Option(min=1.0, help="Longest time for one series, s.")]


@dataclass(frozen=True)
class _Choice:
    """What both commands are told about scoring and sending."""

    settings: BatchSettings
    store: bool
    c_store: str | None


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
        msg = "nothing would come of it: add --store, --c-store or --output"
        raise InputError(msg)
    address = _address(url, user, password_file, token_file, ca_bundle, client_certificate)
    with ExitStack() as cleanup:
        kept = output or Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="moeclip-med-"))) / "results"
        choice = _choice(
            kept, (model, device, engine, precision), results, only, select, memory, time_limit,
            store=store, c_store=c_store, is_kept=output is not None, seg=seg,
        )  # fmt: skip
        job = cleanup.enter_context(_opened(choice, address))
        on_progress = cleanup.enter_context(_progress(quiet=quiet))
        done = job.score_study(study, on_series=_tell, on_progress=on_progress)
        if output is not None:
            _write_lists(job.output)
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
    interval: Annotated[float, typer.Option(min=1.0, help="Between two looks, s.")] = 60.0,
    days: Annotated[
        int, typer.Option(min=1, help="Look so many days further back than the last whole look, for late arrivals.")
    ] = 1,
    modality: Annotated[str, typer.Option(help="Only studies with this modality.", show_default="all")] = "",
    looks: Annotated[int | None, typer.Option(min=1, help="Stop after so many looks.", show_default="never")] = None,
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
    """Score studies as they arrive: each once it holds the same at two looks. Goes on after a restart."""
    from moeclip_med.batch.output import PRIVATE_NAME
    from moeclip_med.batch.pacs.service import MEMORY_NAME, Metrics, Service
    from moeclip_med.batch.pacs.watching import Watcher, WatchMemory, WatchQuery

    address = _address(url, user, password_file, token_file, ca_bundle, client_certificate)
    choice = _choice(
        output, (model, device, engine, precision), results, only, select, memory, time_limit,
        store=store, c_store=c_store, is_kept=True, seg=seg,
    )  # fmt: skip
    with ExitStack() as cleanup:
        metrics = None if metrics_port is None else Metrics(metrics_port)
        if metrics is not None:
            cleanup.callback(metrics.close)
        job = cleanup.enter_context(_opened(choice, address))
        memory_of_watch = WatchMemory(output / PRIVATE_NAME / MEMORY_NAME)
        cleanup.callback(memory_of_watch.close)
        job = replace(job, note_own=memory_of_watch.note_own)
        listener = _Listener(metrics)
        watcher = Watcher(job, memory_of_watch, WatchQuery(days, modality), listener)
        Service(watcher, memory_of_watch, listener, interval, lambda: _write_lists(job.output), metrics).run(looks)
    return 0


@pacs_app.command("status")
def pacs_status_command(
    output: Annotated[Path, typer.Argument(help="The --output folder of a watch.", show_default=False)],
    *,
    max_age: Annotated[
        float | None,
        typer.Option(min=1.0, help="End with exit code 1 if the last whole look is older, s: a health check."),
    ] = None,
) -> int:
    """Tell how a watch fares and which studies wait for another try; changes nothing."""
    from moeclip_med.batch.output import PRIVATE_NAME
    from moeclip_med.batch.pacs.service import read_watch_status
    from moeclip_med.batch.pseudonyms import Pseudonyms

    status = read_watch_status(output)
    console = make_console()
    age = status.seconds_since_look
    console.print("no look went well yet" if age is None else f"last whole look {age:.0f} s ago")
    console.print(f"watermark {status.watermark or 'none'}; studies: {_counts(status.counts)}")
    names = Pseudonyms.kept_in(output / PRIVATE_NAME / "key")
    for pending in status.pending:
        due = datetime.fromtimestamp(pending.next_try, UTC).strftime("%Y-%m-%d %H:%M UTC")
        name = names.study(pending.study_uid)
        console.print(printable(f"  {name}: tried {pending.tries} times, again {due}: {pending.reason}"), markup=False)
    if max_age is not None and (age is None or age > max_age):
        print_error(f"the last whole look is older than {max_age:g} s")
        return _EXIT_UNHEALTHY
    return 0


class _Listener:
    """Tells how a watch goes: on the terminal, or in the journal of a service."""

    def __init__(self, metrics: Metrics | None) -> None:
        self._metrics = metrics

    def series(self, study: str, result: PacsResult) -> None:
        """A series is done, or put off."""
        if self._metrics is not None:
            self._metrics.series(result)
        _tell(result, f"{study}/")

    def trouble(self, study: str, reason: str, next_try: float) -> None:
        """A study is put off."""
        print_error(f"{study}: {reason}; tried again in {max(0.0, next_try - time.time()):.0f} s")

    def notice(self, message: str) -> None:
        """Something has to be known about the PACS."""
        print_warning(message)


def _address(
    url: str,
    user: str,
    password_file: Path | None,
    token_file: Path | None,
    ca_bundle: Path | None,
    client_certificate: Path | None,
) -> PacsAddress:
    from moeclip_med.batch.pacs.http import PacsAddress

    password = _secret(password_file, "--password-file", "MOECLIP_MED_PACS_PASSWORD")
    token = _secret(token_file, "--token-file", "MOECLIP_MED_PACS_TOKEN")
    return PacsAddress(url, user, password, token, ca_bundle, client_certificate)


def _secret(path: Path | None, option: str, variable: str) -> str:
    """A password or token from a file or the environment: the command line is for all to see."""
    if path is None:
        return os.environ.get(variable, "")
    try:
        with path.open("rb") as stream:
            content = stream.read(_LONGEST_SECRET)
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
        secret = content.decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        msg = f'{option} "{path}" cannot be read ({error}); check the path and its permissions'
        raise InputError(msg) from error
    if not secret:
        msg = f'{option} "{path}" is empty; write the secret into it, and nothing else'
        raise InputError(msg)
    if os.name == "posix" and mode & 0o077:
        print_warning(f'{option} "{path}" can be read by others; run: chmod 600 "{path}"')
    return secret


def _choice(  # noqa: PLR0913 - the options in their order
    output: Path,
    model: tuple[str, str, str, str],
    results: str | None,
    only: list[str] | None,
    select: Path | None,
    memory: float | None,
    time_limit: float,
    *,
    store: bool,
    c_store: str | None,
    is_kept: bool,
    seg: SegmentationKind,
) -> _Choice:
    from moeclip_med.batch.driver import BatchSettings, ModelChoice
    from moeclip_med.batch.filters import SeriesFilter
    from moeclip_med.batch.selection import Selection
    from moeclip_med.pipeline import ScoreSettings
    from moeclip_med.results.formats import DICOM_FORMATS, DicomOptions

    sends = store or c_store is not None
    wanted = results or ",".join(filter(None, [_STORED if sends else "", _KEPT if is_kept else ""]))
    formats = parse_formats(wanted, raw=False, routing=False)
    if sends and not formats & DICOM_FORMATS:
        msg = f'--results "{wanted}" holds nothing that a PACS takes; add seg, pm, sr, sc or rtstruct'
        raise InputError(msg)
    settings = BatchSettings(
        root=output,
        output=output,
        score=ScoreSettings(formats, dicom=DicomOptions(seg)),
        model=ModelChoice(*model),
        filters=tuple(SeriesFilter.parse(text) for text in only or ()),
        workers=1,
        time_limit=time_limit,
        memory_bytes=None if memory is None else int(memory * _GIBIBYTE),
        selection=None if select is None else Selection.read(select),
    )
    return _Choice(settings, store, c_store)


@contextmanager
def _opened(choice: _Choice, address: PacsAddress) -> Iterator[PacsJob]:
    """Open the output, start the worker, and make the job; ends the worker and removes what was fetched."""
    from moeclip_med.batch.driver import settings_that_matter, work_order
    from moeclip_med.batch.local import Limits, LocalExecutor, OneByOne
    from moeclip_med.batch.output import BatchOutput
    from moeclip_med.batch.pacs.dimse import DicomNode
    from moeclip_med.batch.pacs.scoring import PacsJob
    from moeclip_med.batch.pacs.server import PacsServer
    from moeclip_med.batch.resources import share

    settings = choice.settings
    server = PacsServer(address)
    node = None if choice.c_store is None else DicomNode.parse(choice.c_store)
    with ExitStack() as cleanup:
        output = cleanup.enter_context(BatchOutput(settings.output))
        fingerprint = output.agree_on(settings_that_matter(settings), redo=False)
        resources = share(settings.workers, settings.threads, settings.memory_bytes, settings.model.device, None)
        order = work_order(settings, output, fingerprint, resources)
        limits = Limits(resources.threads, settings.time_limit, resources.memory_bytes)
        executor = LocalExecutor(1, replace(settings.model, threads=resources.threads), order, limits)
        cleanup.callback(executor.close)

        def on_ready(ready: Ready) -> None:
            output.check_model(ready.identity)
            for notice in ready.notices:
                print_warning(notice)

        scorer = OneByOne(executor, on_ready)
        scorer.wait_until_ready()
        destination = node or (server if choice.store else None)
        yield PacsJob(server, scorer, output, executor.scratch, destination)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show how far the series being scored is."""
    if quiet:
        yield lambda *_: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TextColumn("slices"))
    with Progress(*columns, console=make_console(stderr=True)) as progress:
        task = progress.add_task("scoring", total=None)
        yield lambda _, done, total: progress.update(task, completed=done, total=total)


def _write_lists(output: BatchOutput) -> None:
    from moeclip_med.batch.drift import drift_warning, weekly_shares
    from moeclip_med.batch.triage import write_triage

    write_triage(output, (), identify=False)
    drift = drift_warning(weekly_shares(output.ledger, output.catalogue))
    if drift:
        print_warning(drift)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none yet"


def _tell(result: PacsResult, prefix: str = "") -> None:
    from moeclip_med.batch.records import SeriesState

    for record in result.records:
        name = f"{prefix}{record.series}"
        if record.state is SeriesState.FAILED:
            print_error(f"{name}: {result.error or record.reason}")
        elif record.state is SeriesState.SKIPPED:
            print_warning(f"{name} is skipped: {record.reason}")
        else:
            for note in record.notes:
                print_warning(f"{name}: {note}")
            line = f"{name}: {record.findings} findings, highest score {record.score:.2f}"
            make_console().print(printable(line), markup=False)
    if result.stored or result.known:
        known = f", {result.known} were there already" if result.known else ""
        make_console().print(f"{result.stored} objects stored{known}", markup=False)
    if result.error and any(record.state is SeriesState.DONE for record in result.records):
        print_error(f"{prefix}{result.records[0].series}: scored, but not sent: {result.error}")
    if result.lacks_objects:
        print_error(f"{prefix}{result.records[0].series}: no object that a PACS takes could be made")
