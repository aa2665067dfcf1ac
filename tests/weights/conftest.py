"""A tiny CLIP that OpenCLIP knows by name, with weights in a file, and a cache folder of its own."""

from __future__ import annotations

import json
import ssl
from dataclasses import replace

import pytest
import torch
import trustme
from file_server import serving
from open_clip.factory import add_model_config

from moeclip_med.model.architecture import BlurSpec, ExpertsSpec
from moeclip_med.model.named_architectures import paper_architecture
from moeclip_med.model.network import MoEClip
from moeclip_med.model.towers import build_tower
from moeclip_med.weights.metadata import ModelMetadata, Threshold, uncalibrated_scale
from moeclip_med.weights.openclip import build_clip, clip_config

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 4, "width": 64, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Every test has an empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MOECLIP_MED_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_is_known(tmp_path_factory):
    path = tmp_path_factory.mktemp("configs") / "Tiny-8.json"
    path.write_text(json.dumps(TINY), encoding="utf-8")
    add_model_config(path)


@pytest.fixture(scope="session")
def tiny_weights(tiny_is_known, tmp_path_factory):
    """A safetensors file with the weights of "Tiny-8"."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("towers") / "tiny.safetensors"
    save_file(build_clip(clip_config("Tiny-8"), "gelu").state_dict(), path)
    return path


@pytest.fixture
def tiny_model(tiny_weights):
    """Learned state and metadata of a tiny model with adapters."""
    torch.manual_seed(1)
    base = paper_architecture("Tiny-8", str(tiny_weights), width=32, depth=4, image_size=64, activation="gelu")
    architecture = replace(base, experts=ExpertsSpec(rank=4), blur=BlurSpec(3, 1.0))
    clip = build_clip(clip_config("Tiny-8"), "gelu")
    network = MoEClip(architecture, build_tower(clip.visual, architecture))
    metadata = ModelMetadata(
        name="tiny",
        version="1",
        architecture=architecture,
        score_scale=uncalibrated_scale(architecture),
        threshold=Threshold(0.5, "test"),
        licence="Apache-2.0",
    )
    return network.learned_state(), metadata


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A server of files over https, trusted by this test alone."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
    with serving(context) as server:
        yield server
