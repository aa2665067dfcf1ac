"""Vision transformers of timm as towers: cut into stages they compute what timm computes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from moeclip_transforms.errors import InputError

from moeclip_med.model.architecture import ExpertsSpec
from moeclip_med.model.named_architectures import dino_architecture
from moeclip_med.model.network import MoEClip
from moeclip_med.model.towers import build_tower

SMALL = {"embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 0}
KINDS = {
    "learned positions, layer scale": ("vit_small_patch14_dinov2", {}),
    "registers": ("vit_small_patch14_reg4_dinov2", {}),
    "rotary positions": ("vit_small_patch16_dinov3", {}),
    "rotary positions of each depth": ("vit_small_patch16_rope_mixed_224", {}),
    "no class token": ("vit_base_patch16_siglip_256", {"global_pool": ""}),
    "no last norm": ("vit_base_patch16_radio_v3", {}),
}


def small(name, extra):
    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False, **SMALL, **extra).eval()


def architecture_for(network, grid=6):
    base = dino_architecture("small", "none", depth=4, patch=network.patch_embed.patch_size[0], grid=grid)
    return replace(base, experts=ExpertsSpec(rank=4), map_size=32)


@pytest.mark.parametrize("kind", KINDS)
def test_the_stages_give_what_timm_gives(kind):
    name, extra = KINDS[kind]
    if not timm.is_model(name):
        pytest.skip(f"timm {timm.__version__} has no {name}")
    network, same = small(name, extra), small(name, extra)
    architecture = architecture_for(network)
    images = torch.randn(2, 3, architecture.image_size, architecture.image_size)
    same.set_input_size(img_size=(architecture.image_size,) * 2)
    tower = build_tower(network, architecture)
    with torch.no_grad():
        wanted = same.forward_features(images)
        tokens = images
        for stage in tower.stages:
            tokens = stage(tokens)
        if kind != "no last norm":
            tokens = tower.normalise(tokens)
    torch.testing.assert_close(tokens, wanted)
    assert tower.patches(3, tokens).shape == (2, 6, 6, 48)
    torch.testing.assert_close(tower.patches(3, tokens).flatten(1, 2), wanted[:, same.num_prefix_tokens :])


def test_experts_change_what_flows_on():
    network = small("vit_small_patch14_dinov2", {})
    architecture = architecture_for(network)
    tower = build_tower(network, architecture)
    moe = MoEClip(architecture, tower).eval()
    images = torch.rand(1, 3, architecture.image_size, architecture.image_size)
    with torch.no_grad():
        before = moe(images).maps
        moe.experts[0].up.mul_(-1)  # only the first level's experts: later levels see it through the blocks
        after = moe(images).maps
    assert before.shape == (1, 32, 32)
    assert not torch.allclose(before, after)


def test_the_tower_is_frozen_and_the_experts_are_not():
    network = small("vit_small_patch14_reg4_dinov2", {})
    architecture = architecture_for(network)
    moe = MoEClip(architecture, build_tower(network, architecture)).train()
    (output,) = moe.forward_images(torch.rand(2, 3, architecture.image_size, architecture.image_size))
    torch.stack([level.square().mean() for level in output.logits]).sum().backward()
    assert all(parameter.grad is None for parameter in moe.tower.parameters())
    assert all(mixture.up.grad.abs().sum() > 0 for mixture in moe.experts)


def test_an_image_size_that_is_no_multiple_of_the_patch_is_refused():
    network = small("vit_small_patch14_dinov2", {})
    with pytest.raises(InputError, match=r"image size 90 .* 14-pixel patches .* use 84"):
        build_tower(network, replace(architecture_for(network), image_size=90))
