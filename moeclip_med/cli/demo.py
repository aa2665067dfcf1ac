"""`moeclip-med demo`: score a brain with a simulated lesion, from NIfTI and from DICOM."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moeclip_med.cli.console import loading_model, make_console, slice_progress
from moeclip_med.cli.options import ModelOption, QuietOption
from moeclip_med.cli.writable import check_writable

if TYPE_CHECKING:
    from rich.console import Console

    from moeclip_med.demo import SimulatedBrain
    from moeclip_med.pipeline import SeriesResult

DESCRIPTION = "SIMULATED lesion in the MNI152 template"


def demo_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")] = Path("demo"),
    *,
    model: ModelOption = "lite",
    quiet: QuietOption = False,
) -> None:
    """Score a brain with a simulated lesion whose place is known, as NIfTI and as a DICOM series."""
    from moeclip_transforms import open_source

    from moeclip_med.cli.score import DEFAULT_RESULTS, parse_formats
    from moeclip_med.demo import simulate_brain, write_dicom_series, write_nifti
    from moeclip_med.pipeline import ScoreSettings, score_series
    from moeclip_med.scoring import load_detector

    check_writable(output)
    console = make_console()
    brain = simulate_brain()
    nifti = output / "input" / "simulated_brain.nii.gz"
    dicom = output / "input" / "simulated_brain_dicom"
    write_nifti(nifti, brain.image, brain.affine)
    write_nifti(output / "input" / "simulated_brain_mask.nii.gz", brain.lesion.astype("uint8"), brain.affine)
    write_dicom_series(dicom, brain.image, brain.affine, DESCRIPTION)

    with loading_model(quiet=quiet):
        detector = load_detector(model)
    settings = ScoreSettings(parse_formats(DEFAULT_RESULTS))
    for path, folder in ((nifti, output / "from_nifti"), (dicom, output / "from_dicom")):
        with open_source(path) as source, slice_progress(path.name, quiet=quiet) as on_slices:
            result = score_series(source, source.series[0], detector, settings, folder, on_slices=on_slices)
        _tell(console, path, result, brain)
    console.print("[bold]Research use only: not a medical device.[/] The lesion is simulated.")


def _tell(console: Console, path: Path, result: SeriesResult, brain: SimulatedBrain) -> None:
    """Say where the results lie, and how far the first finding is from the lesion that was drawn."""
    import numpy as np
    from moeclip_transforms import Affine

    from moeclip_med.demo.brain import LESION_CENTRE_RAS_MM
    from moeclip_med.results.words import count_words

    findings = result.anomaly.findings
    console.print(f"\n[bold]{path.name}[/]: {count_words(len(findings))}", markup=True)
    if findings and findings[0].centre_lps_mm is not None:
        x, y, z = findings[0].centre_lps_mm
        distance = float(np.linalg.norm(np.array([-x, -y, z]) - LESION_CENTRE_RAS_MM))
        drawn_ml = float(brain.lesion.sum()) * Affine(brain.affine).voxel_ml
        console.print(
            f"  first finding: score {findings[0].peak_score:.2f}, {findings[0].volume_ml:.1f} ml, centre "
            f"{distance:.0f} mm from the centre of the simulated lesion ({drawn_ml:.1f} ml)"
        )
    for name, file in result.files.items():
        console.print(f"  {name:<9}{file}", markup=False)
