"""Writing the formats: ONNX, OpenVINO, MONAI bundle."""

from __future__ import annotations

import json
import tempfile
import warnings
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from moeclip_transforms.errors import InputError, MissingExtraError

from moeclip_med.export.bundle import write_bundle_files
from moeclip_med.export.exported_network import ExportedNetwork, check_equal, probe_images

if TYPE_CHECKING:
    from torch import Tensor

    from moeclip_med.weights import LoadedModel

_LARGEST_BATCH = 4096
"""Stated for ONNX, since older torch does not export a dimension without an end."""


class ExportFormat(StrEnum):
    """What a model can be exported to."""

    ONNX = "onnx"
    OPENVINO = "openvino"
    MONAI_BUNDLE = "monai-bundle"


def export_model(model: LoadedModel, export_format: ExportFormat, folder: Path) -> tuple[Path, float]:
    """Write a model in another format and compare it with PyTorch.

    Args:
        model: From `load_model`.
        export_format: Which format.
        folder: Where the result goes; it must not exist yet, and appears only when everything is right.

    Returns:
        What was written, and the largest difference from PyTorch as a share of the map's range.

    Raises:
        InputError: The folder exists, or the exported network gives other maps.
        MissingExtraError: The format's library is not installed.
    """
    if folder.exists():
        raise InputError(f'"{folder}" exists already; name a folder that does not')
    writers = {
        ExportFormat.ONNX: _write_onnx,
        ExportFormat.OPENVINO: _write_openvino,
        ExportFormat.MONAI_BUNDLE: _write_bundle,
    }
    network = ExportedNetwork(model).eval()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        difference = writers[export_format](model, network, made)
        facts = {"model": model.metadata.to_json(), "largest_difference_from_pytorch": difference}
        text = json.dumps(facts, indent=2, ensure_ascii=False)
        (made / "model-metadata.json").write_text(text + "\n", encoding="utf-8")
        made.rename(folder)
    return folder, difference


def _trace(model: LoadedModel, network: ExportedNetwork) -> torch.jit.ScriptModule:
    images = probe_images(model.metadata.architecture.image_size)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        traced: torch.jit.ScriptModule = torch.jit.trace(network, images, check_trace=False)
    return traced


def _write_onnx(model: LoadedModel, network: ExportedNetwork, folder: Path) -> float:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        _need(package, "Exporting to ONNX")
    import onnxruntime

    size, path = model.metadata.architecture.image_size, folder / "model.onnx"
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (probe_images(size),),
            str(path),
            input_names=["images"],
            output_names=["maps"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)}},
            external_data=False,
            verbose=False,
            dynamo=True,
            optimize=False,  # onnxscript's takes as long as all the rest; runtimes do theirs when they load a network
        )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["maps"], {"images": images.numpy()})[0])

    return check_equal(network, run, size, "ONNX")


def _write_openvino(model: LoadedModel, network: ExportedNetwork, folder: Path) -> float:
    _need("openvino", "Exporting to OpenVINO", extra="openvino")
    from moeclip_med.engines.openvino_convert import to_openvino
    from moeclip_med.engines.openvino_import import openvino

    size = model.metadata.architecture.image_size
    converted = to_openvino(network, (probe_images(size),))
    path = folder / "model.xml"
    openvino.save_model(converted, path, compress_to_fp16=False)
    compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return check_equal(network, lambda images: torch.from_numpy(compiled(images.numpy())[0]), size, "OpenVINO")


def _write_bundle(model: LoadedModel, network: ExportedNetwork, folder: Path) -> float:
    write_bundle_files(model.metadata, folder)
    path = folder / "models" / "model.ts"
    _trace(model, network).save(str(path))
    loaded = torch.jit.load(str(path))
    return check_equal(network, loaded, model.metadata.architecture.image_size, "MONAI bundle")


def _need(package: str, purpose: str, extra: str = "export") -> None:
    if find_spec(package) is None:
        raise MissingExtraError(package, extra, purpose)
