"""`moeclip-med batch`: score a whole archive, and tell how far it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from moeclip_transforms.volume import Plane
from typer.core import TyperGroup

from moeclip_med.cli.batch_display import BatchDisplay, print_dry_run, print_outcome, print_status
from moeclip_med.cli.console import make_console, print_warning
from moeclip_med.cli.options import (
    AbnormalOption,
    DeviceOption,
    EngineOption,
    EverySliceOption,
    FindingSiteOption,
    MinVolumeOption,
    ModelOption,
    NormalOption,
    PlaneOption,
    PrecisionOption,
    PresetOption,
    PromptOption,
    QuietOption,
    SegmentationOption,
    parse_path,
)
from moeclip_med.cli.score import (
    DEFAULT_RESULTS,
    EXIT_SOME_FAILED,
    make_dicom_options,
    make_prompts,
    parse_formats,
)
from moeclip_med.results.formats import SegmentationKind

_GIBIBYTE = 2**30


class _GroupWithDefault(TyperGroup):
    """A group whose first command need not be named: `batch ROOT` is `batch run ROOT`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - Typer keeps its context's type to itself
        """Put the name of the default command in front where no command is named."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


batch_app = typer.Typer(
    cls=_GroupWithDefault,
    no_args_is_help=True,
    help="Score a whole archive; `batch ROOT -o OUT` is short for `batch run ROOT -o OUT`.",
)


@batch_app.command("run")
def batch_command(  # noqa: PLR0913 - one parameter per option of the command
    root: Annotated[
        Path,
        typer.Argument(help="The archive: any tree of folders.", show_default=False, parser=parse_path, metavar="ROOT"),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder to write to, or to continue in.", show_default=False)
    ],
    *,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes.", show_default="as cores and memory allow")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads per worker.", show_default="cores / workers")
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(min=0.5, help="Memory for all workers, GiB.", show_default="four fifths of what is free"),
    ] = None,
    time_limit: Annotated[float, typer.Option(min=1.0, help="Longest time for one study, s.")] = 1800.0,
    ray: Annotated[
        str | None,
        typer.Option("--ray", help='Score on a Ray cluster: "auto", or the address of its head.', show_default=False),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            help='Score only series that meet this: "modality=CT,MR", "slices>=20", "description!=*scout*"; '
            "may be repeated.",
            show_default=False,
        ),
    ] = None,
    select: Annotated[
        Path | None,
        typer.Option("--select", help="Rules (YAML) that choose among the series of each study.", show_default=False),
    ] = None,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Follow links that lead out of the archive.")
    ] = False,
    results: Annotated[
        str, typer.Option(help="Comma-separated: nifti, json, csv, report, run, seg, pm, sr, sc, rtstruct.")
    ] = DEFAULT_RESULTS,
    seg: SegmentationOption = SegmentationKind.BINARY,
    finding_site: FindingSiteOption = None,
    model: ModelOption = "lite",
    plane: PlaneOption = Plane.AUTO,
    preset: PresetOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Score that a finding reaches.", show_default="the model's"),
    ] = None,
    min_volume: MinVolumeOption = None,
    every_slice: EverySliceOption = False,
    prompt: PromptOption = None,
    normal: NormalOption = None,
    abnormal: AbnormalOption = None,
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Slices per batch.", show_default="chosen by the model")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be scored and skipped.")] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Score everything again, replacing earlier results.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed before.")] = False,
    thumbnails: Annotated[bool, typer.Option(help="Small pictures in the triage list.")] = True,
    identify: Annotated[
        bool, typer.Option("--identify", help="Add patient IDs, accession numbers and UIDs to the triage list.")
    ] = False,
    quiet: QuietOption = False,
) -> int:
    """Score every series in an archive that is worth it, and list them by score. Research use only.

    Run it again after whatever stopped it: it continues where it stopped. Exit code 0: all done; 3: done, with failures
    listed in the triage list.
    """
    from moeclip_med.batch.batch_settings import BatchSettings, ModelChoice
    from moeclip_med.batch.driver import run_batch
    from moeclip_med.batch.filters import SeriesFilter
    from moeclip_med.batch.overview import look_at_archive
    from moeclip_med.batch.selection import Selection
    from moeclip_med.pipeline import ScoreSettings

    formats = parse_formats(results, raw=False, routing=False)
    settings = BatchSettings(
        root=root,
        output=output,
        score=ScoreSettings(
            formats,
            plane,
            preset,
            threshold,
            batch_size=batch_size,
            min_volume_ml=min_volume,
            every_slice=every_slice,
            dicom=make_dicom_options(seg, finding_site, formats),
        ),
        model=ModelChoice(model, device, engine, precision, make_prompts(prompt, normal, abnormal)),
        filters=tuple(SeriesFilter.parse(text) for text in only or ()),
        workers=workers,
        threads=threads,
        ray_address=ray,
        time_limit=time_limit,
        memory_bytes=None if memory is None else int(memory * _GIBIBYTE),
        redo=redo,
        retry_failed=retry_failed,
        thumbnails=thumbnails,
        identify=identify,
        follow_links=follow_links,
        selection=None if select is None else Selection.read(select),
    )
    with BatchDisplay(quiet=quiet) as display:
        if dry_run:
            look = look_at_archive(settings, display)
        else:
            outcome = run_batch(settings, display)
    if dry_run:
        print_dry_run(look)
        return EXIT_SOME_FAILED if look.problems else 0
    if "triage.parquet" not in outcome.files:
        print_warning('no .parquet is written: it needs "pyarrow"; run: pip install "moeclip-med[batch]"')
    print_outcome(outcome)
    return EXIT_SOME_FAILED if outcome.has_failures else 0


@batch_app.command("status")
def status_command(
    output: Annotated[Path, typer.Argument(help="The --output folder of a batch.", show_default=False)],
) -> int:
    """Tell how far a batch is, while it runs or afterwards; changes nothing."""
    from moeclip_med.batch.overview import read_status

    print_status(make_console(), read_status(output))
    return 0
