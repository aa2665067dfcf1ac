"""`moeclip-med export`: a model for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from moeclip_transforms.errors import InputError

from moeclip_med.cli.console import make_console
from moeclip_med.cli.options import ModelOption
from moeclip_med.cli.writable import check_writable

FORMATS = "onnx, openvino or monai-bundle"


def export_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="A folder that does not exist yet.")],
    *,
    export_format: Annotated[str, typer.Option("--format", "-f", help=FORMATS + ".")] = "onnx",
    model: ModelOption = "lite",
) -> None:
    """Write a model as ONNX, OpenVINO or MONAI bundle, and compare it with PyTorch. Research use only."""
    from moeclip_med.export.targets import ExportFormat, export_model

    if export_format not in set(ExportFormat):
        raise InputError(f'--format: "{export_format}" is not a format; choose {FORMATS}')
    check_writable(output)
    from moeclip_med.weights import load_model

    folder, difference = export_model(load_model(model), ExportFormat(export_format), output)
    console = make_console()
    console.print(f"model       {folder}", markup=False)
    console.print(f"difference  {difference:.1e} of the map's range, largest, from PyTorch in float32", markup=False)
