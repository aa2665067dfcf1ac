"""`moeclip-med calibrate`: a threshold from healthy studies of one's own scanner, as a model of its own."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from moeclip_transforms.errors import InputError
from moeclip_transforms.volume import Plane

from moeclip_med.cli.console import loading_model, make_console, print_warning, skipped_file
from moeclip_med.cli.options import (
    DeviceOption,
    EngineOption,
    ModelOption,
    PlaneOption,
    PrecisionOption,
    PresetOption,
    QuietOption,
)
from moeclip_med.cli.writable import check_writable

if TYPE_CHECKING:
    import numpy as np
    from moeclip_transforms import ImageType
    from numpy.typing import NDArray

    from moeclip_med.scoring import AnomalyVolume, Detector
    from moeclip_med.scoring.calibration import Calibration
    from moeclip_med.weights import ScoreScale

DEFAULT_RATE = 0.05


@dataclass
class HealthyStudies:
    """What is kept of scored healthy studies: a figure each, no image."""

    flag_levels: dict[str, float] = field(default_factory=dict)
    counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    image_types: set[str] = field(default_factory=set)
    inputs: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)


def calibrate_command(  # noqa: PLR0913 - one parameter per option of the command
    healthy: Annotated[
        Path,
        typer.Option(help="A folder of healthy studies, in any format that score reads.", show_default=False),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The model folder to write; must not exist.", show_default=False)
    ],
    *,
    rate: Annotated[
        float | None, typer.Option(help="At most this share of healthy studies may be flagged.", show_default="0.05")
    ] = None,
    false_positives: Annotated[
        float | None,
        typer.Option(help="Instead: at most so many findings per healthy study, on average.", show_default="not used"),
    ] = None,
    model: ModelOption = "lite",
    plane: PlaneOption = Plane.AUTO,
    preset: PresetOption = None,
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Set a model's threshold from healthy studies of your own scanner, and write it as a new model folder."""
    from moeclip_med.scoring import load_detector

    if rate is not None and false_positives is not None:
        raise InputError("--rate and --false-positives exclude each other; name one")
    if output.exists():
        raise InputError(f'--output "{output}" exists; name a new folder, so that no model is overwritten')
    check_writable(output)
    source_folder = _model_folder(model)
    if rate is None and false_positives is None:
        rate = DEFAULT_RATE
    _check_studies(healthy, rate, false_positives)
    with loading_model(quiet=quiet):
        detector = load_detector(model, device=device, engine=engine, precision=precision)
    if detector.metadata.threshold.is_calibrated:
        print_warning(f"{model} is calibrated already; its threshold is set anew from these studies")
    scored = score_healthy(healthy, detector, plane, preset, wants_counts=false_positives is not None, quiet=quiet)
    for reason in scored.left_out:
        print_warning(reason)
    image_types = ", ".join(sorted(scored.image_types))
    if len(scored.image_types) > 1:
        print_warning(f"these studies are of several image types ({image_types}); calibrate each apart")
    calibration = _calibrate(scored, detector, rate, false_positives)
    made_from = f"{calibration.studies} healthy studies ({image_types}, plane {plane.value})"
    _write(source_folder, output, detector, calibration, made_from)
    console = make_console()
    console.print(f"{output}: {made_from}", markup=False)
    console.print(f"  {calibration.promise}\n  {calibration.limit}", markup=False)
    console.print(f"  Use it with --model {output}", markup=False)


def score_healthy(
    path: Path, detector: Detector, plane: Plane, image_type: ImageType | None, *, wants_counts: bool, quiet: bool
) -> HealthyStudies:
    """Score all studies of a folder and keep a figure of each.

    Several series of one study count as one: its highest. The same images given twice count once.

    Raises:
        InputError: If the folder holds no image.
    """
    from moeclip_transforms import open_source
    from moeclip_transforms.hashing import hash_array
    from rich.progress import track

    from moeclip_med.scoring import score_volume
    from moeclip_med.scoring.calibration import risk_levels

    scale = detector.metadata.score_scale
    levels = risk_levels(scale) if wants_counts else None
    kept = HealthyStudies()
    with open_source(path) as source:
        kept.left_out += [skipped_file(file, reason) for file, reason in source.unreadable]
        console = make_console(stderr=True)
        for series in track(source.series, "healthy series", console=console, disable=quiet):
            name = series.files[0].name
            if series.skip_reason:
                kept.left_out.append(f'"{name}" is skipped: {series.skip_reason}')
                continue
            try:
                volume = source.read(series)
                voxels = hash_array(volume.array)  # whatever the file's type, compression or name
                if voxels in kept.inputs:
                    kept.left_out.append(f'"{name}" is skipped: the same images were given before')
                    continue
                kept.inputs.add(voxels)
                anomaly = score_volume(volume, detector, plane=plane, image_type=image_type, keep_raw=True)
            except InputError as error:
                kept.left_out.append(f'"{name}" is skipped: {error}')
                continue
            _keep(kept, series.study_uid or series.uid, anomaly, scale, levels)
    return kept


def _keep(
    kept: HealthyStudies, study: str, anomaly: AnomalyVolume, scale: ScoreScale, levels: NDArray[np.float64] | None
) -> None:
    import numpy as np

    from moeclip_med.scoring.calibration import count_findings, flag_level

    if anomaly.raw is not None and not np.isfinite(anomaly.raw).all():
        kept.left_out.append("a series is skipped: its scores are not finite")
        return
    kept.image_types.add(anomaly.record.settings.kind.value)
    if levels is None:
        kept.flag_levels[study] = max(flag_level(anomaly, scale), kept.flag_levels.get(study, -np.inf))
    else:
        kept.counts[study] = kept.counts.get(study, 0) + count_findings(anomaly, levels, scale)


def _calibrate(scored: HealthyStudies, detector: Detector, rate: float | None, allowed: float | None) -> Calibration:
    import numpy as np

    from moeclip_med.scoring.calibration import calibrate_findings, calibrate_rate, risk_levels

    if rate is not None:
        return calibrate_rate(list(scored.flag_levels.values()), rate)
    levels = risk_levels(detector.metadata.score_scale)
    counts = np.array(list(scored.counts.values())).reshape(-1, len(levels))
    return calibrate_findings(counts, levels, allowed or 0.0)


def _check_studies(path: Path, rate: float | None, allowed: float | None) -> None:
    """Refuse too few studies before hours are spent on scoring them."""
    from moeclip_transforms import open_source

    from moeclip_med.scoring.calibration import check_enough

    with open_source(path) as source:
        studies = {series.study_uid or series.uid for series in source.series if not series.skip_reason}
    check_enough(len(studies), rate, allowed)


def _model_folder(model: str) -> Path:
    """Return the folder whose adapters the new model shares.

    Raises:
        InputError: If the model has none.
    """
    from moeclip_med.weights.registry import ZERO_SHOT_PREFIX, find_folder

    if model.startswith(ZERO_SHOT_PREFIX):
        raise InputError(f'--model "{model}" has no model folder, so it cannot be calibrated; name one with adapters')
    return find_folder(model)


def _write(source: Path, output: Path, detector: Detector, calibration: Calibration, made_from: str) -> None:
    """Write the new model folder beside its place, then rename it."""
    from moeclip_med.scoring.calibration import calibrated_metadata
    from moeclip_med.weights.store import ADAPTERS, write_metadata

    output.parent.mkdir(parents=True, exist_ok=True)
    beside = output.with_name(f"{output.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir()
        shutil.copy(source / ADAPTERS, beside)  # nothing else that a stranger's folder may hold or link to
        write_metadata(beside, calibrated_metadata(detector.metadata, calibration, made_from))
        beside.replace(output)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
