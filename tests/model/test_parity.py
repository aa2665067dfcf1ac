"""Equality with the released network: same weights, same images, same numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from released_network import build_released
from torch.nn.functional import cross_entropy, normalize

from moeclip_med.model.architecture import BlurSpec
from moeclip_med.model.losses import etf_loss, map_loss, maps_loss, output_gram
from moeclip_med.model.similarity import ABNORMAL, AnomalyMap, anomaly_of_tokens
from moeclip_med.model.towers import resize_positional_embedding

PARITY = Path(__file__).parents[1] / "data" / "parity"
BLURS = {"Medical": BlurSpec(9, 1.5), "Industrial": BlurSpec(7, 1.0)}


def seeded_image(seed: int, size: int) -> torch.Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def check_image(released, reference, size: int) -> None:
    """Tokens, image embedding and maps of one image."""
    network, text = released.network, released.prompts("scan")
    images = seeded_image(7, size)
    projected = []
    hooks = [
        projection.register_forward_hook(lambda *given: projected.append(normalize(given[-1], dim=-1)))
        for projection in network.projections
    ]
    embedding = network.forward_training(network.first_tokens(images), text).image_embedding
    for hook in hooks:
        hook.remove()
    assert len(projected) == 12
    for index, tokens in enumerate(projected):
        flat = tokens.flatten(1, 2)[0]
        expected = reference[f"seg{size}_{index}"]
        np.testing.assert_allclose(flat[:: max(1, len(flat) // 27), ::8], expected, atol=1e-4, rtol=0)
    levels = [
        sum(anomaly_of_tokens(item, text, 100.0) for item in projected[start : start + 3]) for start in range(0, 12, 3)
    ]
    np.testing.assert_allclose(embedding, reference[f"det{size}"], atol=1e-4, rtol=0)
    score = (embedding @ text[:, ABNORMAL] + 1) / 2
    np.testing.assert_allclose(score, reference[f"detscore{size}"], atol=1e-4, rtol=0)
    for kind, blur in BLURS.items():
        fuse = AnomalyMap(network.tower.grids[0], size, blur, corners_aligned=True)
        maps = fuse(levels)[0]
        np.testing.assert_allclose(maps[::7, ::7], reference[f"map{size}_{kind}"], atol=1e-4, rtol=0)
        assert maps.max() == pytest.approx(float(reference[f"mapmax{size}_{kind}"]), abs=1e-4)


@torch.no_grad()
@pytest.mark.slow
def test_forward_gives_the_released_map_and_image_score(released, reference):
    output = released.network(seeded_image(7, 126), released.prompts("scan"), want_image=True)
    np.testing.assert_allclose(output.maps[0, ::7, ::7], reference["map126_Medical"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(output.image_score, reference["detscore126"], atol=1e-4, rtol=0)


def test_tokens_embedding_and_maps_equal_the_released_ones_at_126(released, reference):
    check_image(released, reference, 126)


@pytest.mark.slow
def test_tokens_embedding_and_maps_equal_the_released_ones_at_518(shared):
    with np.load(shared / "parity" / "reference.npz") as file:
        check_image(build_released(518), dict(file), 518)


@pytest.mark.parametrize(("name", "key"), [("scan", "text_brain"), ("candle", "text_candle")])
def test_prompt_embeddings_equal_the_released_ones(released, reference, name, key):
    with torch.no_grad():
        np.testing.assert_allclose(released.prompts(name), reference[key], atol=1e-4, rtol=0)


def test_losses_equal_the_released_ones(reference):
    generator = torch.Generator().manual_seed(11)
    outputs = torch.randn(50, 4, 64, generator=generator)
    assert etf_loss(output_gram(outputs)).item() == pytest.approx(float(reference["etf"]), abs=1e-5)
    logits = torch.randn(2, 2, 32, 32, generator=generator)
    mask = (torch.rand(2, 1, 32, 32, generator=generator) > 0.8).float()
    # The reference counts Dice twice: once for normal and once for abnormal.
    assert map_loss(logits, mask).item() == pytest.approx(float(reference["segloss"]), abs=1e-5)


@pytest.mark.slow
def test_a_training_step_has_the_released_losses_and_gradients(released, reference):
    network = released.network
    network.zero_grad()
    images = torch.cat([seeded_image(7, 126), seeded_image(8, 126)])
    mask = (torch.rand(2, 1, 126, 126, generator=torch.Generator().manual_seed(12)) > 0.9).float()
    names = ("candle", "dual ultrasonic distance sensor pcb module")
    text = torch.stack([released.prompts(name) for name in names])
    output = network.forward_training(network.first_tokens(images), text)
    image_loss = cross_entropy(output.image_logits, torch.tensor([0, 1]))
    loss = image_loss + maps_loss(output.logits, mask)
    assert image_loss.item() == pytest.approx(float(reference["train_ce"]), rel=1e-4)
    assert loss.item() == pytest.approx(float(reference["train_loss"]), rel=1e-4)
    loss.backward()
    expected = json.loads((PARITY / "gradient-norms.json").read_text(encoding="utf-8"))
    found = released_gradient_norms(network)
    assert set(found) == set(expected)
    for name, norm in expected.items():
        assert found[name] == pytest.approx(norm, rel=1e-3), name
    network.zero_grad()


def released_gradient_norms(network) -> dict[str, float]:
    head = network.image_head
    norms = {
        "text_adapter.0.fc.0.weight": network.text_adapter.linear.weight.grad.norm(),
        "image_adapter.det_proj.ln.weight": head.norm.weight.grad.norm(),
        "image_adapter.det_proj.ln.bias": head.norm.bias.grad.norm(),
        "image_adapter.det_proj.adapter.0.weight": head.depthwise.weight.grad.norm(),
        "image_adapter.det_proj.adapter.2.weight": head.pointwise.weight.grad.norm(),
    }
    for level, (mixture, projection) in enumerate(zip(network.experts, network.projections, strict=True)):
        norms[f"image_adapter.seg_proj.{level}.fc.weight"] = projection[0].weight.grad.norm()
        norms[f"image_adapter.moe_adapters.{level}.gate.weight"] = mixture.router.grad.norm()
        for expert, gradient in enumerate(mixture.up.grad):
            norms[f"image_adapter.moe_adapters.{level}.experts.{expert}.lora_B.weight"] = gradient.norm()
    return {name: norm.item() for name, norm in norms.items()}


def test_the_positional_embedding_is_resized_as_released():
    embedding = torch.randn(1, 577, 1024, generator=torch.Generator().manual_seed(5))[0]
    with np.load(PARITY / "positional-embedding.npz") as file:
        (expected,) = dict(file).values()
    resized = resize_positional_embedding(embedding, 37)
    assert resized.shape == (1370, 1024)
    np.testing.assert_allclose(resized[::50, ::16], expected, atol=1e-4, rtol=0)
