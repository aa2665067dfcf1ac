"""The options that several commands share, described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from moeclip_transforms.volume import ImageType, Plane

from moeclip_med.results.formats import SegmentationKind


def parse_path(value: str) -> Path:
    """Read a path; an empty text, as from an unset variable, would otherwise stand for the current folder.

    Raises:
        BadParameter: If it is empty.
    """
    if not value:
        raise typer.BadParameter("the path is empty; name a file or a folder")
    return Path(value)


InputArgument = Annotated[
    Path,
    typer.Argument(
        help="A DICOM file, folder, zip or tar archive or DICOMDIR; a NIfTI, MHA or NRRD file; or a photograph.",
        show_default=False,
        parser=parse_path,
        metavar="PATH",
    ),
]
OutputOption = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="The folder to write results to; made if missing.",
        show_default=False,
        parser=parse_path,
        metavar="PATH",
    ),
]
ModelOption = Annotated[
    str,
    typer.Option("--model", "-m", help="lite, duo, vit-l-14-336, clip-zero-shot:<open_clip name>, or a model folder."),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
EngineOption = Annotated[str, typer.Option(help="auto, torch or openvino.")]
PrecisionOption = Annotated[str, typer.Option(help="auto, f32, bf16, f16 or int8.")]
FollowLinksOption = Annotated[bool, typer.Option("--follow-links", help="Follow links out of the given folder.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, results only.")]

PlaneOption = Annotated[
    Plane, typer.Option(help="Cut slices along this plane; auto: as acquired; all: three planes, averaged.")
]
PresetOption = Annotated[
    ImageType | None,
    typer.Option(help="Image type, which sets the window.", show_default="from the header"),
]
MinVolumeOption = Annotated[
    float | None,
    typer.Option(
        "--min-volume",
        min=0.0,
        help="How much of a finding has to reach the threshold, ml.",
        show_default="0.1 or, if less, 1/20 000 of the image",
    ),
]
EverySliceOption = Annotated[
    bool, typer.Option("--every-slice", help="Score each slice, also where they lie so close that some are enough.")
]
PromptOption = Annotated[
    str | None, typer.Option(help='What the image shows, e.g. "brain MRI"; needs a model with a text tower.')
]
NormalOption = Annotated[list[str] | None, typer.Option("--normal", help="A whole phrase for normal; may be repeated.")]
AbnormalOption = Annotated[
    list[str] | None, typer.Option("--abnormal", help="A whole phrase for abnormal; may be repeated.")
]
TowerWeightsOption = Annotated[
    Path | None,
    typer.Option(help="File with the backbone's weights (safetensors or .pt), instead of the published ones."),
]
SegmentationOption = Annotated[
    SegmentationKind,
    typer.Option(
        "--seg",
        help="How a DICOM segmentation holds findings: a bit a voxel, one map of labels, or scores as fractions.",
    ),
]
FindingSiteOption = Annotated[
    str | None,
    typer.Option(
        "--finding-site",
        help='Code of the body part in view, "SCHEME:VALUE:MEANING", recorded with each finding: "SCT:39607008:Lung".',
        show_default=False,
    ),
]
