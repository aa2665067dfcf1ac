"""Exports give PyTorch's maps, and a bundle scores an image by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from moeclip_transforms.errors import InputError
from PIL import Image
from torch import nn

from moeclip_med.export.exported_network import LARGEST_DIFFERENCE, ExportedNetwork, check_equal, probe_images
from moeclip_med.export.targets import ExportFormat, export_model
from moeclip_med.model.architecture import ExpertsSpec, ProjectionSpec
from moeclip_med.model.named_architectures import lite_architecture
from moeclip_med.model.network import MoEClip
from moeclip_med.model.towers import ConvolutionalTower
from moeclip_med.weights import LoadedModel, ModelMetadata, ScoreScale, Threshold, load_model

SIZE, SIDE = 64, 32


@pytest.fixture(scope="module")
def tiny():
    """A small network of the lite kind with random weights."""
    architecture = replace(
        lite_architecture(),
        levels=(1, 2),
        experts=ExpertsSpec(rank=2),
        projection=ProjectionSpec(width=16, hidden=16),
        image_size=SIZE,
        map_size=SIDE,
        surroundings=(5, 3),
    )
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU())
    blocks = [nn.Conv2d(8, 16, 3, padding=1), nn.Sequential(nn.ReLU(), nn.Conv2d(16, 24, 3, 2, 1))]
    network = MoEClip(architecture, ConvolutionalTower(stem, blocks, architecture)).eval()
    with torch.inference_mode():
        maps = network(probe_images(SIZE) * 2 - 1).maps
    metadata = ModelMetadata(
        "tiny",
        "1",
        architecture,
        ScoreScale(float(maps.mean()), float(maps.std())),
        Threshold(0.5, "made up"),
        "Apache-2.0",
        tower_licence="none",
    )
    return LoadedModel(network, metadata, None, metadata.identity())


def test_exported_network_normalises_by_itself(tiny):
    images = probe_images(SIZE, 1)
    architecture = tiny.metadata.architecture
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (architecture.mean, architecture.std))
    with torch.inference_mode():
        expected = tiny.network((images - mean) / std).maps
        torch.testing.assert_close(ExportedNetwork(tiny)(images), expected)


def test_a_network_that_differs_is_refused(tiny):
    network = ExportedNetwork(tiny).eval()
    assert check_equal(network, network, SIZE, "itself") == 0
    with pytest.raises(InputError, match="ONNX: the exported network differs from PyTorch"):
        check_equal(
            network,
            lambda images: network(images) + 0.01 * (network(images).max() - network(images).min()),
            SIZE,
            "ONNX",
        )


@pytest.mark.slow
def test_onnx(tiny, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    folder, difference = export_model(tiny, ExportFormat.ONNX, tmp_path / "onnx")
    assert difference <= LARGEST_DIFFERENCE
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    images = probe_images(SIZE, 3)  # another batch size than the one it was exported with
    with torch.inference_mode():
        expected = ExportedNetwork(tiny)(images).numpy()
    found = session.run(None, {"images": images.numpy()})[0]
    np.testing.assert_allclose(found, expected, atol=LARGEST_DIFFERENCE * np.ptp(expected))


@pytest.mark.slow
def test_openvino(tiny, tmp_path):
    pytest.importorskip("openvino")
    folder, difference = export_model(tiny, ExportFormat.OPENVINO, tmp_path / "openvino")
    assert difference <= LARGEST_DIFFERENCE
    assert {path.name for path in folder.iterdir()} == {"model.xml", "model.bin", "model-metadata.json"}


@pytest.mark.slow
def test_monai_runs_the_bundle(tiny, tmp_path):
    pytest.importorskip("fire", reason="MONAI's command needs the package fire")
    folder, _ = export_model(tiny, ExportFormat.MONAI_BUNDLE, tmp_path / "bundle")
    assert {path.name for path in folder.iterdir()} >= {"configs", "models", "LICENSE"}
    described = json.loads((folder / "configs" / "metadata.json").read_text())
    assert described["network_data_format"]["inputs"]["image"]["spatial_shape"] == [SIZE, SIZE]
    assert "not a medical device" in described["description"]
    images = tmp_path / "images"
    images.mkdir()
    pixels = np.full((SIZE, SIZE, 3), 90, dtype=np.uint8)
    pixels[15:25, 37:55] = 220
    Image.fromarray(pixels).save(images / "square.png")
    options = {
        "--config_file": folder / "configs" / "inference.json",
        "--bundle_root": folder,
        "--dataset_dir": images,
        "--output_dir": tmp_path / "scores",
    }
    command = [sys.executable, "-m", "monai.bundle", "run", *(str(part) for pair in options.items() for part in pair)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    written = np.asarray(Image.open(tmp_path / "scores" / "square_anomaly.png"), dtype=float).reshape(SIDE, SIDE)
    with torch.inference_mode():
        tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        raw = ExportedNetwork(tiny)(tensor)[0].numpy()
    np.testing.assert_allclose(written, 255 * tiny.metadata.score_scale.score(raw), atol=1.5)


def test_an_existing_folder_is_not_touched(tiny, tmp_path):
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        export_model(tiny, ExportFormat.OPENVINO, tmp_path)
    assert (tmp_path / "kept.txt").read_text() == "mine"


def test_nothing_is_left_behind_when_the_maps_differ(tiny, tmp_path, monkeypatch):
    class Broken(nn.Module):
        def forward(self, images):
            return torch.zeros(len(images), SIDE, SIDE)

    monkeypatch.setattr("moeclip_med.export.targets.torch.jit.load", lambda _path: Broken())
    with pytest.raises(InputError, match="nothing was kept"):
        export_model(tiny, ExportFormat.MONAI_BUNDLE, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_shipped_model_exports_to_onnx(tmp_path):
    pytest.importorskip("onnxruntime")
    _, difference = export_model(load_model("lite"), ExportFormat.ONNX, tmp_path / "onnx")
    assert difference <= LARGEST_DIFFERENCE
