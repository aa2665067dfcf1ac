"""Bringing the authors' released checkpoints, or a tower's weights, into our folders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from moeclip_transforms.errors import InputError

from moeclip_med.model.architecture import CLIP_MEAN, CLIP_STD, Architecture, ExpertsSpec
from moeclip_med.model.named_architectures import paper_architecture
from moeclip_med.model.prompts import Prompts
from moeclip_med.weights.metadata import ModelMetadata, Threshold, TrainingData, uncalibrated_scale
from moeclip_med.weights.openclip import clip_config, is_transformer
from moeclip_med.weights.released import convert_released, released_parts
from moeclip_med.weights.store import save_model
from moeclip_med.weights.tensors import check_state, read_checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from moeclip_med.weights.released import ReleasedShapes

_DATA = TrainingData(
    name="not recorded in the checkpoint (the authors name VisA or MVTec AD)",
    terms="VisA CC BY 4.0; MVTec AD CC BY-NC-SA 4.0",
)


@dataclass(frozen=True)
class ReleasedOptions:
    """What a released checkpoint does not store, with the released defaults; and what it tells, to be checked.

    Attributes:
        tower: OpenCLIP's name.
        pretrained: OpenCLIP's tag.
        activation: The released code runs OpenAI's weights with plain GELU.
        top_k: Experts per token; no shape depends on it.
        mixing: Weight of the experts in the residual mean.
        alpha: LoRA's α.
        image_size: Side of the input in pixels.
        levels: Blocks with experts; the quarters of the tower's depth where not given.
        experts: Number of experts, if the user says so; must agree with the shapes.
        rank: Rank of the experts, likewise.
    """

    tower: str = "ViT-L-14-336"
    pretrained: str = "openai"
    activation: Literal["gelu", "quick_gelu"] = "gelu"
    top_k: int = 2
    mixing: float = 0.1
    alpha: float = 16.0
    image_size: int = 518
    levels: tuple[int, ...] = ()
    experts: int | None = None
    rank: int | None = None


def import_released(path: Path, folder: Path, name: str, options: ReleasedOptions) -> ModelMetadata:
    """Turn a released checkpoint into a model folder.

    Args:
        path: The `.pth` file; read with tensors only, no other pickle is run.
        folder: Where the model folder goes.
        name: What the model is to be called.
        options: What the checkpoint does not store.

    Returns:
        The metadata as written; its notes say what was assumed.

    Raises:
        InputError: The file is no released checkpoint, or contradicts the options or the tower.
    """
    image_adapter, text_adapter = released_parts(read_checkpoint(path), str(path))
    state, shapes = convert_released(image_adapter, text_adapter)
    architecture = describe_released(shapes, options)
    check_state(state, _shapes_of(architecture, shapes), where=str(path))
    metadata = ModelMetadata(
        name=name,
        version="released",
        architecture=architecture,
        score_scale=uncalibrated_scale(architecture),
        threshold=Threshold(0.5, "where normal and abnormal prompts are equally near, not measured"),
        licence="not stated by the authors",
        tower_licence=f"OpenCLIP {options.tower} ({options.pretrained}), see its model card",
        prompts=Prompts(),
        training_data=(_DATA,),
        training={"source": "released checkpoint", "file": path.name},
        initialization={"router": "0", "experts.up (B)": "0", "experts.down (A)": "QR of a Gaussian, frozen"},
        notes=_notes(state, options),
    )
    return save_model(folder, {key: tensor.float() for key, tensor in state.items()}, metadata)


def describe_released(shapes: ReleasedShapes, options: ReleasedOptions) -> Architecture:
    """Join what the shapes tell with what only the options can.

    Raises:
        InputError: They contradict each other, or the tower.
    """
    config = clip_config(options.tower)
    if not is_transformer(config):
        raise InputError(
            f'tower "{options.tower}" is no vision transformer; released checkpoints are for ViT-L-14-336.'
        )
    depth = int(config["vision_cfg"]["layers"])
    levels = options.levels or tuple(depth * quarter // 4 for quarter in (1, 2, 3, 4))
    _agree("experts", options.experts, shapes.experts)
    _agree("rank", options.rank, shapes.rank)
    _agree("number of levels", len(levels), shapes.levels)
    _agree(f"width of {options.tower}", int(config["vision_cfg"]["width"]), shapes.width)
    _agree(f"width of the text tower of {options.tower}", int(config["text_cfg"]["width"]), shapes.text_width)
    base = paper_architecture(
        options.tower,
        options.pretrained,
        width=shapes.out_width,
        depth=depth,
        image_size=options.image_size,
        activation=options.activation,
    )
    experts = ExpertsSpec(
        count=shapes.experts,
        top_k=options.top_k,
        rank=shapes.rank,
        alpha=options.alpha,
        mixing=options.mixing,
        router_start=0.0,
        expert_start=0.0,
    )
    projection = replace(base.projection, ends_with_activation=shapes.ends_with_activation)
    return replace(base, levels=levels, experts=experts, projection=projection, mean=CLIP_MEAN, std=CLIP_STD)


def _agree(what: str, said: int | None, found: int) -> None:
    if said is not None and said != found:
        raise InputError(
            f"{what}: {said} expected, but the checkpoint's shapes say {found}; correct the option or the tower."
        )


def _shapes_of(architecture: Architecture, shapes: ReleasedShapes) -> dict[str, Tensor]:
    """Tensors without memory, of the shapes that every learned part must have."""
    import torch

    spec, width = architecture.experts, shapes.width
    wanted: dict[str, tuple[int, ...]] = {
        "image_head.norm.weight": (width,),
        "image_head.norm.bias": (width,),
        "image_head.depthwise.weight": (width, 1, 3),
        "image_head.pointwise.weight": (shapes.out_width, width, 1),
        "text_adapter.linear.weight": (shapes.out_width, shapes.text_width),
    }
    for level in range(shapes.levels):
        wanted[f"projections.{level}.0.weight"] = (shapes.out_width, width)
        wanted[f"experts.{level}.router"] = (spec.count, width)
        wanted[f"experts.{level}.down"] = (spec.count, spec.rank, width)
        wanted[f"experts.{level}.up"] = (spec.count, width, spec.rank)
    return {name: torch.empty(shape, device="meta") for name, shape in wanted.items()}


def _notes(state: Mapping[str, Tensor], options: ReleasedOptions) -> tuple[str, ...]:
    import torch

    notes = [
        (
            f"imported from a released checkpoint, which stores no settings: top-k {options.top_k}, activation "
            f"{options.activation} and mixing weight {options.mixing:g} were assumed, not read."
        ),
        "the hash of the tower it was trained on is not known, so the tower is not checked.",
        "scores are uncalibrated: the scale follows from the map's formula alone.",
    ]
    seen = torch.stack([(matrix != 0).any(dim=1) for key, matrix in state.items() if key.endswith(".down")])
    if (seen.sum(dim=1) > 1).any():
        notes.append("the experts' A overlap in the features they see: this checkpoint was trained without FOFS.")
    return tuple(notes)
