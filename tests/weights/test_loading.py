"""Loading models: what fits is loaded, what does not is refused with the reason."""

from __future__ import annotations

import gc
import json
import os
import sys
from dataclasses import replace

import pytest
import torch
from moeclip_transforms.errors import InputError
from safetensors.torch import save_file
from sentences import facts, lacking

from moeclip_med.model.named_architectures import lite_architecture
from moeclip_med.model.network import MoEClip
from moeclip_med.model.prompts import Prompts
from moeclip_med.model.towers import build_tower
from moeclip_med.weights import ModelMetadata, Threshold, load_model
from moeclip_med.weights.efficientnet import SHA256, load_network, weights_path
from moeclip_med.weights.loading import ModelWarning
from moeclip_med.weights.metadata import uncalibrated_scale
from moeclip_med.weights.openclip import build_clip, clip_config
from moeclip_med.weights.store import read_adapters, read_metadata, save_model, write_metadata
from moeclip_med.weights.tensors import fingerprint


@pytest.fixture
def folder(tmp_path, tiny_model):
    state, metadata = tiny_model
    save_model(tmp_path / "model", state, metadata)
    return tmp_path / "model"


def test_a_saved_model_loads_and_scores(folder):
    loaded = load_model(folder)
    assert not loaded.network.training
    assert loaded.text.shape == (32, 2)
    torch.testing.assert_close(loaded.text.norm(dim=0), torch.ones(2))
    with torch.inference_mode():
        output = loaded.network(torch.zeros(1, 3, 64, 64), loaded.text, want_routing=True, want_image=True)
    assert output.maps.shape == (1, 64, 64)
    assert output.image_score.shape == (1,)
    assert [level.shape for level in output.routing] == [(1, 8, 8)] * 4


def test_every_learned_tensor_comes_back_as_saved(folder, tiny_model):
    state, _ = tiny_model
    loaded = load_model(folder).network.learned_state()
    assert set(loaded) == set(state)
    for name, tensor in state.items():
        torch.testing.assert_close(loaded[name], tensor, rtol=0, atol=0)


def test_prompts_change_the_text_and_the_identity(folder):
    scan, polyp = (load_model(folder, prompts=Prompts(name)) for name in ("scan", "polyp"))
    assert not torch.allclose(scan.text, polyp.text)
    assert scan.identity_hash != polyp.identity_hash
    assert polyp.metadata.prompts == Prompts("polyp")
    assert load_model(folder).identity_hash == scan.identity_hash


def test_the_network_of_a_text_model_is_let_go_until_it_is_asked_for(folder):
    gc.collect()
    before = {id(thing) for thing in gc.get_objects() if type(thing) is MoEClip}
    loaded = load_model(folder)
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is MoEClip and id(thing) not in before]
    network = loaded.network
    assert loaded.network is network
    copied = replace(loaded)
    del loaded, network
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is MoEClip and id(thing) not in before]
    assert copied.network.learned_state()


def test_text_embeddings_are_kept_by_content(folder, cache, monkeypatch):
    first = load_model(folder)
    assert len(list((cache / "text").glob("*.safetensors"))) == 1
    monkeypatch.setattr("moeclip_med.model.text.TextTower.forward", lambda *_: pytest.fail("encoded again"))
    torch.testing.assert_close(load_model(folder).text, first.text, rtol=0, atol=0)


def test_the_identity_changes_with_everything_that_changes_a_score(tiny_model):
    _, metadata = tiny_model
    scale = replace(metadata.score_scale, centre=1.0)
    mixing = replace(metadata.architecture.experts, mixing=0.2)
    changed = [
        replace(metadata, adapters_sha256="1"),
        replace(metadata, tower_sha256="1"),
        replace(metadata, score_scale=scale),
        replace(metadata, architecture=replace(metadata.architecture, experts=mixing)),
    ]
    assert len({item.identity() for item in (metadata, *changed)}) == 5
    assert replace(metadata, notes=("new",)).identity() == metadata.identity()


def change_adapters(folder, change) -> None:
    """Rewrite the adapters and record their new hash, as a faulty training would."""
    metadata = read_metadata(folder)
    state = read_adapters(folder, metadata)
    change(state)
    save_model(folder, state, metadata)


def fill_with_nan(state) -> None:
    state["experts.1.up"][0, 0, 0] = float("nan")


def as_whole_numbers(state) -> None:
    state["experts.1.up"] = state["experts.1.up"].view(torch.int32)


@pytest.mark.parametrize(
    ("change", "tokens"),
    [
        (lambda s: s.pop("experts.1.up"), ["missing", '"experts.1.up"', "; is this the right file"]),
        (lambda s: s.update(extra=torch.ones(1)), ["unknown", '"extra"', "; is this the right file"]),
        (fill_with_nan, ['"experts.1.up"', "NaN"]),
        (lambda s: s.update({"experts.0.router": torch.ones(4, 8)}), ['"experts.0.router"', "(4, 8)", "(4, 64)"]),
        (as_whole_numbers, ['"experts.1.up"', "torch.int32", "torch.float32"]),
    ],
    ids=["missing", "extra", "nan", "shape", "type"],
)
def test_adapters_that_do_not_fit_are_refused(folder, change, tokens):
    change_adapters(folder, change)
    with pytest.raises(InputError) as error:
        load_model(folder)
    assert not lacking(error.value, 'model "tiny"', *tokens)


def test_a_truncated_file_is_refused(folder):
    path = folder / "adapters.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"adapters\.safetensors: no complete .*; copy"):
        load_model(folder)


def test_an_altered_file_is_refused(folder):
    path = folder / "adapters.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    expected = read_metadata(folder).adapters_sha256
    with pytest.raises(InputError, match=rf"SHA-256 [0-9a-f]{{64}}, .*metadata\.json .*{expected}; .*copy"):
        load_model(folder)


def test_adapters_of_another_tower_are_refused(folder):
    metadata = read_metadata(folder)
    tower = replace(metadata.architecture.tower, name="ViT-B-16")
    write_metadata(folder, replace(metadata, architecture=replace(metadata.architecture, tower=tower)))
    with pytest.raises(InputError, match=r'"Tiny-8".*metadata\.json.*"ViT-B-16"'):
        load_model(folder)


def test_a_tower_with_other_weights_is_refused(folder):
    metadata = read_metadata(folder)
    write_metadata(folder, replace(metadata, tower_sha256="0" * 64))
    message = (
        rf'model "tiny": its adapters were trained on a tower with SHA-256 {"0" * 64}, the one found has [0-9a-f]{{64}}'
    )
    with pytest.raises(InputError, match=message):
        load_model(folder)
    clip = build_clip(clip_config("Tiny-8"), "gelu")
    save_file(clip.state_dict(), other := folder / "other.safetensors")
    write_metadata(folder, replace(metadata, tower_sha256=fingerprint(clip.state_dict())))
    assert load_model(folder, tower_weights=other).metadata.tower_sha256 == fingerprint(clip.state_dict())


def test_weights_in_half_precision_have_their_own_values_fingerprinted_as_float32():
    state = {"a": torch.tensor([1.0, 0.5])}
    assert fingerprint(state) == fingerprint({"a": state["a"].half()})
    assert fingerprint(state) != fingerprint({"a": torch.tensor([1.0, 0.25])})
    assert fingerprint(state) != fingerprint({"b": state["a"]})


def test_a_tower_from_a_pt_file_is_read_without_running_code(folder, tmp_path):
    path = tmp_path / "tiny.pt"
    torch.save({"state_dict": build_clip(clip_config("Tiny-8"), "gelu").state_dict()}, path)
    assert load_model(folder, tower_weights=path).text.shape == (32, 2)
    torch.save(folder, path)  # a path object, not a tensor
    with pytest.raises(InputError, match="Python objects .*never loaded"):
        load_model(folder, tower_weights=path)
    path.write_bytes(b"\x80\x02")
    with pytest.raises(InputError, match=r"tiny\.pt: no complete PyTorch file"):
        load_model(folder, tower_weights=path)


def test_named_models_without_adapters_say_how_to_get_them():
    with pytest.raises(InputError) as error:
        load_model("vit-l-14-336")
    assert facts(error.value) == facts(
        'model "vit-l-14-336" has no adapters on this machine, and an untrained model scores nothing; make them with '
        '"moeclip-med train --recipe vit-l-14-336" and name the folder it writes, or bring them with '
        '"moeclip-med weights import CHECKPOINT --name vit-l-14-336".'
    )


def test_an_unknown_name_lists_the_names():
    with pytest.raises(InputError, match='"brain" is neither a name nor a folder; .*lite, .*vit-l-14-336'):
        load_model("brain")


def test_a_model_described_in_the_format_before_is_the_same_model(folder):
    before = load_model(folder).metadata
    path = folder / "metadata.json"
    text = path.read_text(encoding="utf-8").replace('"format": 2', '"format": 1')
    path.write_text(text.replace('"crop"', '"framing"').replace('"initialization"', '"start_values"'), encoding="utf-8")
    assert '"framing"' in path.read_text(encoding="utf-8")
    assert load_model(folder).metadata == before


def test_a_folder_without_metadata_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no metadata\.json in it; .*adapters\.safetensors"):
        load_model(tmp_path)


def test_unknown_and_later_metadata_are_refused(folder):
    path = folder / "metadata.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(data | {"colour": 1}), encoding="utf-8")
    with pytest.raises(InputError, match=r"metadata\.json: .*'colour'.* name, version"):
        load_model(folder)
    path.write_text(json.dumps(data | {"format": 3}), encoding="utf-8")
    with pytest.raises(InputError, match="format 3.*1 and 2; update moeclip-med"):
        load_model(folder)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"metadata\.json: not JSON"):
        load_model(folder)


def test_plain_clip_scores_under_its_own_name(tiny_weights):
    loaded = load_model(f"clip-zero-shot:Tiny-8:{tiny_weights}", prompts=Prompts("brain"))
    assert loaded.metadata.name.startswith("clip-zero-shot:Tiny-8")
    (note,) = loaded.notes
    assert not lacking(note, "CLIP", "nothing was trained", "baseline")
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        output = loaded.network(images, loaded.text, want_image=True)
        alone = loaded.network(images[1:], loaded.text)
    assert output.maps.shape == (2, 64, 64)
    assert output.image_score.shape == (2,)
    torch.testing.assert_close(output.maps[1:], alone.maps, atol=1e-5, rtol=0)
    assert output.maps.std() > 0


def test_plain_clip_takes_the_activation_of_its_weights(tiny_weights):
    plain = load_model(f"clip-zero-shot:Tiny-8:{tiny_weights}")
    quick = load_model(f"clip-zero-shot:Tiny-8-quickgelu:{tiny_weights}")
    assert plain.metadata.architecture.tower.activation == "gelu"
    assert quick.metadata.architecture.tower.activation == "quick_gelu"
    assert type(quick.network.blocks[0].mlp.gelu).__name__ == "QuickGELU"
    assert plain.identity_hash != quick.identity_hash


def test_plain_clip_knows_openai_weights_need_quick_gelu():
    from moeclip_med.weights.loading import zero_shot_architecture

    architecture = zero_shot_architecture("clip-zero-shot:ViT-B-16")
    assert (architecture.tower.pretrained, architecture.tower.activation) == ("openai", "quick_gelu")
    assert architecture.image_size == 224


def test_learned_prompts_ignore_typed_ones_and_say_so(tmp_path):
    architecture = replace(lite_architecture(), image_size=64)
    torch.manual_seed(0)
    network = MoEClip(architecture, build_tower(load_network(), architecture))
    scale = uncalibrated_scale(architecture)
    metadata = ModelMetadata("small", "1", architecture, scale, Threshold(0.5, "test"), "Apache-2.0")
    save_model(tmp_path / "small", network.learned_state(), replace(metadata, tower_sha256=SHA256))
    message = 'model "small" has learned prompts: the typed prompts are ignored.'
    with pytest.warns(ModelWarning, match=message):
        loaded = load_model(tmp_path / "small", prompts=Prompts("polyp"))
    assert loaded.notes == (message,)
    assert loaded.text is None
    quiet = load_model(tmp_path / "small")
    assert quiet.notes == ()
    assert quiet.identity_hash == loaded.identity_hash


def test_a_cache_that_cannot_be_written_is_a_warning(folder, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("moeclip_med.weights.loading.written_whole", refuse)
    with pytest.warns(ModelWarning, match=r"not be kept in .*text \(Permission denied\); .*computed"):
        assert load_model(folder).text.shape == (32, 2)


def test_a_damaged_cache_entry_is_computed_again(folder, cache):
    text = load_model(folder).text
    (path,) = (cache / "text").glob("*.safetensors")
    path.write_bytes(b"damaged")
    with pytest.warns(ModelWarning, match="kept at .* damaged; .*computed again"):
        torch.testing.assert_close(load_model(folder).text, text)
    torch.testing.assert_close(load_model(folder).text, text)


def test_a_file_for_the_tower_is_looked_at_when_the_model_is_loaded(tmp_path):
    """An engine that has its compiled model never builds the network, which would refuse the file."""
    (tmp_path / "tower.pt").write_bytes(b"another tower")
    with pytest.raises(InputError, match="SHA-256") as refused:
        load_model("lite", tower_weights=tmp_path / "tower.pt")
    assert not lacking(str(refused.value), "tower.pt", "; give", "none")
    with pytest.raises(FileNotFoundError):
        load_model("lite", tower_weights=tmp_path / "missing.pt")
    assert load_model("lite", tower_weights=weights_path()).identity_hash == load_model("lite").identity_hash


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="a file that its owner may not read")
def test_weights_that_may_not_be_read_are_not_called_missing(folder):
    (folder / "adapters.safetensors").chmod(0)
    with pytest.raises(InputError, match="cannot be read"):
        load_model(folder)


def test_shown_in_a_shell_a_model_is_one_line():
    model = load_model("lite")
    shown = repr(model)
    assert "lite" in shown
    assert model.metadata.version in shown
    assert len(shown) < 100
