"""A fused network by its members' own engines gives what the network gives as a whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from moeclip_transforms.errors import InputError

from moeclip_med.engines import make_engine
from moeclip_med.engines.base import is_transformer
from moeclip_med.model.architecture import ExpertsSpec, FusedArchitecture
from moeclip_med.model.fused import FusedNetwork
from moeclip_med.model.named_architectures import dino_architecture, duo_architecture, lite_architecture
from moeclip_med.model.network import MoEClip
from moeclip_med.model.towers import build_tower
from moeclip_med.weights import LoadedModel, ModelMetadata, ScoreScale, Threshold


def transformer(grid: int, seed: int) -> MoEClip:
    base = dino_architecture("vit_small_patch14_dinov2", "none", depth=4, grid=grid)
    architecture = replace(base, experts=ExpertsSpec(rank=4), map_size=32)
    torch.manual_seed(seed)
    network = timm.create_model(base.tower.name, embed_dim=48, depth=4, num_heads=3, num_classes=0)
    return MoEClip(architecture, build_tower(network, architecture)).eval()


@pytest.fixture
def model() -> LoadedModel:
    networks = [transformer(4, 0), transformer(6, 1)]
    architecture = FusedArchitecture(tuple(n.architecture for n in networks), image_size=84, map_size=32)
    metadata = ModelMetadata("small", "1", architecture, ScoreScale(0, 1), Threshold(0.5, "a test"), "none")
    members = tuple(LoadedModel(n, replace(metadata, architecture=n.architecture), None, "") for n in networks)
    return LoadedModel(FusedNetwork(architecture, networks).eval(), metadata, None, "", members=members)


def test_the_members_engines_together_give_the_networks_maps(model):
    images = torch.rand(3, 3, 84, 84, generator=torch.Generator().manual_seed(0)) * 2 - 1
    engine = make_engine(model, engine="torch", device="cpu", precision="f32")
    with torch.inference_mode():
        wanted = model.network(images, want_routing=True)
    found = engine.run(images, want_routing=True)
    torch.testing.assert_close(found.maps, wanted.maps)
    assert all(torch.equal(a, b) for a, b in zip(found.routing, wanted.routing, strict=True))
    assert engine.run(images).routing is None
    assert engine.description.count("PyTorch") == 2


def test_images_of_another_size_are_refused(model):
    engine = make_engine(model, engine="torch", device="cpu", precision="f32")
    with pytest.raises(InputError, match="3 × 84 × 84"):
        engine.run(torch.zeros(1, 3, 56, 56))


def test_a_transformer_of_timm_is_known_as_one():
    fused = duo_architecture()
    assert [is_transformer(member) for member in fused.members] == [False, True]
    assert not is_transformer(lite_architecture())
