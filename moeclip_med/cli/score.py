"""`moeclip-med score`: anomaly maps, findings and a report for every series that a path holds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer
from moeclip_transforms.errors import InputError
from moeclip_transforms.volume import Plane

from moeclip_med.cli.console import (
    loading_model,
    make_console,
    print_error,
    print_findings,
    print_skipped,
    print_warning,
    skipped_file,
    slice_progress,
)
from moeclip_med.cli.options import (
    AbnormalOption,
    DeviceOption,
    EngineOption,
    EverySliceOption,
    FindingSiteOption,
    FollowLinksOption,
    InputArgument,
    MinVolumeOption,
    ModelOption,
    NormalOption,
    OutputOption,
    PlaneOption,
    PrecisionOption,
    PresetOption,
    PromptOption,
    QuietOption,
    SegmentationOption,
    TowerWeightsOption,
)
from moeclip_med.cli.writable import check_writable
from moeclip_med.results.formats import DicomOptions, ResultFormat, SegmentationKind

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_transforms import ImageSource, Series

    from moeclip_med.model import Prompts
    from moeclip_med.pipeline import ScoreSettings, SeriesResult
    from moeclip_med.scoring import Detector

EXIT_SOME_FAILED = 3
DEFAULT_RESULTS = "nifti,json,csv,report,run"


def score_command(  # noqa: PLR0913 - one parameter per option of the command
    path: InputArgument,
    output: OutputOption,
    *,
    model: ModelOption = "lite",
    plane: PlaneOption = Plane.AUTO,
    preset: PresetOption = None,
    series: Annotated[
        str | None, typer.Option(help="Score only this SeriesInstanceUID.", show_default="all series")
    ] = None,
    time_point: Annotated[
        str, typer.Option(help="Which time point of a 4-D image, from 0; all: each, in a folder of its own.")
    ] = "0",
    threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Score that a finding reaches.", show_default="the model's"),
    ] = None,
    min_volume: MinVolumeOption = None,
    every_slice: EverySliceOption = False,
    prompt: PromptOption = None,
    normal: NormalOption = None,
    abnormal: AbnormalOption = None,
    results: Annotated[
        str, typer.Option(help="Comma-separated: nifti, json, csv, report, run, seg, pm, sr, sc, rtstruct.")
    ] = DEFAULT_RESULTS,
    seg: SegmentationOption = SegmentationKind.BINARY,
    finding_site: FindingSiteOption = None,
    routing: Annotated[bool, typer.Option("--routing", help="Also write which expert took each patch.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Also write the network's unbounded map.")] = False,
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    tower_weights: TowerWeightsOption = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Slices per batch.", show_default="chosen by the model")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are already there.")] = False,
    follow_links: FollowLinksOption = False,
    quiet: QuietOption = False,
) -> int:
    """Score every series that a path holds: anomaly map, findings and report. Research use only."""
    from moeclip_transforms import open_source

    formats = parse_formats(results, raw=raw, routing=routing)
    dicom = make_dicom_options(seg, finding_site, formats)
    wanted = parse_time_point(time_point)
    _check_output(output, overwrite=overwrite)
    with open_source(path, follow_links=follow_links) as source:
        chosen = _choose(source, series)
        from moeclip_med.pipeline import ScoreSettings
        from moeclip_med.scoring import load_detector

        prompts = make_prompts(prompt, normal, abnormal)
        with loading_model(quiet=quiet):
            detector = load_detector(
                model,
                device=device,
                engine=engine,
                precision=precision,
                prompts=prompts,
                tower_weights=tower_weights,
            )
        settings = ScoreSettings(
            formats,
            plane,
            preset,
            threshold,
            batch_size=batch_size,
            min_volume_ml=min_volume,
            every_slice=every_slice,
            dicom=dicom,
        )
        jobs = list_jobs(chosen, wanted, output)
        code = _score_all(source, jobs, detector, settings, quiet=quiet, replaces=overwrite)
        return code or exit_code_of(source)


def exit_code_of(source: ImageSource) -> int:
    """Return the exit code of a command that did what it should with all that could be read."""
    return EXIT_SOME_FAILED if source.unreadable else 0


def _choose(source: ImageSource, uid: str | None) -> tuple[Series, ...]:
    """Return the series to score: the one named, or all that are worth scoring; says what is skipped and why."""
    print_skipped([skipped_file(path, reason) for path, reason in (*source.unreadable, *source.excluded)])
    left_out = [found for found in source.series if uid is None and found.skip_reason]
    print_skipped([f"series {s.uid} is skipped: {s.skip_reason}; score it with --series {s.uid}" for s in left_out])
    return source.choose(uid)


def make_dicom_options(seg: SegmentationKind, finding_site: str | None, formats: frozenset[str]) -> DicomOptions:
    """Make the options of DICOM results; says where one has no effect."""
    if seg is not SegmentationKind.BINARY and not formats & {ResultFormat.SEG, ResultFormat.SR}:
        print_warning(f"--seg {seg} has no effect: --results holds neither seg nor sr")
    return DicomOptions.of(seg, finding_site)


def make_prompts(prompt: str | None, normal: list[str] | None, abnormal: list[str] | None) -> Prompts | None:
    """Make the prompts that the options describe; None if there are none."""
    if prompt is None and not normal and not abnormal:
        return None
    if prompt is not None and normal and abnormal:
        print_warning("--prompt has no effect: --normal and --abnormal stand in its place")
    from moeclip_med.model import Prompts

    return Prompts.from_options(class_name=prompt, normal=normal or (), abnormal=abnormal or ())


@dataclass(frozen=True)
class ScoreJob:
    """One volume to score.

    Attributes:
        series: What it belongs to.
        time_point: Which of its time points, from 0.
        folder: Where its results go.
        title: What messages call it.
    """

    series: Series
    time_point: int
    folder: Path
    title: str


def parse_time_point(value: str) -> int | None:
    """Read the value of `--time-point`: a number from 0, or None for all.

    Raises:
        InputError: If it is neither.
    """
    if value.strip().lower() == "all":
        return None
    if value.strip().isdecimal():
        return int(value)
    raise InputError(f'--time-point "{value}": expected a number from 0, or all')


def list_jobs(chosen: tuple[Series, ...], time_point: int | None, output: Path) -> list[ScoreJob]:
    """Return the volumes to score: of each series the time point named, or each of them if None.

    Several series have a folder each; several time points of one series have a folder each inside it.
    """
    jobs = []
    for number, series in enumerate(chosen, start=1):
        folder = output if len(chosen) == 1 else output / series_folder_name(number, series)
        title = f"series {number} of {len(chosen)}"
        count = series.shape[3]
        if time_point is not None or count == 1:
            jobs.append(ScoreJob(series, time_point or 0, folder, title))
            continue
        digits = max(3, len(str(count - 1)))
        jobs += [
            ScoreJob(series, point, folder / f"time-{point:0{digits}d}", f"{title}, time point {point} of {count}")
            for point in range(count)
        ]
    return jobs


def _score_all(
    source: ImageSource,
    jobs: list[ScoreJob],
    detector: Detector,
    settings: ScoreSettings,
    *,
    quiet: bool,
    replaces: bool,
) -> int:
    from moeclip_med.pipeline import score_series

    failures = 0
    for job in jobs:
        own = replace(settings, time_point=job.time_point)
        try:
            with slice_progress(job.title, quiet=quiet) as on_slices:
                result = score_series(
                    source, job.series, detector, own, job.folder, on_slices=on_slices, replaces=replaces
                )
        except InputError as error:
            if len(jobs) == 1:
                raise
            failures += 1
            print_error(f"{job.title}: {error}")
            continue
        except Exception as error:
            if len(jobs) == 1:
                raise
            failures += 1
            is_too_large = isinstance(error, MemoryError)
            fault = "needs more memory than there is" if is_too_large else f"internal error ({type(error).__name__})"
            print_error(f"{job.title}: {fault}")
            continue
        _print_result(result)
        failures += bool(result.refused)
    return EXIT_SOME_FAILED if failures else 0


def series_folder_name(number: int, series: Series) -> str:
    """Name a series' folder without a UID or a name that could identify a patient."""
    return f"series-{number:03d}-{hashlib.sha256(series.uid.encode()).hexdigest()[:8]}"


def _print_result(result: SeriesResult) -> None:
    from moeclip_med.results import result_notes
    from moeclip_med.results.words import count_words

    console = make_console()
    anomaly = result.anomaly
    for note in (*dict.fromkeys(result.refused.values()), *result.header_notes, *result_notes(anomaly)):
        print_warning(note)
    calibration = "" if anomaly.is_calibrated else ", uncalibrated"
    console.print(
        f"[bold]{count_words(len(anomaly.findings))}[/] at or above {anomaly.threshold:.2f}{calibration}; "
        f"highest score {anomaly.peak_score:.2f}; {anomaly.record.outcome.slices_per_second:.1f} slices/s"
    )
    print_findings(console, anomaly)
    for name, path in result.files.items():
        console.print(f"  {name:<9}{path}", markup=False)


def parse_formats(names: str, *, raw: bool = False, routing: bool = False) -> frozenset[str]:
    """Turn the value of `--results` into formats; `raw` and `routing` add theirs.

    Raises:
        InputError: If a name is not a result format.
    """
    from moeclip_med.results.writers import known_formats

    wanted = {name.strip().lower() for name in names.split(",") if name.strip()}
    wanted |= ({"raw"} if raw else set()) | ({"routing"} if routing else set())
    known = known_formats()
    unknown = sorted(wanted - set(known))
    if unknown:
        raise InputError(f'--results: "{unknown[0]}" is not a result format; choose from {", ".join(known)}')
    return frozenset(ResultFormat(name) if name in set(ResultFormat) else name for name in wanted)


def _check_output(output: Path, *, overwrite: bool) -> None:
    check_writable(output)
    if output.is_dir() and any(output.iterdir()) and not overwrite:
        raise InputError(f'--output "{output}" is not empty; name another folder or add --overwrite')
