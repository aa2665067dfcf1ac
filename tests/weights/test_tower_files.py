"""The files of towers: where they come from, and what is said when they are not there."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import pytest
import torch
from moeclip_transforms.errors import InputError
from sentences import facts

from moeclip_med.model.architecture import TowerSpec
from moeclip_med.model.named_architectures import lite_architecture
from moeclip_med.weights import efficientnet, tower_weights
from moeclip_med.weights.openclip import build_clip, check_activation, clip_config

OPENAI = TowerSpec("openclip", "ViT-L-14-336", "openai", "gelu")
OPENAI_SHA256 = "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02"


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("requests.get", refuse)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", refuse)


@pytest.mark.usefixtures("offline")
def test_offline_the_error_says_which_file_to_put_where(cache):
    with pytest.raises(InputError) as error:
        tower_weights.find_weights(OPENAI)
    assert facts(error.value) == facts(
        'the weights "openai" of "ViT-L-14-336" are not on this machine and could not be downloaded '
        "(no route to host); fetch https://openaipublic.azureedge.net/clip/models/"
        f"{OPENAI_SHA256}/ViT-L-14-336px.pt elsewhere and put the file with SHA-256 {OPENAI_SHA256} "
        f"at {cache / 'towers' / 'ViT-L-14-336px.pt'}."
    )
    assert not list(cache.rglob("*.part"))


@pytest.mark.usefixtures("offline")
def test_offline_weights_of_the_hub_name_their_repository(cache):
    spec = TowerSpec("openclip", "MobileCLIP-S1", "datacompdr", "native")
    with pytest.raises(InputError) as error:
        tower_weights.find_weights(spec)
    assert "(open_clip_model.safetensors) elsewhere and put the file at " in str(error.value)
    assert str(error.value).endswith(f"{cache / 'towers' / 'MobileCLIP-S1.datacompdr.safetensors'}.")


def test_weights_are_fetched_once_by_the_hash_that_is_published(cache, served, monkeypatch):
    served.files["/tower.safetensors"] = b"weights"
    digest = hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setattr("huggingface_hub.hf_hub_url", lambda *names: served.url("/tower.safetensors"))
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", lambda url: SimpleNamespace(etag=digest))
    spec = TowerSpec("openclip", "MobileCLIP-S1", "datacompdr", "native")
    place = cache / "towers" / "MobileCLIP-S1.datacompdr.safetensors"
    assert [tower_weights.find_weights(spec) for _ in range(2)] == [place, place]
    assert (place.read_bytes(), served.asked) == (b"weights", ["/tower.safetensors"])


def test_weights_without_a_published_hash_are_not_fetched(cache, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", lambda url: SimpleNamespace(etag="3f0a"))
    with pytest.raises(InputError, match="no SHA-256 is published"):
        tower_weights.find_weights(TowerSpec("openclip", "MobileCLIP-S1", "datacompdr", "native"))
    monkeypatch.setattr("open_clip.get_pretrained_cfg", lambda *_: {"url": "https://example.org/some.pt"})
    with pytest.raises(InputError, match=r"no hash .*https://example\.org/some\.pt"):
        tower_weights.find_weights(OPENAI)


def test_a_wrong_file_in_the_right_place_is_refused(cache):
    place = cache / "towers" / "ViT-L-14-336px.pt"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"something else")
    with pytest.raises(InputError, match=rf"expected {OPENAI_SHA256}; delete it and download it again"):
        tower_weights.find_weights(OPENAI)


def test_an_unknown_tag_lists_the_known_ones():
    with pytest.raises(InputError, match='no weights "laion" for "ViT-L-14-336".*openai; or give'):
        tower_weights.find_weights(TowerSpec("openclip", "ViT-L-14-336", "laion", "gelu"))


def test_a_named_file_that_does_not_exist_is_said(tmp_path):
    with pytest.raises(InputError, match=r'no\.pt: no such file; name the weights of "ViT-B-16"'):
        tower_weights.find_weights(TowerSpec("openclip", "ViT-B-16", str(tmp_path / "no.pt"), "gelu"))


def test_unknown_models_suggest_near_names():
    with pytest.raises(InputError, match='"ViT-L-14-335" is not known .*mean ViT-L-14-336'):
        clip_config("ViT-L-14-335")


def test_the_activation_is_not_taken_from_the_name():
    with pytest.raises(InputError, match='use "ViT-L-14-336" with activation quick_gelu'):
        clip_config("ViT-L-14-336-quickgelu")


@pytest.mark.usefixtures("tiny_is_known")
def test_the_activation_that_was_built_is_checked():
    config = clip_config("Tiny-8")
    for activation, built in (("gelu", "GELU"), ("quick_gelu", "QuickGELU")):
        clip = build_clip(config, activation)
        assert type(clip.visual.transformer.resblocks[0].mlp.gelu).__name__ == built
        assert type(clip.transformer.resblocks[0].mlp.gelu).__name__ == built
    with pytest.raises(InputError, match="built with QuickGELU, but .*metadata.* GELU"):
        check_activation(clip, "gelu")
    with pytest.raises(InputError, match="activation is native, but .*gelu or quick_gelu"):
        build_clip(config, "native")


def test_light_building_gives_the_same_network_as_full_building(tiny_weights):
    config = clip_config("Tiny-8")
    state = tower_weights.read_clip_state(tiny_weights)
    light, full = build_clip(config, "gelu", state), build_clip(config, "gelu")
    full.load_state_dict(state)
    images, tokens = torch.randn(1, 3, 64, 64), torch.tensor([[49406, 320, 1125, 49407] + [0] * 73])
    with torch.no_grad():
        torch.testing.assert_close(light.encode_image(images), full.eval().encode_image(images))
        torch.testing.assert_close(light.encode_text(tokens), full.encode_text(tokens))


@pytest.mark.filterwarnings("ignore:'torch.load' received a zip file")
def test_torch_script_is_opened_only_for_files_that_openai_published(tmp_path, monkeypatch):
    class Clip(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(2, dtype=torch.float16))
            self.register_buffer("context_length", torch.tensor(77))

        def forward(self, x):
            return x * self.weight

    path = tmp_path / "ViT-L-14-336px.pt"
    torch.jit.script(Clip()).save(path)
    with pytest.raises(InputError, match=r"ViT-L-14-336px\.pt: no complete PyTorch file"):
        tower_weights.read_clip_state(path)
    monkeypatch.setattr(tower_weights, "is_openai_file", lambda _: True)
    assert {name: tensor.tolist() for name, tensor in tower_weights.read_clip_state(path).items()} == {
        "weight": [1.0, 1.0]
    }


def test_the_lite_tower_has_the_published_weights():
    opened = tower_weights.open_network(lite_architecture())
    assert opened.sha256 == efficientnet.SHA256
    assert opened.terms.startswith("Apache License 2.0")
    stored = torch.load(efficientnet.weights_path(), weights_only=True)
    torch.testing.assert_close(opened.network.conv_stem.weight, stored["_conv_stem.weight"])
    torch.testing.assert_close(opened.network.classifier.bias, stored["_fc.bias"])


def test_another_file_is_no_lite_tower(tmp_path):
    path = tmp_path / "tower.pth"
    path.write_bytes(b"x")
    with pytest.raises(InputError, match=rf"tower\.pth: SHA-256 [0-9a-f]{{64}}, expected {efficientnet.SHA256}; give"):
        efficientnet.load_network(path)
