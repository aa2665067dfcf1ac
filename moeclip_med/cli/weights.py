"""`moeclip-med weights`: which models there are, what they are, and bringing new ones."""

from __future__ import annotations

import json
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from moeclip_med.cli.console import cell, make_console, print_warning

if TYPE_CHECKING:
    from collections.abc import Callable

    from moeclip_med.weights.metadata import ModelMetadata

T = TypeVar("T")
weights_app = typer.Typer(help="List, show, import and verify models.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="A name of `weights list`, or a model folder.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


class Activation(StrEnum):
    """Activations that a released checkpoint may have been trained with."""

    GELU = "gelu"
    QUICK_GELU = "quick_gelu"


@weights_app.command("list")
def list_command(*, as_json: JsonOption = False) -> None:
    """List the models that have names, and whether their adapters are on this machine."""
    from moeclip_med.weights.cache import models_folder
    from moeclip_med.weights.registry import NAMED_MODELS, ZERO_SHOT_PREFIX
    from moeclip_med.weights.store import METADATA

    nowhere: list[Path] = []
    rows = [
        {
            "name": model.name,
            "is_ready": _seen(partial(getattr, model, "is_ready"), otherwise=False),
            "folder": str(model.folder),
            "summary": model.summary,
        }
        for model in NAMED_MODELS.values()
    ]
    rows += [
        {"name": path.parent.name, "is_ready": True, "folder": str(path.parent), "summary": "imported or trained here"}
        for path in _seen(lambda: sorted(models_folder().glob(f"*/{METADATA}")), otherwise=nowhere)
        if path.parent.name not in NAMED_MODELS
    ]
    rows.append(
        {
            "name": f"{ZERO_SHOT_PREFIX}<open_clip name>",
            "is_ready": True,
            "folder": "",
            "summary": "plain CLIP without training, a baseline; fetches CLIP's weights when used",
        }
    )
    if as_json:
        _print_json(rows)
        return
    table = _table("model", "adapters", "what it is")
    for row in rows:
        state = "here" if row["is_ready"] else "not here"
        table.add_row(cell(row["name"]), cell(state if row["folder"] else "none needed"), cell(row["summary"]))
    make_console().print(table)


def _seen(look: Callable[[], T], otherwise: T) -> T:
    """What a look into the cache folder finds; says so where it may not be looked at."""
    try:
        return look()
    except OSError as error:
        print_warning(f'"{error.filename}" cannot be looked at ({error.strerror}); change its permissions')
        return otherwise


@weights_app.command("show")
def show_command(model: NameArgument, *, as_json: JsonOption = False) -> None:
    """Show what is known about a model: architecture, training data, licence, score scale, threshold, hashes."""
    from moeclip_med.weights.registry import find_folder
    from moeclip_med.weights.store import read_metadata

    folder = find_folder(model)
    metadata = read_metadata(folder)
    if as_json:
        _print_json(metadata.to_json() | {"identity_sha256": metadata.identity()})
        return
    _print_metadata(metadata, folder)


@weights_app.command("import")
def import_command(  # noqa: PLR0913 - one parameter per option of the command
    checkpoint: Annotated[Path, typer.Argument(help="A released checkpoint (.pth).", show_default=False)],
    *,
    name: Annotated[str, typer.Option(help="What to call the model.")] = "vit-l-14-336",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Model folder to write.", show_default="in the cache folder")
    ] = None,
    tower: Annotated[str, typer.Option(help="OpenCLIP's name of the tower.")] = "ViT-L-14-336",
    pretrained: Annotated[str, typer.Option(help="OpenCLIP's tag of the tower's weights.")] = "openai",
    activation: Annotated[Activation, typer.Option(help="Activation it was trained with.")] = Activation.GELU,
    top_k: Annotated[int, typer.Option(min=1, help="Experts per token.")] = 2,
    mixing: Annotated[float, typer.Option(min=0.0, max=1.0, help="Weight of the experts in the residual mean.")] = 0.1,
    image_size: Annotated[int, typer.Option(min=1, help="Side of the input in pixels.")] = 518,
    experts: Annotated[
        int | None, typer.Option(help="Number of experts; checked.", show_default="from the shapes")
    ] = None,
    rank: Annotated[
        int | None, typer.Option(help="Rank of the experts; checked.", show_default="from the shapes")
    ] = None,
) -> None:
    """Import a released checkpoint; what its shapes do not tell is taken from the options and recorded."""
    from moeclip_med.weights.cache import models_folder
    from moeclip_med.weights.importing import ReleasedOptions, import_released

    options = ReleasedOptions(
        tower=tower,
        pretrained=pretrained,
        activation=activation.value,
        top_k=top_k,
        mixing=mixing,
        image_size=image_size,
        experts=experts,
        rank=rank,
    )
    folder = models_folder() / name if output is None else output
    metadata = import_released(checkpoint, folder, name, options)
    for note in metadata.notes:
        print_warning(note)
    _print_metadata(metadata, folder)


@weights_app.command("verify")
def verify_command(model: NameArgument, *, as_json: JsonOption = False) -> None:
    """Check a model's files: hashes, every tensor's name, shape and values, and the tower where it is here."""
    from moeclip_med.weights.verifying import verify_model

    report = verify_model(model)
    if as_json:
        _print_json(report.to_json())
        return
    table = _table("check", "result")
    for check, result in report.checks.items():
        table.add_row(cell(check), cell(result))
    make_console().print(table)
    if not report.is_complete:
        print_warning("the tower's weights are not on this machine, so only the adapters were checked.")


def _print_metadata(metadata: ModelMetadata, folder: Path) -> None:
    from moeclip_med.weights.metadata import UNCALIBRATED

    architecture, scale, threshold = metadata.architecture, metadata.score_scale, metadata.threshold
    tower = architecture.tower
    data = [f"{item.name} ({item.terms})" for item in metadata.training_data]
    rows = {
        "name": f"{metadata.name}, version {metadata.version}",
        "folder": str(folder),
        "tower": f"{tower.name} ({tower.pretrained}), activation {tower.activation}",
        "input": f"{architecture.image_size} × {architecture.image_size} pixels, {architecture.crop}",
        "score scale": f"centre {scale.centre:g}, spread {scale.spread:g} ({scale.source})",
        "threshold": f"{threshold.value:g} ({threshold.source})"
        + ("" if threshold.is_calibrated else f", {UNCALIBRATED}"),
        "licence": metadata.licence,
        "tower's licence": metadata.tower_licence or "not recorded",
        "trained on": "\n".join(data) or "nothing",
        "initialization": "\n".join(f"{key}: {value}" for key, value in metadata.initialization.items())
        or "not recorded",
        "weak on": "\n".join(f"{kind}: {why}" for kind, why in metadata.weak_kinds.items()) or "nothing recorded",
        "notes": "\n".join(metadata.notes) or "none",
        "adapters' SHA-256": metadata.adapters_sha256,
        "tower's SHA-256": metadata.tower_sha256 or "not known",
    }
    table = _table("", "")
    for key, value in rows.items():
        table.add_row(cell(key), cell(value))
    make_console().print(table)


def _table(*headings: str) -> Any:  # noqa: ANN401 - rich is imported only when a table is printed
    from rich.table import Table

    table = Table(show_header=any(headings))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _print_json(data: object) -> None:
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))
