"""From a request to a trained model folder: what the command `train` calls."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from moeclip_med.industrial.datasets import IndustrialImage
    from moeclip_med.model.architecture import Architecture
    from moeclip_med.model.fused import FusedNetwork
    from moeclip_med.model.network import MoEClip
    from moeclip_med.training.image_task import ImageTask
    from moeclip_med.training.lite import LiteTask
    from moeclip_med.training.loop import Precision
    from moeclip_med.training.run_state import TrainingProgress
    from moeclip_med.training.settings import LiteSettings
    from moeclip_med.training.start import Start
    from moeclip_med.training.transformer import TransformerSettings, TransformerTask
    from moeclip_med.weights.tower_weights import OpenedTower

MODEL_FOLDER = "model"
TIMM_PREFIX = "timm:"
LARGE_SIDE = 518
"""The input of a transformer of timm has at most this side, pixels."""

AnySettings = TypeVar("AnySettings", "LiteSettings", "TransformerSettings")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainRequest:
    """Everything a run is asked for.

    Attributes:
        recipe: "lite", "duo", the name of a tower with text, such as "vit-l-14-336", or any vision transformer of
            timm as "timm:NAME.TAG", such as "timm:vit_large_patch14_dinov2.lvd142m".
        images: All industrial images, held-out categories included.
        folder: Where the run keeps its files.
        seed: Of everything random.
        values: "paper" or "released", for towers with text.
        tower_weights: A file with the tower's weights, instead of the published ones, for towers with text.
        hold_out: Categories never trained on; they choose the checkpoint.
        normal_only: Categories whose defective images are skipped.
        epochs: Passes over the images; None for the recipe's.
        batch_size: Images per step; None for the recipe's.
        learning_rate: AdamW's at the start; None for the recipe's.
        crops: Training images per epoch, for lite, the model duo and timm's; None for the recipe's.
        start_from: Models whose learned weights the run starts from, the later ones' over the earlier ones', for
            lite, the model duo and timm's.
        licence: Licence of the trained adapters.
        terms: Terms of use of the images by category, where they are not known.
        precision: "bf16-mixed" or "32-true"; None chooses: float32 for lite, whose tokens are differences of
            features; for all else mixed where the device computes in bf16, else float32. A network of lite's kind
            within another computes in float32 always.
        device: "auto", "cpu", "cuda" or "mps".
        devices: Number of devices.
        workers: Processes that make training images beside the training, for the model duo and timm's.
    """

    recipe: str
    images: tuple[IndustrialImage, ...]
    folder: Path
    seed: int = 0
    values: str = "paper"
    tower_weights: Path | None = None
    hold_out: tuple[str, ...] = ()
    normal_only: tuple[str, ...] = ()
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    crops: int | None = None
    start_from: tuple[str, ...] = ()
    licence: str = "unspecified"
    terms: dict[str, str] = field(default_factory=dict)
    precision: Precision | None = None
    device: str = "auto"
    devices: int = 1
    workers: int = 0


def parse_precision(name: str | None) -> Precision | None:
    """The precision of a name; None where none is given.

    Raises:
        InputError: There is no such precision.
    """
    names: dict[str, Precision] = {"bf16-mixed": "bf16-mixed", "32-true": "32-true"}
    if name is None or name in names:
        return None if name is None else names[name]
    raise InputError(f'--precision: "{name}" is neither bf16-mixed nor 32-true')


def train(
    request: TrainRequest,
    *,
    on_features: Callable[[int, int], None] | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
    on_precision: Callable[[str, str], None] | None = None,
) -> Path:
    """Train, or go on with a run that was interrupted, and write the model of its best checkpoint.

    Args:
        request: What to train.
        on_features: Called with (images done, images in all) while features are computed.
        on_step: Called with (steps done, steps in all, loss).
        on_precision: Told once the precision that is used, and why.

    Returns:
        The model folder, which `load_model` takes.

    Raises:
        InputError: The data do not fit the recipe, or the folder holds another run.
    """
    if not request.hold_out:
        categories = sorted({image.category for image in request.images})
        raise InputError(
            "--hold-out: no category is held out, so nothing could choose the checkpoint; "
            f"hold out at least one of: {', '.join(categories)}"
        )
    _check_options(request)
    precision, why = precision_of(request)
    _log.info("precision %s: %s", precision, why)
    if on_precision is not None:
        on_precision(precision, why)
    request = replace(request, precision=precision)
    if request.recipe == "lite":
        return train_lite(request, on_features, on_step)
    if request.recipe == "duo" or request.recipe.startswith(TIMM_PREFIX):
        return train_images(request, on_step)
    return train_transformer(request, on_step)


def _check_options(request: TrainRequest) -> None:
    """Refuse what the recipe would not use."""
    is_lite = request.recipe == "lite"
    has_text = not is_lite and request.recipe != "duo" and not request.recipe.startswith(TIMM_PREFIX)
    unused = {
        "--normal-only": bool(request.normal_only) and has_text,
        "--tower-weights": request.tower_weights is not None and is_lite,
        "--values": request.values != "paper" and not has_text,
        "--workers": request.workers > 0 and (is_lite or has_text),
        "--crops": request.crops is not None and has_text,
        "--start-from": bool(request.start_from) and has_text,
    }
    for option, is_given in unused.items():
        if is_given:
            raise InputError(f"{option} has no effect on the recipe {request.recipe}; omit it")


def precision_of(request: TrainRequest) -> tuple[Precision, str]:
    """Return the precision of a training, and why."""
    if request.recipe == "lite" and request.precision is None:
        return "32-true", "the recipe's own"
    return choose_precision(request.precision, request.device)


def choose_precision(wish: Precision | None, device: str) -> tuple[Precision, str]:
    """The precision of a transformer's training, and why; bf16 that a processor only emulates takes minutes a step."""
    from moeclip_med.engines import machine

    if wish is not None:
        return wish, "as asked for"
    found = machine.devices()[0] if device == "auto" else device
    if found.startswith("cpu"):
        if machine.torch_has_native_bf16():
            return "bf16-mixed", "the processor has bf16 arithmetic"
        return "32-true", "the processor has no bf16 arithmetic"
    if machine.has_native_bf16(found):
        return "bf16-mixed", f"{found} has bf16 arithmetic"
    return "32-true", f"{found} has no bf16 arithmetic"


def _adapted(settings: AnySettings, request: TrainRequest) -> AnySettings:
    """A recipe's settings with what the request asks for."""
    return replace(
        settings,
        seed=request.seed,
        held_out=request.hold_out,
        epochs=settings.epochs if request.epochs is None else request.epochs,
        batch_size=settings.batch_size if request.batch_size is None else request.batch_size,
        learning_rate=settings.learning_rate if request.learning_rate is None else request.learning_rate,
    )


def _begun(
    settings: LiteSettings, network: MoEClip | FusedNetwork, request: TrainRequest
) -> tuple[LiteSettings, Start]:
    """The settings of a network with learned prompts, which gets the values that the run starts from.

    Raises:
        InputError: A model does not fit, or was trained on a category that is held out.
    """
    from moeclip_med.training.artefact import data_name
    from moeclip_med.training.start import start_from

    start = start_from(network, request.start_from)
    known = {data.name for data in start.training_data}
    if seen := [category for category in request.hold_out if data_name(category) in known]:
        raise InputError(
            f"--hold-out: {', '.join(seen)} cannot choose the checkpoint: the training starts from "
            f"{', '.join(start.models)}, which was trained on it; "
            "hold out another category, or start from another model."
        )
    settings = replace(
        _adapted(settings, request),
        normal_only=request.normal_only,
        crops=settings.crops if request.crops is None else request.crops,
        starts_from=start.sha256,
    )
    return settings, start


def train_lite(
    request: TrainRequest,
    on_features: Callable[[int, int], None] | None,
    on_step: Callable[[int, int, float], None] | None,
) -> Path:
    """The lite recipe, from images to model folder."""
    from moeclip_med.model.named_architectures import lite_architecture
    from moeclip_med.training.lite import LiteTask
    from moeclip_med.training.settings import LiteSettings
    from moeclip_med.weights.loading import build_network

    network, tower = build_network(lite_architecture(), seed=request.seed)
    settings, start = _begun(LiteSettings(), network, request)
    task = LiteTask(
        request.images,
        settings,
        request.folder / "features",
        network=cast("MoEClip", network),
        on_features=on_features,
    )
    return _run(task, tower, request, start, "lite", on_step)


def train_images(request: TrainRequest, on_step: Callable[[int, int, float], None] | None) -> Path:
    """The duo model, or a vision transformer of timm by itself, from images to model folder."""
    from moeclip_med.model.named_architectures import duo_architecture
    from moeclip_med.training.image_task import ImageTask
    from moeclip_med.training.settings import duo_settings
    from moeclip_med.weights.loading import build_network

    architecture = duo_architecture() if request.recipe == "duo" else timm_architecture(request.recipe)
    network, tower = build_network(architecture, request.tower_weights, seed=request.seed)
    settings, start = _begun(duo_settings(architecture.image_size), network, request)
    task = ImageTask(request.images, settings, network, workers=request.workers)
    return _run(task, tower, request, start, request.recipe.removeprefix(TIMM_PREFIX), on_step)


def timm_architecture(recipe: str) -> Architecture:
    """The network around a vision transformer of timm, at some 518 pixels, experts after each quarter of its blocks.

    Args:
        recipe: "timm:NAME.TAG".

    Raises:
        InputError: timm has no such model, or it is no vision transformer.
    """
    import timm
    import torch

    from moeclip_med.model.named_architectures import dino_architecture

    name, _, tag = recipe.removeprefix(TIMM_PREFIX).partition(".")
    if not timm.is_model(name):
        similar = ", ".join(timm.list_models(f"*{name}*")[:5]) or "none"
        raise InputError(f'--recipe: timm has no model "{name}"; similar names: {similar}')
    with torch.device("meta"):
        network: Any = timm.create_model(name, pretrained=False)
    if not hasattr(network, "patch_embed") or not hasattr(network, "num_prefix_tokens"):
        raise InputError(f'--recipe: "{name}" is no vision transformer ({type(network).__name__})')
    patch = int(network.patch_embed.patch_size[0])
    architecture = dino_architecture(name, tag, depth=len(network.blocks), patch=patch, grid=LARGE_SIDE // patch)
    return replace(architecture, mean=tuple(network.default_cfg["mean"]), std=tuple(network.default_cfg["std"]))


def _run(
    task: LiteTask | ImageTask,
    tower: OpenedTower,
    request: TrainRequest,
    start: Start,
    name: str,
    on_step: Callable[[int, int, float], None] | None,
) -> Path:
    from moeclip_med.training.artefact import write_learned_model

    progress = _train(task, tower.sha256, request, on_step)
    model = request.folder / MODEL_FOLDER
    return write_learned_model(
        task,
        tower,
        request.folder,
        model,
        progress,
        name=name,
        licence=request.licence,
        terms=request.terms,
        start=start,
    )


def _train(
    task: LiteTask | ImageTask | TransformerTask,
    tower_sha256: str,
    request: TrainRequest,
    on_step: Callable[[int, int, float], None] | None,
) -> TrainingProgress:
    from moeclip_med.training.loop import RunOptions, make_fabric, run_training

    options = RunOptions(
        request.folder,
        request.seed,
        {**task.settings_json(), "tower_sha256": tower_sha256},
        precision=precision_of(request)[0],
        device=request.device,
        devices=request.devices,
    )
    return run_training(task, options, make_fabric(options), on_step)


def train_transformer(request: TrainRequest, on_step: Callable[[int, int, float], None] | None) -> Path:
    """The paper's recipe for a tower with text, from images to model folder."""
    from moeclip_med.training.artefact import write_transformer_model
    from moeclip_med.training.transformer import TransformerTask, recipe_values
    from moeclip_med.training.transformer_build import build_transformer

    if request.values not in {"paper", "released"}:
        raise InputError(f'--values: "{request.values}" is neither paper nor released')
    base = recipe_values("paper" if request.values == "paper" else "released")
    settings = _adapted(base, request)
    categories = sorted({image.category for image in request.images})
    built = build_transformer(request.recipe, settings, categories, request.tower_weights)
    task = TransformerTask(request.images, settings, built.network, built.text)
    progress = _train(task, built.tower_sha256, request, on_step)
    model = request.folder / MODEL_FOLDER
    return write_transformer_model(
        task, built, request.folder, model, progress, licence=request.licence, terms=request.terms
    )
