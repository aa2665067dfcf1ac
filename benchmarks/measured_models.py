"""The models that are measured: lite as it ships, and ViT-L/14-336 with weights rebuilt by name.

Speed and memory do not depend on what the weights are, so the full model is measured without OpenAI's file: every
tensor is noise seeded by its name, by the rule that the tests of equality with the released network use.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from moeclip_med.weights import LoadedModel, ModelMetadata, Threshold, load_model
from moeclip_med.weights.metadata import uncalibrated_scale

if TYPE_CHECKING:
    from moeclip_med.model import MoEClip

LITE = "lite"
FULL = "vit-l-14-336"
REBUILT = "noise, seeded by the names of the tensors"
"""In place of hashes: it names the weights as well as a hash would."""
_RULE = Path(__file__).parents[1] / "tests" / "model" / "released_network.py"


def measured_model(name: str, image_size: int | None = None) -> LoadedModel:
    """Return a model by name, at its own image size or another.

    Args:
        name: `LITE` or `FULL`.
        image_size: Side of the input in pixels; the model's own if None.
    """
    return lite_at(image_size) if name == LITE else rebuilt_full_model(image_size or 518)


def lite_at(image_size: int | None) -> LoadedModel:
    """Lite as it ships; at another image size, the same weights in a network built for it."""
    shipped = load_model(LITE)
    architecture = shipped.metadata.architecture
    if image_size in {None, architecture.image_size}:
        return shipped
    from dataclasses import replace

    from moeclip_med.model import MoEClip
    from moeclip_med.model.towers import build_tower
    from moeclip_med.weights.efficientnet import load_network

    resized = replace(architecture, image_size=image_size, map_size=image_size // 2)
    network = MoEClip(resized, build_tower(load_network(), resized)).eval()
    network.load_state_dict(shipped.network.learned_state(), strict=False)
    metadata = replace(shipped.metadata, architecture=resized)
    return LoadedModel(network, metadata, None, metadata.identity())


def rebuilt_full_model(image_size: int) -> LoadedModel:
    """ViT-L/14-336 with rebuilt weights and the prompts of a scan; as with a user's, the network is built on demand."""
    released = released_rule().build_released(image_size)
    with torch.no_grad():
        text = released.prompts("scan").clone()
    architecture = released.network.architecture
    del released
    metadata = ModelMetadata(
        name=f"{FULL}, rebuilt weights",
        version="1",
        architecture=architecture,
        score_scale=uncalibrated_scale(architecture),
        threshold=Threshold(0.5, "of no meaning: the weights are noise"),
        licence="none",
        adapters_sha256=REBUILT,
        tower_sha256=REBUILT,
    )
    return LoadedModel(partial(_rebuilt_network, image_size), metadata, text, metadata.identity())


def _rebuilt_network(image_size: int) -> MoEClip:
    network: MoEClip = released_rule().build_released(image_size).network
    return network


def released_rule() -> Any:  # noqa: ANN401 - a module
    """The tests' module that fills weights by their names."""
    name = "released_network"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, _RULE)
        if spec is None or spec.loader is None:
            raise FileNotFoundError(f"{_RULE} is missing; run the benchmark from a checkout of the repository.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]
