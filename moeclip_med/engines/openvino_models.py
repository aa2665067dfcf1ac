"""From a PyTorch network to a compiled OpenVINO model, held against the original and kept in the cache."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from moeclip_med._version import __version__
from moeclip_med.engines import model_cache
from moeclip_med.engines.base import CORRELATION_FLOOR, ConversionError, EngineWarning, Precision, is_transformer
from moeclip_med.engines.model_cache import Agreement
from moeclip_med.engines.openvino_convert import to_openvino
from moeclip_med.engines.openvino_import import import_nncf, openvino
from moeclip_med.engines.quantization_images import CalibrationImages
from moeclip_med.weights.tensors import fingerprint

if TYPE_CHECKING:
    from moeclip_med.weights import LoadedModel

_log = logging.getLogger(__name__)

_EXACT_PARTS = (".*experts.*", ".*projections.*", ".*anomaly_map.*")
"""What stays out of int8: a few per cent of the time, and most of the error."""
_CHECK_IMAGES_TRANSFORMER, _CHECK_IMAGES_F32, _CHECK_IMAGES_ROUNDED = 3, 8, 32
"""As many as take a few seconds: rounding harms some images ten times as much as others, and float32 is not rounded."""


@dataclass(frozen=True)
class ModelRecipe:
    """Everything that a compiled model follows from.

    Attributes:
        model: The network and its prompts.
        precision: Its arithmetic.
        want_routing: Whether it also gives the routing.
        threads: Threads on the processor; OpenVINO's choice if None.
        calibration: What int8 is calibrated with.
    """

    model: LoadedModel
    precision: Precision
    want_routing: bool
    threads: int | None
    calibration: CalibrationImages

    def config(self) -> dict[str, Any]:
        """The plugin's settings."""
        hint = self.precision
        if hint is Precision.INT8:
            capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            hint = Precision.BF16 if "BF16" in capabilities else Precision.F32
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint.value, "PERFORMANCE_HINT": "LATENCY"}
        if self.threads is not None:
            settings["INFERENCE_NUM_THREADS"] = self.threads
            # Several processes of few threads would each pin them to the first cores.
            settings["ENABLE_CPU_PINNING"] = False
        return settings

    def key(self) -> str:
        """SHA-256 over all that the compiled model depends on: weights, versions, processor, settings."""
        metadata = self.model.metadata
        weights = [metadata.adapters_sha256, metadata.tower_sha256]
        if not all(weights):
            weights = [fingerprint(self.model.network.state_dict())]
        parts = {
            "weights": weights,
            "architecture": metadata.architecture.to_json(),
            "precision": self.precision.value,
            "routing": self.want_routing,
            "calibration": self.calibration.key() if self.precision is Precision.INT8 else "",
            "config": self.config(),
            "processor": openvino.Core().get_property("CPU", "FULL_DEVICE_NAME"),
            "versions": [openvino.get_version(), torch.__version__, __version__],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def compiled_model(recipe: ModelRecipe) -> tuple[openvino.CompiledModel, Agreement]:
    """Return the compiled model: from the cache, or made now and kept there.

    What the cache holds is used only if it is whole; where nothing can be kept, it is made at every start, with a
    warning (see `model_cache`).

    Raises:
        ConversionError: OpenVINO cannot run this model, or its maps are too far from PyTorch's.
    """
    key = recipe.key()
    kept = model_cache.load(key)
    if kept is not None:
        content, agreement = kept
        try:
            _check_agreement(agreement, recipe)
            return _import(content, recipe), agreement
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            warnings.warn(
                f"OpenVINO cannot load its compiled model ({reason}); it is compiled again", EngineWarning, stacklevel=2
            )
            model_cache.discard(key)
    started = time.perf_counter()
    compiled = compile_model(recipe)
    agreement = measure_agreement(compiled, recipe)
    _log.info("compiled for OpenVINO in %s: %.1f s", recipe.precision, time.perf_counter() - started)
    _check_agreement(agreement, recipe)
    exported = io.BytesIO()
    compiled.export_model(exported)
    model_cache.store(key, exported.getvalue(), agreement)
    return compiled, agreement


def _check_agreement(agreement: Agreement, recipe: ModelRecipe) -> None:
    floor = CORRELATION_FLOOR[recipe.precision]
    if not agreement.correlation >= floor:
        raise ConversionError(
            f'model "{recipe.model.metadata.name}": its maps by OpenVINO in {recipe.precision} correlate only '
            f"{agreement.correlation:.5f} with PyTorch's in float32, {floor} is wanted; use --precision f32 or "
            "--engine torch."
        )


def measure_agreement(compiled: openvino.CompiledModel, recipe: ModelRecipe) -> Agreement:
    """Hold the compiled model's maps against PyTorch's in float32."""
    model, architecture = recipe.model, recipe.model.metadata.architecture
    count = _CHECK_IMAGES_F32 if recipe.precision is Precision.F32 else _CHECK_IMAGES_ROUNDED
    images = CalibrationImages(None, _CHECK_IMAGES_TRANSFORMER if is_transformer(architecture) else count)
    found, wanted = [], []
    for batch in images.batches(architecture):
        with torch.inference_mode():
            wanted.append(model.network(torch.from_numpy(batch), model.text).maps.numpy().ravel())
        found.append(compiled(inputs(batch, model.text))[0].ravel())
    first, second = np.concatenate(found), np.concatenate(wanted)
    return Agreement(float(np.corrcoef(first, second)[0, 1]), float(np.abs(first - second).max()))


def inputs(images: np.ndarray[Any, Any], text: Tensor | None) -> list[np.ndarray[Any, Any]]:
    """The compiled model's inputs: images, and the prompts where the network compares with text."""
    return [images] if text is None else [images, text.detach().numpy()]


class _TracedNetwork(nn.Module):
    """The network as a function of tensors to tensors: maps, and the routing of every level if wanted."""

    def __init__(self, network: nn.Module, *, want_routing: bool) -> None:
        super().__init__()
        self.network, self.want_routing = network, want_routing

    def forward(self, images: Tensor, text: Tensor | None = None) -> tuple[Tensor, ...]:
        output = self.network(images, text, want_routing=self.want_routing)
        return (output.maps, *(output.routing or ()))


def compile_model(recipe: ModelRecipe) -> openvino.CompiledModel:
    """Convert and compile a model, which takes seconds; nothing is kept on disk.

    Raises:
        ConversionError: If OpenVINO cannot run it, or there is no room for temporary files.
    """
    try:
        converted = convert(recipe)
        if recipe.precision is Precision.INT8:
            converted = quantise(converted, recipe)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            # Through a file: half the weights where they will be halved anyway, and mapped, not held twice.
            path = Path(folder) / "model.xml"
            openvino.save_model(converted, path, compress_to_fp16=recipe.precision is not Precision.F32)
            del converted
            core = openvino.Core()
            return core.compile_model(core.read_model(path), "CPU", recipe.config())
    except OSError as error:
        raise ConversionError(
            f'model "{recipe.model.metadata.name}": OpenVINO needs room for temporary files '
            f'in "{tempfile.gettempdir()}" ({error.strerror or error}); free space there, or name another in TMPDIR'
        ) from error
    except (RuntimeError, openvino.frontend.OpConversionFailure) as error:
        reason = str(error).strip().splitlines()[-1]
        raise ConversionError(f'model "{recipe.model.metadata.name}": OpenVINO cannot run it ({reason}).') from error


def convert(recipe: ModelRecipe) -> openvino.Model:
    """Return the network in float32 as OpenVINO's own form."""
    model = recipe.model
    size = model.metadata.architecture.image_size
    images = torch.zeros(1, 3, size, size)
    traced = _TracedNetwork(model.network, want_routing=recipe.want_routing).eval()
    return to_openvino(traced, (images,) if model.text is None else (images, model.text))


def quantise(converted: openvino.Model, recipe: ModelRecipe) -> openvino.Model:
    """Return a converted network in 8-bit integers, with ranges from the recipe's images."""
    nncf = import_nncf()

    nncf.set_log_level(logging.ERROR)
    model, images = recipe.model, recipe.calibration
    batches = images.batches(model.metadata.architecture)
    return nncf.quantize(
        converted,
        nncf.Dataset([inputs(batch, model.text) for batch in batches]),
        subset_size=images.count,
        model_type=nncf.ModelType.TRANSFORMER if is_transformer(model.metadata.architecture) else None,
        ignored_scope=nncf.IgnoredScope(patterns=list(_EXACT_PARTS), validate=False),
    )


def _import(content: bytes, recipe: ModelRecipe) -> openvino.CompiledModel:
    given = np.frombuffer(content, dtype=np.uint8)
    return openvino.Core().import_model(openvino.Tensor(given), "CPU", recipe.config())
