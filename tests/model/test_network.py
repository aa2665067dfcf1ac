"""The network as a whole: towers of every kind, training, independence of batch and threads, tracing."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from moeclip_transforms.errors import InputError
from sentences import facts
from torch.nn.functional import cross_entropy

from moeclip_med.model.architecture import BlurSpec, ExpertsSpec, ProjectionSpec, TowerSpec
from moeclip_med.model.losses import maps_loss
from moeclip_med.model.named_architectures import lite_architecture, paper_architecture
from moeclip_med.model.network import MoEClip
from moeclip_med.model.towers import ConvolutionalTower, TransformerTower, build_tower
from moeclip_med.weights.efficientnet import load_network
from moeclip_med.weights.openclip import build_clip, clip_config


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_lite(**changes):
    torch.manual_seed(0)
    architecture = replace(lite_architecture(), **changes)
    return MoEClip(architecture, build_tower(load_network(), architecture)).eval()


@pytest.fixture(scope="module")
def lite():
    return make_lite()


class Plain(torch.nn.Module):
    """The network with a tuple for its output, as tracers want it."""

    def __init__(self, network, text=None):
        super().__init__()
        self.network, self.text = network, text

    def forward(self, images):
        output = self.network(images, self.text, want_image=True, want_routing=True)
        return (output.maps, output.image_score, *output.routing)


@torch.no_grad()
def test_lite_gives_map_score_and_routing(lite):
    output = lite(noise(2, 3, 256, 256), want_image=True, want_routing=True)
    assert output.maps.shape == (2, 128, 128)
    assert output.image_score.shape == (2,)
    assert [tuple(level.shape) for level in output.routing] == [(2, 64, 64), (2, 32, 32), (2, 16, 16), (2, 8, 8)]
    assert all(level.dtype == torch.uint8 and level.max() < 4 for level in output.routing)
    assert lite.tower.widths == (24, 48, 120, 352)
    assert lite.tower.grids == (64, 32, 16, 8)


@torch.no_grad()
def test_the_lite_tower_is_timms_network_cut_into_stages(lite):
    images = noise(1, 3, 256, 256)
    whole = load_network().eval()
    state = whole.bn1(whole.conv_stem(images))
    for index, block in enumerate(whole.blocks[:7]):
        state = block(state)
        if index == 1:
            torch.testing.assert_close(lite.first_tokens(images), state.permute(0, 2, 3, 1), atol=1e-4, rtol=1e-4)
    tokens = images
    for stage in lite.tower.stages:
        tokens = stage(tokens)
    torch.testing.assert_close(tokens, state.permute(0, 2, 3, 1), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_transformer_is_open_clips_cut_into_stages(tiny_config, tiny_architecture):
    clip = build_clip(tiny_config, "gelu")
    images = noise(2, 3, 64, 64)
    expected = clip.visual.forward_intermediates(images, indices=[3], intermediates_only=True, output_fmt="NLC")
    tower = build_tower(clip.visual, tiny_architecture)
    tokens = images
    for stage in tower.stages:
        tokens = stage(tokens)
    patches = tower.patches(3, tokens)
    torch.testing.assert_close(patches.flatten(1, 2), expected["image_intermediates"][0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["lite", "tiny"])
def test_a_batch_equals_its_images_one_by_one(kind, lite, make_tiny, tiny_text):
    network, size, text = (lite, 256, None) if kind == "lite" else (make_tiny(), 64, tiny_text)
    images = noise(3, 3, size, size)
    together = network(images, text, want_image=True)
    for index in range(3):
        alone = network(images[index : index + 1], text, want_image=True)
        scale = together.maps.abs().max().item()
        torch.testing.assert_close(together.maps[index : index + 1], alone.maps, atol=1e-5 * scale, rtol=0)
        torch.testing.assert_close(together.image_score[index : index + 1], alone.image_score, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["lite", "tiny"])
def test_the_result_does_not_depend_on_the_number_of_threads(kind, lite, make_tiny, tiny_text):
    network, size, text = (lite, 256, None) if kind == "lite" else (make_tiny(), 64, tiny_text)
    images = noise(2, 3, size, size)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = network(images, text).maps
    finally:
        torch.set_num_threads(before)
    many = network(images, text).maps
    torch.testing.assert_close(one, many, atol=1e-5 * one.abs().max().item(), rtol=0)


def train(network, images, text=None):
    twins = network.mirrored(images)
    twin_tokens = None if twins is None else network.first_tokens(twins)
    return network.forward_training(network.first_tokens(images), text, network.intensity(images, twins), twin_tokens)


def losses(network, images, mask, text):
    output = train(network, images, text)
    aligned = network.architecture.corners_aligned
    main = maps_loss(output.logits, mask, corners_aligned=aligned)
    image = cross_entropy(output.image_logits, torch.tensor([0, 1]))
    return output, main + image + 0.01 * (output.balance() + output.etf())


@pytest.mark.parametrize("kind", ["lite", "tiny"])
@pytest.mark.slow
def test_every_learned_tensor_and_every_expert_learns_from_the_first_steps(kind, make_tiny):
    torch.manual_seed(0)
    if kind == "lite":
        network, size, features = make_lite(image_size=128), 128, None
    else:
        network, size = make_tiny(), 64
        features = noise(4, 32), noise(4, 32, seed=1)
    network.train()
    images, mask = noise(2, 3, size, size), (noise(2, 1, size, size, seed=1) > 1).float()
    learned = {name: tensor for name, tensor in network.named_parameters() if tensor.requires_grad}
    assert not any(name.startswith("tower.") for name in learned)
    seen = {name: torch.zeros(len(tensor), dtype=torch.bool) for name, tensor in learned.items()}
    optimiser = torch.optim.Adam(learned.values(), lr=1e-3)
    for _ in range(3):
        optimiser.zero_grad()
        text = None if features is None else network.text_adapter(*features)
        losses(network, images, mask, text)[1].backward()
        for name, tensor in learned.items():
            assert torch.isfinite(tensor.grad).all(), name
            assert tensor.grad.norm() < 1e4, name
            seen[name] |= tensor.grad.flatten(1).ne(0).any(dim=1) if tensor.dim() > 1 else tensor.grad.ne(0)
        optimiser.step()
    for name, rows in seen.items():
        if name.endswith((".up", ".router")):
            assert rows.all(), f"{name}: an expert got no gradient"
        assert rows.any(), name


@pytest.mark.parametrize("loss", ["balance", "etf"])
def test_the_experts_own_losses_reach_the_experts(loss, make_tiny, tiny_text):
    network = make_tiny().train()
    output = network.forward_training(network.first_tokens(noise(2, 3, 64, 64)), tiny_text)
    value = getattr(output, loss)()
    assert value > 0
    value.backward()
    part = "router" if loss == "balance" else "up"
    for mixture in network.experts:
        assert getattr(mixture, part).grad.norm() > 0


def test_zero_initialization_as_released_leave_experts_without_gradient(make_tiny, tiny_text):
    """Why the initial values are not zero: with a zero router the same experts win every token."""
    network = make_tiny(experts=ExpertsSpec(rank=4, router_start=0.0, expert_start=0.02)).train()
    output = network.forward_training(network.first_tokens(noise(2, 3, 64, 64)), tiny_text)
    maps_loss(output.logits, torch.zeros(2, 1, 64, 64)).backward()
    idle = network.experts[0].up.grad.flatten(1).norm(dim=1) == 0
    assert idle.sum() == 2


def test_the_frozen_tower_never_changes_in_training(lite):
    lite.train()
    assert not any(module.training for module in lite.tower.modules())
    assert not any(tensor.requires_grad for tensor in lite.tower.parameters())
    lite.eval()


@pytest.mark.parametrize("kind", ["lite", "tiny"])
def test_training_and_scoring_agree_on_the_map(kind, make_tiny, tiny_text):
    network, text = (make_lite(image_size=64), None) if kind == "lite" else (make_tiny(), tiny_text)
    network.eval()
    images = noise(2, 3, 64, 64)
    with torch.no_grad():
        maps = network(images, text).maps
        logits = train(network, images, text).logits
        levels = [((level[:, :, 1] - level[:, :, 0] + 1) / 2).sum(dim=1) for level in logits]
        torch.testing.assert_close(network.anomaly_map(levels), maps, atol=1e-3, rtol=1e-4)


def test_the_state_comes_back_as_it_was(make_tiny, tiny_text):
    one, other = make_tiny(seed=1), make_tiny(seed=2)
    images = noise(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(one(images, tiny_text).maps, other(images, tiny_text).maps)
        other.load_state_dict(one.state_dict())
        torch.testing.assert_close(one(images, tiny_text).maps, other(images, tiny_text).maps, rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["lite", "tiny"])
@pytest.mark.slow
def test_the_network_can_be_traced_and_exported(kind, make_tiny, tiny_text):
    network, size, text = (make_lite(image_size=64), 64, None) if kind == "lite" else (make_tiny(), 64, tiny_text)
    plain, images = Plain(network, text).eval(), noise(2, 3, size, size)
    expected = plain(images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(plain, noise(2, 3, size, size, seed=9), check_trace=False)
        exported = torch.export.export(plain, (images,)).module()
    for result in (traced(images), exported(images)):
        torch.testing.assert_close(result[0], expected[0], atol=1e-4, rtol=1e-4)
        assert all(torch.equal(*pair) for pair in zip(result[2:], expected[2:], strict=True))


TOWERS = [
    ("ViT-B-16", "gelu", 768, 512, 12, 64, None),
    ("ViT-L-14", "quick_gelu", 1024, 768, 24, 70, None),
    ("MobileCLIP-S1", "native", None, 512, None, 128, (2, 3, 4)),
    ("convnext_tiny", "native", None, 1024, None, 128, (2, 3, 4)),
]


@torch.no_grad()
@pytest.mark.parametrize(("name", "activation", "width", "out", "depth", "size", "levels"), TOWERS)
def test_towers_of_every_kind_bring_their_own_sizes(name, activation, width, out, depth, size, levels):
    config = clip_config(name)
    config["text_cfg"] = {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1}
    base = paper_architecture(name, width=out, depth=depth or 4, image_size=size)
    architecture = replace(
        base,
        tower=TowerSpec("openclip", name, "none", activation),
        levels=levels or base.levels,
        blur=BlurSpec(3, 1.0),
    )
    tower = build_tower(build_clip(config, activation).visual, architecture)
    assert isinstance(tower, TransformerTower if width else ConvolutionalTower)
    if width:
        assert tower.widths == (width,) * 4
    network = MoEClip(architecture, tower).eval()
    text = torch.nn.functional.normalize(noise(out, 2), dim=0)
    output = network(noise(1, 3, size, size), text, want_image=True)
    assert output.maps.shape == (1, size, size)
    assert torch.isfinite(output.maps).all()
    assert torch.isfinite(output.image_score).all()


def test_images_of_another_size_are_refused(lite):
    with pytest.raises(InputError) as error:
        lite(noise(1, 3, 224, 224))
    assert facts(error.value) == facts(
        "images of 3 × 224 × 224 (channels × rows × columns), but the model takes 3 × 256 × 256; "
        "resize them or build the model for that image size."
    )


def test_text_is_asked_for(make_tiny):
    with pytest.raises(InputError, match="text, but was given no prompt embeddings"):
        make_tiny()(noise(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 65}, 'image size 65 is no multiple of the 8-pixel patches of "ViT-L-14-336"; use 64.'),
        ({"levels": (2, 5)}, 'architecture.levels: block 5 of "ViT-L-14-336", which has 4 blocks.'),
    ],
)
def test_architectures_that_do_not_fit_the_tower_are_refused(make_tiny, changes, message):
    with pytest.raises(InputError) as error:
        make_tiny(**changes)
    assert facts(error.value) == facts(message)


def test_a_tower_without_stages_is_refused(tiny_architecture):
    with pytest.raises(InputError, match=r"\(Linear\) has no stages .*; supported are"):
        build_tower(torch.nn.Linear(1, 1), tiny_architecture)


def test_a_lite_tower_of_an_odd_size_is_refused():
    architecture = replace(lite_architecture(), image_size=250)
    with pytest.raises(InputError, match='image size 250 .*stride 32 of "tf_efficientnet_lite2"'):
        build_tower(load_network(), architecture)


def test_the_projection_may_end_with_an_activation(make_tiny, tiny_text):
    network = make_tiny(projection=ProjectionSpec(width=32, ends_with_activation=True))
    assert [type(layer).__name__ for layer in network.projections[0]] == ["Linear", "LeakyReLU"]
    with torch.no_grad():
        assert torch.isfinite(network(noise(1, 3, 64, 64), tiny_text).maps).all()
