"""From a request to a trained model folder: what the command `train` calls."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from moeclip_med.industrial.datasets import IndustrialImage
    from moeclip_med.training.loop import Precision

MODEL_FOLDER = "model"


@dataclass(frozen=True)
class TrainRequest:
    """Everything a run is asked for.

    Attributes:
        recipe: "lite", or the name of a tower with text, such as "vit-l-14-336".
        images: All industrial images, held-out categories included.
        folder: Where the run keeps its files.
        seed: Of everything random.
        values: "paper" or "released", for towers with text.
        tower_weights: A file with the tower's weights, instead of the published ones, for towers with text.
        hold_out: Categories never trained on; they choose the checkpoint.
        normal_only: Categories whose defective images are left out.
        changes: Settings that differ from the recipe's, by name.
        licence: Licence of the trained adapters.
        terms: Terms of use of the images by category, where they are not known.
        precision: "bf16-mixed" or "32-true"; None takes the recipe's: float32 for lite, whose tokens are differences of
            features, mixed for towers with text.
        device: "auto", "cpu", "cuda" or "mps".
        devices: Number of devices.
    """

    recipe: str
    images: tuple[IndustrialImage, ...]
    folder: Path
    seed: int = 0
    values: str = "paper"
    tower_weights: Path | None = None
    hold_out: tuple[str, ...] = ()
    normal_only: tuple[str, ...] = ()
    changes: dict[str, Any] = field(default_factory=dict)
    licence: str = "unspecified"
    terms: dict[str, str] = field(default_factory=dict)
    precision: Precision | None = None
    device: str = "auto"
    devices: int = 1


def parse_precision(name: str | None) -> Precision | None:
    """The precision of a name; None where none is given.

    Raises:
        InputError: There is no such precision.
    """
    names: dict[str, Precision] = {"bf16-mixed": "bf16-mixed", "32-true": "32-true"}
    if name is None or name in names:
        return None if name is None else names[name]
    msg = f'--precision: "{name}" is neither bf16-mixed nor 32-true'
    raise InputError(msg)


def train(
    request: TrainRequest,
    *,
    on_features: Callable[[int, int], None] | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> Path:
    """Train, or go on with a run that was interrupted, and write the model of its best checkpoint.

    Args:
        request: What to train.
        on_features: Called with (images done, images in all) while features are computed.
        on_step: Called with (steps done, steps in all, loss).

    Returns:
        The model folder, which `load_model` takes.

    Raises:
        InputError: The data do not fit the recipe, or the folder holds another run.
    """
    if not request.hold_out:
        categories = sorted({image.category for image in request.images})
        msg = (
            "--hold-out: no category is held out, so nothing could choose the checkpoint; "
            f"hold out at least one of: {', '.join(categories)}"
        )
        raise InputError(msg)
    if request.recipe == "lite":
        return train_lite(request, on_features, on_step)
    return train_transformer(request, on_step)


def train_lite(
    request: TrainRequest,
    on_features: Callable[[int, int], None] | None,
    on_step: Callable[[int, int, float], None] | None,
) -> Path:
    """The lite recipe, from images to model folder."""
    from moeclip_med.training.artefact import write_lite_model
    from moeclip_med.training.lite import LiteTask
    from moeclip_med.training.loop import RunOptions, make_fabric, run_training
    from moeclip_med.training.settings import LiteSettings

    settings = replace(
        LiteSettings(seed=request.seed, held_out=request.hold_out, normal_only=request.normal_only),
        **request.changes,
    )
    task = LiteTask(request.images, settings, request.folder / "features", on_features=on_features)
    options = RunOptions(
        request.folder,
        settings.seed,
        task.settings_json(),
        precision=request.precision or "32-true",
        device=request.device,
        devices=request.devices,
    )
    progress = run_training(task, options, make_fabric(options), on_step)
    model = request.folder / MODEL_FOLDER
    return write_lite_model(task, request.folder, model, progress, licence=request.licence, terms=request.terms)


def train_transformer(request: TrainRequest, on_step: Callable[[int, int, float], None] | None) -> Path:
    """The paper's recipe for a tower with text, from images to model folder."""
    from moeclip_med.training.artefact import write_transformer_model
    from moeclip_med.training.loop import RunOptions, make_fabric, run_training
    from moeclip_med.training.transformer import TransformerTask, recipe_values
    from moeclip_med.training.transformer_build import build_transformer

    if request.values not in {"paper", "released"}:
        msg = f'--values: "{request.values}" is neither paper nor released'
        raise InputError(msg)
    if request.normal_only:
        msg = "--normal-only belongs to the recipe lite; leave it out"
        raise InputError(msg)
    base = recipe_values("paper" if request.values == "paper" else "released")
    settings = replace(base, seed=request.seed, held_out=request.hold_out, **request.changes)
    categories = sorted({image.category for image in request.images})
    built = build_transformer(request.recipe, settings, categories, request.tower_weights)
    task = TransformerTask(request.images, settings, built.network, built.text)
    options = RunOptions(
        request.folder,
        settings.seed,
        {**task.settings_json(), "tower_sha256": built.tower_sha256},
        precision=request.precision or "bf16-mixed",
        device=request.device,
        devices=request.devices,
    )
    progress = run_training(task, options, make_fabric(options), on_step)
    model = request.folder / MODEL_FOLDER
    return write_transformer_model(
        task, built, request.folder, model, progress, licence=request.licence, terms=request.terms
    )
