"""`moeclip-med pacs`: score studies of a PACS by DICOMweb, one or as they arrive."""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from moeclip_transforms.errors import InputError

from moeclip_med.cli.console import make_console, print_error, print_warning, slice_progress
from moeclip_med.cli.options import DeviceOption, EngineOption, ModelOption, PrecisionOption, QuietOption
from moeclip_med.cli.score import EXIT_SOME_FAILED, parse_formats

if TYPE_CHECKING:
    from moeclip_med.batch.pacs.scoring import PacsJob, PacsResult
    from moeclip_med.batch.pacs.server import PacsAddress

_STORED = "seg,sr,sc"
_KEPT = "nifti,json,csv,report,run"
_LONGEST_PAUSE_SECONDS = 600.0

pacs_app = typer.Typer(no_args_is_help=True, help="Score studies of a PACS by DICOMweb, and store the results there.")

UrlOption = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="MOECLIP_MED_PACS_URL",
        help="Base of its DICOMweb services, e.g. https://pacs.example/dicom-web.",
    ),
]
UserOption = Annotated[str, typer.Option(envvar="MOECLIP_MED_PACS_USER", help="User for basic authentication.")]
PasswordOption = Annotated[
    str,
    typer.Option(
        envvar="MOECLIP_MED_PACS_PASSWORD", help="Its password; better in the variable than on the command line."
    ),
]
TokenOption = Annotated[str, typer.Option(envvar="MOECLIP_MED_PACS_TOKEN", help="Bearer token.")]
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
        help="Comma-separated: nifti, json, csv, report, run, seg, pm, sr, sc.",
        show_default=f"{_STORED} to store, {_KEPT} to keep",
    ),
]
FilterOption = Annotated[
    list[str] | None, typer.Option("--filter", help='Score only series that meet this, e.g. "modality=CT,MR".')
]


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
    model: ModelOption = "lite",
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    user: UserOption = "",
    password: PasswordOption = "",
    token: TokenOption = "",
    ca_bundle: BundleOption = None,
    client_certificate: CertificateOption = None,
    quiet: QuietOption = False,
) -> int:
    """Fetch a study, score every series of it that is worth it, and store or keep the results. Research use only."""
    from moeclip_med.batch.pacs.server import PacsAddress

    if output is None and not store and c_store is None:
        msg = "nothing would come of it: add --store, --c-store or --output"
        raise InputError(msg)
    address = PacsAddress(url, user, password, token, ca_bundle, client_certificate)
    choice = (model, device, engine, precision)
    job = _make_job(address, choice, output, results, only, store=store, c_store=c_store)
    console = make_console()
    with slice_progress("scoring", quiet=quiet) as on_slices:
        done = job.score_study(study, on_slices=on_slices)
    for result in done:
        _tell(result, result.series)
    scored = sum(result.state == "scored" for result in done)
    failed = sum(result.state == "failed" for result in done)
    console.print(f"[bold]{scored} series scored[/], {failed} failed, {len(done) - scored - failed} left out")
    return EXIT_SOME_FAILED if failed else 0


@pacs_app.command("watch")
def pacs_watch_command(  # noqa: PLR0913 - one parameter per option of the command
    url: UrlOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="Results, and the memory of what was done.")],
    *,
    interval: Annotated[float, typer.Option(min=1.0, help="Between two looks, s.")] = 60.0,
    days: Annotated[int, typer.Option(min=1, help="Look at studies of the last so many days.")] = 1,
    modality: Annotated[str, typer.Option(help="Only studies with this modality.", show_default="all")] = "",
    looks: Annotated[int | None, typer.Option(min=1, help="Stop after so many looks.", show_default="never")] = None,
    store: StoreOption = False,
    c_store: NodeOption = None,
    results: ResultsOption = None,
    only: FilterOption = None,
    model: ModelOption = "lite",
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    user: UserOption = "",
    password: PasswordOption = "",
    token: TokenOption = "",
    ca_bundle: BundleOption = None,
    client_certificate: CertificateOption = None,
) -> int:
    """Score studies as they arrive: each once it holds the same at two looks. Goes on after a restart."""
    from moeclip_med.batch.database import RunLock
    from moeclip_med.batch.pacs.server import PacsAddress, PacsUnreachableError
    from moeclip_med.batch.pacs.watching import Watcher, WatchMemory, WatchQuery

    address = PacsAddress(url, user, password, token, ca_bundle, client_certificate)
    private = _private_folder(output)
    with ExitStack() as cleanup:
        cleanup.callback(RunLock(private / "lock", output).release)
        memory = WatchMemory(private / "watch.sqlite")
        cleanup.callback(memory.close)
        choice = (model, device, engine, precision)
        job = _make_job(address, choice, output, results, only, store=store, c_store=c_store)
        watcher = Watcher(job, memory, WatchQuery(days, modality))
        pause, look = interval, 0
        while looks is None or look < looks:
            if look:
                time.sleep(pause)
            look += 1
            try:
                watcher.look(datetime.now().astimezone().date(), _tell_study, _tell_failure)
                pause = interval
            except PacsUnreachableError as error:
                print_warning(str(error))
                pause = min(2 * pause, max(interval, _LONGEST_PAUSE_SECONDS))
    return 0


def _make_job(
    address: PacsAddress,
    choice: tuple[str, str, str, str],
    output: Path | None,
    results: str | None,
    only: list[str] | None,
    *,
    store: bool,
    c_store: str | None,
) -> PacsJob:
    from moeclip_med.batch.filters import SeriesFilter
    from moeclip_med.batch.pacs.dimse import DicomNode
    from moeclip_med.batch.pacs.scoring import PacsJob
    from moeclip_med.batch.pacs.server import PacsServer
    from moeclip_med.batch.pseudonyms import Pseudonyms
    from moeclip_med.pipeline import ScoreSettings
    from moeclip_med.results.formats import DICOM_FORMATS
    from moeclip_med.scoring import load_detector

    sends = store or c_store is not None
    wanted = results or ",".join(filter(None, [_STORED if sends else "", _KEPT if output is not None else ""]))
    formats = parse_formats(wanted, raw=False, routing=False)
    if sends and not formats & DICOM_FORMATS:
        msg = f'--results "{wanted}" holds nothing that a PACS takes; add seg, pm, sr or sc'
        raise InputError(msg)
    server = PacsServer(address)
    node = None if c_store is None else DicomNode.parse(c_store)
    key_folder = None if output is None else _private_folder(output)
    model, device, engine, precision = choice
    return PacsJob(
        server=server,
        detector=load_detector(model, device=device, engine=engine, precision=precision),
        settings=ScoreSettings(formats),
        names=Pseudonyms.kept_in(key_folder / "key") if key_folder else Pseudonyms.for_once(),
        filters=tuple(SeriesFilter.parse(text) for text in only or ()),
        output=output,
        destination=node or (server if store else None),
    )


def _private_folder(output: Path) -> Path:
    private = output / ".batch"
    private.mkdir(parents=True, exist_ok=True)
    private.chmod(0o700)
    return private


def _tell_study(study: str, result: PacsResult) -> None:
    _tell(result, f"{study}/{result.series}")


def _tell_failure(study: str, reason: str) -> None:
    print_error(f"{study}: {reason}")


def _tell(result: PacsResult, name: str) -> None:
    if result.state == "failed":
        print_error(f"{name}: {result.reason}")
    elif result.state == "left out":
        print_warning(f"{name} is left out: {result.reason}")
    else:
        known = f", {result.known} were there already" if result.known else ""
        sent = f"; {result.stored} objects stored{known}" if result.stored or result.known else ""
        kept = f"; {result.folder}" if result.folder else ""
        if result.reason:
            print_warning(f"{name}: {result.reason}")
        make_console().print(
            f"{name}: {result.findings} findings, highest score {result.score:.2f}{sent}{kept}", markup=False
        )
