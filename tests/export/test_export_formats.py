"""Exports of the shipped model give PyTorch's maps, and a bundle scores an image by itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from moeclip_transforms.errors import InputError
from PIL import Image
from torch import nn

from moeclip_med.export.formats import ExportFormat, export_model
from moeclip_med.export.network import LARGEST_DIFFERENCE, ExportedNetwork, check_equal, probe_images
from moeclip_med.weights import load_model


@pytest.fixture(scope="module")
def lite():
    return load_model("lite")


def test_exported_network_normalises_by_itself(lite):
    images = probe_images(256, 1)
    architecture = lite.metadata.architecture
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (architecture.mean, architecture.std))
    with torch.inference_mode():
        expected = lite.network((images - mean) / std).maps
        torch.testing.assert_close(ExportedNetwork(lite)(images), expected)


def test_a_network_that_differs_is_refused(lite):
    network = ExportedNetwork(lite).eval()
    assert check_equal(network, network, 256, "itself") == 0
    with pytest.raises(InputError, match="ONNX: the exported network differs from PyTorch"):
        check_equal(network, lambda images: network(images) * 1.01, 256, "ONNX")


def test_onnx(lite, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    folder, difference = export_model(lite, ExportFormat.ONNX, tmp_path / "onnx")
    assert difference <= LARGEST_DIFFERENCE
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    images = probe_images(256, 3)  # another batch size than the one it was exported with
    with torch.inference_mode():
        expected = ExportedNetwork(lite)(images).numpy()
    found = session.run(None, {"images": images.numpy()})[0]
    np.testing.assert_allclose(found, expected, atol=LARGEST_DIFFERENCE * np.ptp(expected))


def test_openvino(lite, tmp_path):
    pytest.importorskip("openvino")
    folder, difference = export_model(lite, ExportFormat.OPENVINO, tmp_path / "openvino")
    assert difference <= LARGEST_DIFFERENCE
    assert {path.name for path in folder.iterdir()} == {"model.xml", "model.bin", "model-metadata.json"}


def test_monai_bundle_runs(lite, tmp_path, monkeypatch):
    from monai.bundle import run

    folder, _ = export_model(lite, ExportFormat.MONAI_BUNDLE, tmp_path / "bundle")
    assert {path.name for path in folder.iterdir()} >= {"configs", "models", "LICENSE"}
    described = json.loads((folder / "configs" / "metadata.json").read_text())
    assert described["network_data_format"]["inputs"]["image"]["spatial_shape"] == [256, 256]
    assert "not a medical device" in described["description"]
    images = tmp_path / "images"
    images.mkdir()
    pixels = np.full((256, 256, 3), 90, dtype=np.uint8)
    pixels[60:100, 150:220] = 220
    Image.fromarray(pixels).save(images / "square.png")
    monkeypatch.chdir(tmp_path)
    run(
        config_file=str(folder / "configs" / "inference.json"),
        bundle_root=str(folder),
        dataset_dir=str(images),
        output_dir=str(tmp_path / "scores"),
    )
    written = np.asarray(Image.open(tmp_path / "scores" / "square_anomaly.png"), dtype=float).reshape(128, 128)
    with torch.inference_mode():
        tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        raw = ExportedNetwork(lite)(tensor)[0].numpy()
    np.testing.assert_allclose(written, 255 * lite.metadata.score_scale.score(raw), atol=1.5)


def test_an_existing_folder_is_not_touched(lite, tmp_path):
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        export_model(lite, ExportFormat.OPENVINO, tmp_path)
    assert (tmp_path / "kept.txt").read_text() == "mine"


def test_nothing_is_left_behind_when_the_maps_differ(lite, tmp_path, monkeypatch):
    class Broken(nn.Module):
        def forward(self, images):
            return torch.zeros(len(images), 128, 128)

    monkeypatch.setattr("moeclip_med.export.formats.torch.jit.load", lambda _path: Broken())
    with pytest.raises(InputError, match="nothing was kept"):
        export_model(lite, ExportFormat.MONAI_BUNDLE, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
