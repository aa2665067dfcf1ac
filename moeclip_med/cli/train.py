"""`moeclip-med train`: adapters from industrial images, by a named recipe."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from moeclip_transforms.errors import InputError

from moeclip_med.cli.console import make_console
from moeclip_med.cli.options import QuietOption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moeclip_med.industrial.datasets import IndustrialImage

RECIPES = ("lite", "duo", "vit-l-14-336", "vit-l-14", "vit-b-16", "mobileclip-s1")


def train_command(  # noqa: PLR0913 - one parameter per option of the command
    *,
    data: Annotated[
        list[str],
        typer.Option(
            "--data",
            help="LAYOUT=FOLDER; layouts: visa, mvtec, btad, dtd-synthetic, rsdd, or industrial (any folder with "
            "NAME_mask.png beside NAME.*; no mask: normal). May be repeated.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run; resumed if it holds one.")],
    recipe: Annotated[
        str, typer.Option(help=f"One of: {', '.join(RECIPES)}; or timm:NAME.TAG, any vision transformer of timm.")
    ] = "lite",
    hold_out: Annotated[
        list[str] | None,
        typer.Option(help="Category never trained on, which chooses the checkpoint. May be repeated."),
    ] = None,
    normal_only: Annotated[
        list[str] | None,
        typer.Option(help="Category whose defective images are skipped (lite). May be repeated."),
    ] = None,
    values: Annotated[
        str, typer.Option(help="The numbers for towers with text: paper, or released (the authors' scripts).")
    ] = "paper",
    tower_weights: Annotated[
        Path | None, typer.Option(help="A file with the tower's weights.", show_default="the published ones")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the initialization, order, crops and dropout.")] = 0,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the training images.", show_default="the recipe's")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images per step.", show_default="the recipe's")] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(min=0.0, help="Learning rate of the optimizer, before it decays.", show_default="the recipe's"),
    ] = None,
    crops: Annotated[
        int | None,
        typer.Option(min=1, help="Training images per epoch (lite, duo, timm:).", show_default="the recipe's"),
    ] = None,
    start_from: Annotated[
        list[str] | None,
        typer.Option(
            help="Model, by name or folder, whose learned weights the run starts from (lite, duo, timm:). "
            "May be repeated; later ones replace what earlier ones gave."
        ),
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the trained adapters.")] = "unspecified",
    terms: Annotated[
        list[str] | None, typer.Option(help="CATEGORY=TEXT: terms of use of a category's images. May be repeated.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="bf16-mixed or 32-true.", show_default="32-true for lite; else by what the device can"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Number of devices.")] = 1,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that make images beside the training (duo, timm:).")
    ] = 0,
    quiet: QuietOption = False,
) -> None:
    """Train adapters on industrial images and write a model folder that --model takes."""
    from moeclip_med.training.entry import TIMM_PREFIX, TrainRequest, parse_precision, train

    if recipe not in RECIPES and not recipe.startswith(TIMM_PREFIX):
        raise InputError(
            f'--recipe: "{recipe}" is not a recipe; choose from {", ".join(RECIPES)}, {TIMM_PREFIX}NAME.TAG'
        )

    images = read_data(data)
    request = TrainRequest(
        recipe=recipe,
        images=images,
        folder=output,
        seed=seed,
        values=values,
        tower_weights=tower_weights,
        hold_out=tuple(hold_out or ()),
        normal_only=tuple(normal_only or ()),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        crops=crops,
        start_from=tuple(start_from or ()),
        licence=licence,
        terms=read_terms(terms or []),
        precision=parse_precision(precision),
        device=device,
        devices=devices,
        workers=workers,
    )
    console = make_console()

    def tell_precision(precision: str, why: str) -> None:
        console.print(f"precision {precision}: {why}", markup=False)

    with progress_bars(quiet=quiet) as (on_features, on_step):
        model = train(request, on_features=on_features, on_step=on_step, on_precision=tell_precision)
    console.print(f"model    {model}", markup=False)


def read_data(options: list[str]) -> tuple[IndustrialImage, ...]:
    """The images of every `LAYOUT=FOLDER`.

    Raises:
        InputError: An option has another form, names an unknown layout, or its folder does not fit.
    """
    from moeclip_med.industrial.datasets import LayoutName, find_images

    images: list[IndustrialImage] = []
    for option in options:
        name, separator, folder = option.partition("=")
        if not separator or name not in set(LayoutName):
            raise InputError(f'--data: "{option}" is not LAYOUT=FOLDER; layouts are {", ".join(LayoutName)}')
        images += find_images(Path(folder), LayoutName(name))
    return tuple(images)


def read_terms(options: list[str]) -> dict[str, str]:
    """Terms by category, from `CATEGORY=TEXT`.

    Raises:
        InputError: An option has another form.
    """
    terms = {}
    for option in options:
        category, separator, text = option.partition("=")
        if not separator or not text:
            raise InputError(f'--terms: "{option}" is not CATEGORY=TEXT')
        terms[category] = text
    return terms


@contextmanager
def progress_bars(
    *, quiet: bool
) -> Iterator[tuple[Callable[[int, int], None] | None, Callable[[int, int, float], None] | None]]:
    """Progress of the features and of the steps: two callbacks, both None where quiet."""
    if quiet:
        yield None, None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=make_console(stderr=True)) as progress:
        features = progress.add_task("features", total=None, visible=False, note="")
        steps = progress.add_task("steps", total=None, note="")

        def on_features(done: int, total: int) -> None:
            progress.update(features, completed=done, total=total, visible=True)

        def on_step(done: int, total: int, loss: float) -> None:
            progress.update(steps, completed=done, total=total, note=f"loss {loss:.3f}")

        yield on_features, on_step
