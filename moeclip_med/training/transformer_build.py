"""A tower with text, its network with a fresh initialization, and the frozen features of every class' phrases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import torch

from moeclip_med.model.class_names import class_name
from moeclip_med.model.network import MoEClip
from moeclip_med.model.prompts import Prompts
from moeclip_med.model.text import TextTower
from moeclip_med.model.towers import build_tower
from moeclip_med.weights.registry import NAMED_MODELS
from moeclip_med.weights.tower_weights import open_network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from moeclip_med.model.architecture import Architecture
    from moeclip_med.training.transformer import TransformerSettings


@dataclass(frozen=True)
class BuiltTransformer:
    """What the recipe trains.

    Attributes:
        name: The model's name.
        network: With a fresh initialization.
        text: Frozen features of (normal, abnormal) phrases by category, before the learned adapter.
        tower_sha256: Of the tower's weights.
        tower_terms: Their licence.
    """

    name: str
    network: MoEClip
    text: dict[str, tuple[Tensor, Tensor]]
    tower_sha256: str
    tower_terms: str


def build_transformer(
    name: str, settings: TransformerSettings, categories: Sequence[str], weights: Path | None
) -> BuiltTransformer:
    """Open the tower, encode all phrases once, let the text tower go, and build the network.

    Args:
        name: Of `NAMED_MODELS`.
        settings: With the released values the tower has plain GELU, as there; with the paper's QuickGELU, which
            OpenAI's weights were trained with.
        categories: What prompts are needed for.
        weights: A file with the tower's weights, instead of the published ones.

    Raises:
        InputError: The tower's weights are missing or do not fit.
    """
    import open_clip

    architecture = cast("Architecture", NAMED_MODELS[name].architecture())
    if settings.values == "released" and architecture.tower.activation == "quick_gelu":
        architecture = replace(architecture, tower=replace(architecture.tower, activation="gelu"))
    opened = open_network(architecture, weights)
    visual = opened.network.visual
    tower = TextTower(opened.network, open_clip.get_tokenizer(architecture.tower.name), projected=False)
    text = {}
    for category in categories:
        prompts = Prompts(class_name(category))
        text[category] = (tower(prompts.normal_phrases()), tower(prompts.abnormal_phrases()))
    torch.manual_seed(settings.seed)
    network = MoEClip(architecture, build_tower(visual, architecture), text_width=tower.width)
    return BuiltTransformer(name, network, text, opened.sha256, opened.terms)
