"""From the options of `moeclip-med pacs` to an open job: settings, worker, output and destination."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

from moeclip_med.cli.console import print_warning
from moeclip_med.cli.pacs_options import KEPT_RESULTS, STORED_RESULTS
from moeclip_med.cli.score import make_dicom_options, parse_formats

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moeclip_med.batch.batch_settings import BatchSettings
    from moeclip_med.batch.pacs.http import PacsAddress
    from moeclip_med.batch.pacs.scoring import PacsJob
    from moeclip_med.batch.workers import Ready
    from moeclip_med.results.formats import SegmentationKind

_GIBIBYTE = 2**30


@dataclass(frozen=True)
class PacsChoice:
    """What both commands are told about scoring and sending."""

    settings: BatchSettings
    store: bool
    c_store: str | None


def choose(  # noqa: PLR0913 - the options in their order
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
    finding_site: str | None,
) -> PacsChoice:
    """Return what the options ask for.

    Raises:
        InputError: If an option is wrong, or results are to be sent and none is a DICOM object.
    """
    if store and c_store is not None:
        raise InputError("--store and --c-store exclude each other; name one")
    from moeclip_med.batch.batch_settings import BatchSettings, ModelChoice
    from moeclip_med.batch.filters import SeriesFilter
    from moeclip_med.batch.selection import Selection
    from moeclip_med.pipeline import ScoreSettings
    from moeclip_med.results.formats import DICOM_FORMATS

    sends = store or c_store is not None
    wanted = results or ",".join(filter(None, [STORED_RESULTS if sends else "", KEPT_RESULTS if is_kept else ""]))
    formats = parse_formats(wanted, raw=False, routing=False)
    if sends and not formats & DICOM_FORMATS:
        raise InputError(f'--results "{wanted}" holds nothing that a PACS takes; add seg, pm, sr, sc or rtstruct')
    settings = BatchSettings(
        root=output,
        output=output,
        score=ScoreSettings(formats, dicom=make_dicom_options(seg, finding_site, formats)),
        model=ModelChoice(*model),
        filters=tuple(SeriesFilter.parse(text) for text in only or ()),
        workers=1,
        time_limit=time_limit,
        memory_bytes=None if memory is None else int(memory * _GIBIBYTE),
        selection=None if select is None else Selection.read(select),
    )
    return PacsChoice(settings, store, c_store)


@contextmanager
def open_job(choice: PacsChoice, address: PacsAddress) -> Iterator[PacsJob]:
    """Open the output, start the worker, and make the job; ends the worker and removes what was fetched."""
    from moeclip_med.batch.driver import settings_that_matter, work_order
    from moeclip_med.batch.local import Limits, LocalExecutor, OneByOne
    from moeclip_med.batch.output import BatchOutput
    from moeclip_med.batch.pacs.dicomweb import PacsServer
    from moeclip_med.batch.pacs.dimse import DicomNode
    from moeclip_med.batch.pacs.scoring import PacsJob
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
