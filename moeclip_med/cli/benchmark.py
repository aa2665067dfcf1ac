"""`moeclip-med benchmark`: figures on data sets with known answers, beside baselines; `compare` for two runs."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from moeclip_transforms.errors import InputError

from moeclip_med.benchmark.datasets.folder import Unmasked
from moeclip_med.benchmark.protocol import ProtocolChoice
from moeclip_med.cli.console import make_console, print_warning
from moeclip_med.cli.options import DeviceOption, EngineOption, ModelOption, PrecisionOption, QuietOption
from moeclip_med.cli.writable import check_writable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID

    from moeclip_med.benchmark.datasets.case import Dataset, Fault, Problem
    from moeclip_med.benchmark.detectors import DetectorOptions
    from moeclip_med.benchmark.maps import MapSource
    from moeclip_med.benchmark.run import BenchmarkSettings

BASELINE_NAMES = ("brightness", "inverse_brightness", "local_contrast", "centre_distance")
_MOST_NAMED = 3

benchmark_app = typer.Typer(
    help="Measure a model on data sets with known answers, beside baselines. Research use only.",
    invoke_without_command=True,
)


@benchmark_app.callback()
def benchmark_command(  # noqa: PLR0913 - one parameter per option of the command
    context: typer.Context,
    *,
    root: Annotated[
        Path | None, typer.Option(help="A folder with published sets in it, as they were unpacked.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option("--set", help="A published set: NAME=PATH; may be repeated.")
    ] = None,
    folder: Annotated[
        list[str] | None,
        typer.Option(
            help="Own images or volumes, NAME_mask.* beside them: NAME=PATH, or NAME=PATH::BOXES.csv (COCO: .json)."
        ),
    ] = None,
    volumes: Annotated[
        list[str] | None,
        typer.Option(help="Own volumes with masks: NAME=PATH or NAME=PATH::*image*::*mask*; may be repeated."),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(help="The channel of nnU-Net's layout: NAME=FLAIR.", show_default="the first"),
    ] = None,
    lesion_labels: Annotated[
        list[str] | None,
        typer.Option(help="Mask values of an own set that are lesions: NAME=2,3.", show_default="all above 0"),
    ] = None,
    ignore_labels: Annotated[
        list[str] | None,
        typer.Option(help="Mask values of an own set that count nowhere: NAME=-1,255.", show_default="none"),
    ] = None,
    healthy: Annotated[
        list[str] | None,
        typer.Option(help="Normal cases without masks beside a set of your own: NAME=PATH; may be repeated."),
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option(help="Maps of another program: NAME=PATH, a file for each case; may be repeated."),
    ] = None,
    maps_threshold: Annotated[
        list[str] | None,
        typer.Option(help="Its threshold on the scale of its maps: NAME=0.5.", show_default="none"),
    ] = None,
    strata: Annotated[
        list[str] | None,
        typer.Option(help='Properties of cases: [SET=]FILE.csv with a column "case" or "patient"; may be repeated.'),
    ] = None,
    threshold_from: Annotated[
        str, typer.Option(help="Choose a second threshold on this set, and apply it to the others.", metavar="SET")
    ] = "",
    unmasked: Annotated[Unmasked, typer.Option(help="What an image without mask in --folder is.")] = Unmasked.AUTO,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder for the report; made if missing.")
    ] = None,
    model: ModelOption = "lite",
    clip_zero_shot: Annotated[
        str,
        typer.Option(
            help="Also evaluate plain CLIP: an OpenCLIP name; auto: the model's own tower, if it has text; none: not.",
            metavar="NAME",
        ),
    ] = "auto",
    protocol: Annotated[
        ProtocolChoice, typer.Option(help="paper: 518 × 518; native: the images' own pixels; auto: what fits the set.")
    ] = ProtocolChoice.AUTO,
    save_maps: Annotated[bool, typer.Option("--save-maps", help="Also write the raw maps.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away what an earlier run counted.")] = False,
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Measure a model on data sets with known answers. The same command continues a run that was stopped."""
    if context.invoked_subcommand is not None:
        return
    if output is None:
        raise InputError("--output is missing; name the folder for the report")
    check_writable(output)
    if find_spec("matplotlib") is None:
        raise InputError('the report\'s charts need matplotlib; install it: pip install "moeclip-med[benchmark]"')
    datasets, missing = gather(root, dataset, folder, volumes, channel, unmasked, healthy)
    datasets = with_labels(datasets, lesion_labels, ignore_labels)
    from moeclip_med.benchmark.detectors import DetectorOptions
    from moeclip_med.benchmark.run import BenchmarkSettings

    settings = BenchmarkSettings(
        output,
        protocol,
        _map_sources(maps, maps_threshold),
        _strata_files(strata, [one.name for one in datasets]),
        threshold_from,
        save_maps=save_maps,
        restart=restart,
    )
    options = DetectorOptions(model, device, engine, precision)
    _run(datasets, missing, options, clip_zero_shot, settings, quiet=quiet)


@benchmark_app.command("compare")
def compare_command(
    first: Annotated[Path, typer.Argument(help="The output folder of one run.", show_default=False)],
    second: Annotated[Path, typer.Argument(help="The output folder of another.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write the comparison to this Markdown file.")
    ] = None,
) -> None:
    """Compare two runs on the sets that both evaluated, case by case, with paired tests over patients."""
    from moeclip_med.benchmark.compare import compare, to_markdown

    text = to_markdown(compare(first, second))
    make_console().print(text, markup=False)
    if output is not None:
        output.write_text(text, encoding="utf-8")


def gather(
    root: Path | None,
    published: list[str] | None,
    folders: list[str] | None,
    volumes: list[str] | None,
    channels: list[str] | None,
    unmasked: Unmasked,
    healthy: list[str] | None = None,
) -> tuple[list[Dataset], list[str]]:
    """Find all sets that the options name, and say which of the paper's are missing.

    Raises:
        InputError: If none is named, two have one name, or one is not there.
    """
    from moeclip_med.benchmark.datasets.locating import find_sets, missing_sentence, read_set
    from moeclip_med.benchmark.datasets.user_volumes import read_volumes

    datasets: list[Dataset] = []
    missing: list[str] = []
    given = [read_set(name, Path(path)) for name, path in _pairs("--set", published)]
    if root is not None:
        found, absent = find_sets(root)
        names = {one.name for one in given}
        datasets += [one for one in found if one.name not in names]
        missing = [missing_sentence(facts) for facts in absent if facts.name not in names]
    datasets += given
    chosen = dict(_pairs("--channel", channels))
    datasets += [_own_folder(name, value, unmasked, chosen) for name, value in _pairs("--folder", folders)]
    for name, value in _pairs("--volumes", volumes):
        path, *patterns = value.split("::")
        if len(patterns) not in {0, 2}:
            raise InputError(f'--volumes "{name}={value}": expected NAME=PATH or NAME=PATH::*image*::*mask*')
        datasets.append(read_volumes(name, Path(path), patterns, chosen.pop(name, None)))
    if chosen:
        raise InputError(f'--channel names "{next(iter(chosen))}", which no --folder or --volumes names')
    if not datasets:
        raise InputError("no data set is named; use --root, --set NAME=PATH, --folder NAME=PATH or --volumes NAME=PATH")
    names_seen: set[str] = set()
    for one in datasets:
        if one.name in names_seen:
            raise InputError(f'two data sets are named "{one.name}"; give each its own name')
        names_seen.add(one.name)
    return with_healthy(datasets, healthy), missing


def _own_folder(name: str, value: str, unmasked: Unmasked, channels: dict[str, str]) -> Dataset:
    """Read pictures with masks or boxes, or volumes where there are no pictures; takes its channel away."""
    from moeclip_med.benchmark.datasets.boxes import read_boxes
    from moeclip_med.benchmark.datasets.folder import read_folder
    from moeclip_med.benchmark.datasets.user_volumes import holds_volumes_alone, read_volumes

    path, sign, boxes = value.partition("::")
    if sign:
        return read_boxes(name, Path(path), Path(boxes))
    if holds_volumes_alone(Path(path)):
        return read_volumes(name, Path(path), (), channels.pop(name, None))
    return read_folder(name, Path(path), unmasked)


def with_healthy(datasets: list[Dataset], healthy: list[str] | None) -> list[Dataset]:
    """Add normal cases to the sets that they are named for.

    Raises:
        InputError: If a set is named that is not there, or nothing lies at the path.
    """
    from moeclip_med.benchmark.datasets.healthy import add_healthy

    for name, path in _pairs("--healthy", healthy):
        place = next((number for number, one in enumerate(datasets) if one.name == name), None)
        if place is None:
            raise InputError(f'--healthy "{name}": no set of that name; name one of the sets given')
        datasets[place] = add_healthy(datasets[place], Path(path))
    return datasets


def with_labels(
    datasets: list[Dataset], lesion_labels: list[str] | None, ignore_labels: list[str] | None
) -> list[Dataset]:
    """Return own sets with the meaning of their mask values.

    Raises:
        InputError: If a set is named that is none of one's own.
    """
    from dataclasses import replace

    given = {one.name: one for one in datasets}
    for option, values in (("--lesion-labels", lesion_labels), ("--ignore-labels", ignore_labels)):
        for name, numbers in _pairs(option, values):
            if name not in given or given[name].facts is not None:
                raise InputError(f'{option} names "{name}", which no --folder or --volumes names')
            found = _numbers(option, name, numbers)
            one = given[name]
            is_lesion = option == "--lesion-labels"
            given[name] = replace(one, lesion_labels=found) if is_lesion else replace(one, ignore_labels=found)
    return list(given.values())


def _run(
    datasets: list[Dataset],
    missing: list[str],
    options: DetectorOptions,
    clip_zero_shot: str,
    settings: BenchmarkSettings,
    *,
    quiet: bool,
) -> None:
    from dataclasses import replace

    from moeclip_med.benchmark.detectors import detector_maker, zero_shot_system
    from moeclip_med.benchmark.report.case_pictures import draw_cases
    from moeclip_med.benchmark.report.markdown import overview
    from moeclip_med.benchmark.report.notation import system_name
    from moeclip_med.benchmark.report.report_files import write_report
    from moeclip_med.benchmark.run import run_benchmark, set_folder_name
    from moeclip_med.benchmark.systems import DetectorSystem, baseline_systems

    for sentence in missing:
        print_warning(sentence)
    for note in (f"{one.name}: {note}" for one in datasets for note in one.notes):
        print_warning(note)
    detector = DetectorSystem(detector_maker(options))
    others = baseline_systems()
    extra, reason = zero_shot_system(detector, options, clip_zero_shot)
    if extra is not None:
        others = [extra, *others]
    if reason:
        missing = [*missing, reason]
        print_warning(reason)
    with _case_progress(quiet=quiet) as on_case:
        result = run_benchmark(datasets, detector, others, settings, on_case)
    result = replace(result, missing=tuple(missing))
    pictures = {
        one.name: draw_cases(one, dataset, detector) for one, dataset in zip(result.sets, datasets, strict=True)
    }
    names = {one.name: set_folder_name(one.name) for one in datasets}
    written = write_report(result, settings.output, pictures, names)
    console = make_console()
    console.print(overview(result.sets), markup=False)
    for one in result.sets:
        for fault, problems in groupby(sorted(one.problems, key=lambda problem: problem.fault), key=_fault):
            named = list(problems)
            first = ", ".join(" ".join(filter(None, (f'"{p.key}"', p.detail))) for p in named[:_MOST_NAMED])
            more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
            print_warning(f"{one.name}: {len(named)} × {fault.value}: {first}{more}")
        for what, count in one.rows.progress.resampled.items():
            which = "masks" if what == "truth" else f"maps of {what}"
            print_warning(f"{one.name}: on another grid than the image, and resampled: {count} {which}")
        for baseline, figures in one.beaten_by().items():
            print_warning(f"{one.name}: {system_name(baseline)} is ahead of the model in {', '.join(figures)}")
    for kind, path in written.items():
        console.print(f"  {kind:<9}{path}", markup=False)


@contextmanager
def _case_progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar per set; yield the callback that moves it."""
    if quiet:
        yield lambda _name, _done, _total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=make_console(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def advance(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done)

        yield advance


def _pairs(option: str, values: list[str] | None) -> Iterator[tuple[str, str]]:
    for value in values or ():
        name, sign, path = value.partition("=")
        if not (sign and name.strip() and path.strip()):
            raise InputError(f'{option} "{value}": expected NAME=PATH')
        yield name.strip(), path.strip()


def _fault(problem: Problem) -> Fault:
    return problem.fault


def _map_sources(maps: list[str] | None, thresholds: list[str] | None) -> tuple[MapSource, ...]:
    from moeclip_med.benchmark.maps import MapSource

    limits: dict[str, float] = {}
    for name, text in _pairs("--maps-threshold", thresholds):
        try:
            limits[name] = float(text)
        except ValueError:
            raise InputError(f'--maps-threshold "{name}={text}": expected a number on the scale of its maps') from None
    sources: list[MapSource] = []
    for name, path in _pairs("--maps", maps):
        if not Path(path).is_dir():
            raise InputError(f'--maps {name}: "{path}" is not a folder; name the one that holds a map for each case')
        if name in {"detector", "clip_zero_shot", *BASELINE_NAMES, *(source.name for source in sources)}:
            raise InputError(f"--maps {name}: that name is taken; choose another")
        sources.append(MapSource(name, Path(path), limits.pop(name, None)))
    if limits:
        raise InputError(f'--maps-threshold names "{next(iter(limits))}", which no --maps names')
    return tuple(sources)


def _strata_files(strata: list[str] | None, names: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for value in strata or ():
        name, sign, path = value.partition("=")
        if sign and name.strip() in names:
            found[name.strip()] = Path(path.strip())
        else:
            found[""] = Path(value)
    for file in found.values():
        if not file.is_file():
            raise InputError(
                f'--strata "{file}": no such file; expected FILE.csv, or SET=FILE.csv with the name of a set'
            )
    return found


def _numbers(option: str, name: str, values: str) -> tuple[int, ...]:
    try:
        return tuple(int(value) for value in values.split(","))
    except ValueError:
        raise InputError(f'{option} "{name}={values}": expected whole numbers such as {name}=2,3') from None
