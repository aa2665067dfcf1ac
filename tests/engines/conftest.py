"""Models that engines are tried on, and a cache of each file's own."""

from __future__ import annotations

from dataclasses import replace

import open_clip
import pytest
import torch

from moeclip_med.model.architecture import BlurSpec
from moeclip_med.model.named_architectures import paper_architecture
from moeclip_med.model.network import MoEClip
from moeclip_med.model.towers import build_tower
from moeclip_med.weights import LoadedModel, ModelMetadata, Threshold, load_model
from moeclip_med.weights.metadata import uncalibrated_scale


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """An empty cache folder for this file's tests."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOECLIP_MED_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def lite():
    return load_model("lite")


@pytest.fixture(scope="module")
def small_transformer():
    """The paper's network around a small transformer with made weights."""
    torch.manual_seed(3)
    visual = open_clip.transformer.VisionTransformer(
        image_size=112, patch_size=14, width=256, layers=4, heads=4, mlp_ratio=4, output_dim=64
    )
    architecture = replace(
        paper_architecture("ViT-L-14", width=64, depth=4, image_size=112), blur=BlurSpec(kernel=3, sigma=1.0)
    )
    network = MoEClip(architecture, build_tower(visual, architecture)).eval()
    text = torch.nn.functional.normalize(torch.randn(64, 2), dim=0)
    metadata = ModelMetadata(
        name="small",
        version="1",
        architecture=architecture,
        score_scale=uncalibrated_scale(architecture),
        threshold=Threshold(0.5, "made for a test"),
        licence="none",
    )
    return LoadedModel(network, metadata, text, metadata.identity())
