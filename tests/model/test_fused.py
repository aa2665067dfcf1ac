"""Networks side by side: the map is the sum of their mean logits, each sees its own size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from moeclip_transforms.errors import InputError
from torch import nn

from moeclip_med.model.architecture import Architecture, ExpertsSpec, FusedArchitecture, ProjectionSpec, TowerSpec
from moeclip_med.model.fused import FusedNetwork, member_images, resize_matrix
from moeclip_med.model.named_architectures import dino_architecture, duo_architecture, lite_architecture
from moeclip_med.model.network import MoEClip
from moeclip_med.model.towers import ConvolutionalTower, build_tower
from moeclip_med.weights.metadata import ModelMetadata, ScoreScale, Threshold


def convolutional() -> MoEClip:
    architecture = replace(
        lite_architecture(),
        tower=TowerSpec("timm", "tiny", "none", "native"),
        levels=(1, 2),
        experts=ExpertsSpec(rank=2),
        projection=ProjectionSpec(width=16, hidden=16),
        image_size=64,
        map_size=32,
        surroundings=(5, 3),
    )
    stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU())
    blocks = [nn.Conv2d(8, 16, 3, padding=1), nn.Sequential(nn.ReLU(), nn.Conv2d(16, 24, 3, 2, 1))]
    return MoEClip(architecture, ConvolutionalTower(stem, blocks, architecture))


def transformer() -> MoEClip:
    architecture = replace(
        dino_architecture("vit_small_patch14_dinov2", "none", depth=4, grid=6), experts=ExpertsSpec(rank=4), map_size=32
    )
    network = timm.create_model("vit_small_patch14_dinov2", embed_dim=48, depth=4, num_heads=3, num_classes=0)
    return MoEClip(architecture, build_tower(network, architecture))


@pytest.fixture
def fused() -> FusedNetwork:
    torch.manual_seed(0)
    members = [convolutional(), transformer()]
    architecture = FusedArchitecture(tuple(member.architecture for member in members), image_size=84, map_size=32)
    return FusedNetwork(architecture, members).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 84, 84, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_map_is_the_sum_of_the_members_mean_maps(fused, images):
    with torch.no_grad():
        found = fused(images, want_routing=True, want_image=True)
        parts = [m(x) for m, x in zip(fused.members, member_images(fused.architecture, images), strict=True)]
    expected = sum(p.maps / m.architecture.map_count for p, m in zip(parts, fused.members, strict=True))
    torch.testing.assert_close(found.maps, expected)
    assert len(found.routing) == 2 + 4
    assert found.image_score.shape == (2,)


def test_members_see_the_image_at_their_own_size_and_scale(fused, images):
    small, same = member_images(fused.architecture, images)
    assert small.shape == (2, 3, 64, 64)
    shown = images * 0.5 + 0.5
    mean, std = (
        torch.tensor(v)[:, None, None] for v in (fused.members[1].architecture.mean, fused.members[1].architecture.std)
    )
    torch.testing.assert_close(same, (shown - mean) / std)
    wanted = nn.functional.interpolate(shown, size=(64, 64), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(small * 0.5 + 0.5, wanted, atol=1e-5, rtol=1e-4)


def test_resizing_keeps_an_even_image():
    torch.testing.assert_close(resize_matrix(392, 256).sum(dim=1), torch.ones(256))


def test_what_is_learned_is_all_but_the_towers(fused):
    names = set(fused.learned_state())
    assert {
        "members.0.learned_prompts.vectors",
        "members.1.experts.3.up",
        "members.0.axis_gate.layers.0.weight",
    } <= names
    assert not any("tower" in name for name in names)


def test_the_architecture_survives_json():
    architecture = duo_architecture()
    metadata = ModelMetadata("duo", "1", architecture, ScoreScale(0, 1), Threshold(0.5, "a test"), "none")
    assert ModelMetadata.from_json(metadata.to_json()) == metadata
    alone = replace(metadata, architecture=lite_architecture())
    assert isinstance(ModelMetadata.from_json(alone.to_json()).architecture, Architecture)


def test_one_network_alone_is_not_fused():
    with pytest.raises(InputError, match="1 network"):
        FusedArchitecture((lite_architecture(),), image_size=256, map_size=128)
