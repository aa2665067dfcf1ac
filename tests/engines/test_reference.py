"""The reference implementation that speed is measured against computes what the product computes."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from moeclip_med.engines.quantization_images import CalibrationImages
from moeclip_med.model.architecture import BlurSpec
from moeclip_med.model.named_architectures import paper_architecture
from moeclip_med.model.network import MoEClip
from moeclip_med.model.towers import build_tower
from moeclip_med.weights import load_model


@pytest.fixture(scope="module")
def reference():
    path = Path(__file__).parents[2] / "benchmarks" / "reference.py"
    spec = importlib.util.spec_from_file_location("reference_implementation", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference_implementation"] = module
    spec.loader.exec_module(module)
    return module


def test_reference_transformer_equals_the_product(reference):
    torch.manual_seed(5)
    visual = open_clip.transformer.VisionTransformer(
        image_size=126, patch_size=14, width=128, layers=4, heads=4, mlp_ratio=4, output_dim=64
    )
    paper = paper_architecture("ViT-L-14", width=64, depth=4, image_size=126)
    architecture = replace(paper, blur=BlurSpec(kernel=9, sigma=1.5))
    network = MoEClip(architecture, build_tower(visual, architecture)).eval()
    images = torch.randn(2, 3, 126, 126)
    text = torch.nn.functional.normalize(torch.randn(64, 2), dim=0)
    with torch.inference_mode():
        wanted = network(images, text).maps
    assert wanted.std() > 0.1
    torch.testing.assert_close(reference.reference_maps(network, images, text), wanted, rtol=1e-5, atol=1e-4)


def test_reference_lite_equals_the_product(reference):
    model = load_model("lite")
    batches = CalibrationImages(None, 2).batches(model.metadata.architecture)
    images = torch.from_numpy(np.concatenate(list(batches)))
    with torch.inference_mode():
        wanted = model.network(images).maps
    scale = model.metadata.score_scale.spread
    torch.testing.assert_close(
        reference.reference_maps(model.network, images) / scale, wanted / scale, rtol=0, atol=1e-4
    )
