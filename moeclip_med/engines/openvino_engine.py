"""OpenVINO on the processor: float32, bf16 or int8."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

import torch

from moeclip_med.engines.base import Precision, is_transformer, suitable_batch_size
from moeclip_med.engines.machine import processor_name
from moeclip_med.engines.openvino_import import openvino
from moeclip_med.engines.openvino_models import ModelRecipe, compiled_model, inputs
from moeclip_med.engines.quantization_images import CalibrationImages
from moeclip_med.model.network import check_image_size
from moeclip_med.model.outputs import NetworkOutput

if TYPE_CHECKING:
    from torch import Tensor

    from moeclip_med.engines.base import Engine, EngineRequest
    from moeclip_med.weights import LoadedModel

_CALIBRATION_PIXELS = 6_000_000
_FEWEST_IMAGES, _MOST_IMAGES = 12, 32


class OpenVINOEngine:
    """Runs the network compiled by OpenVINO; the compiled model is kept in the cache folder.

    Attributes:
        name: "openvino".
        description: What runs where, in which arithmetic, how near to PyTorch's float32, and why it was chosen.
        batch_size: Images at a time that suit it.
    """

    name = "openvino"

    def __init__(self, model: LoadedModel, request: EngineRequest) -> None:
        """Compile the network, or take it from the cache.

        Raises:
            ConversionError: OpenVINO cannot run this model, or not accurately enough.
            InputError: The folder of calibration images does not exist or holds no image.
        """
        self._model = model
        self.batch_size = suitable_batch_size("cpu", is_transformer=is_transformer(model.metadata.architecture))
        self._size = model.metadata.architecture.image_size
        self._threads = request.threads
        self._precision = request.precision
        count = min(max(_CALIBRATION_PIXELS // self._size**2, _FEWEST_IMAGES), _MOST_IMAGES)
        self._images = CalibrationImages.find(request.calibration, count)
        self._lock = Lock()
        self._requests: dict[bool, openvino.InferRequest] = {}
        compiled, agreement = compiled_model(self._recipe(want_routing=False))
        self._requests[False] = compiled.create_infer_request()
        self._model = replace(model)  # without its network, which is built again if another variant must be compiled
        place = f"{processor_name()}, {compiled.get_property('INFERENCE_NUM_THREADS')} threads"
        version = openvino.get_version().split("-")[0]
        calibrated = f", calibrated on {self._images.describe()}" if request.precision is Precision.INT8 else ""
        self.fallback_reason = request.fallback_reason
        self.description = (
            f"{request.describe(version, place)}; maps correlate {agreement.correlation:.6f} with PyTorch's in "
            f"float32{calibrated}"
        )

    def run(self, images: Tensor, *, want_routing: bool = False) -> NetworkOutput:
        """Map anomalies; see `Engine.run`. Safe to call from several threads, which take turns."""
        check_image_size(images, self._size)
        with self._lock:
            if want_routing not in self._requests:
                compiled, _ = compiled_model(self._recipe(want_routing=want_routing))
                self._requests[want_routing] = compiled.create_infer_request()
            given = inputs(images.contiguous().numpy(), self._model.text)
            maps, *routing = self._requests[want_routing].infer(given, share_inputs=True).values()
        return NetworkOutput(
            torch.from_numpy(maps), routing=tuple(map(torch.from_numpy, routing)) if want_routing else None
        )

    def _recipe(self, *, want_routing: bool) -> ModelRecipe:
        return ModelRecipe(self._model, self._precision, want_routing, self._threads, self._images)


def make_openvino(model: LoadedModel, request: EngineRequest) -> Engine:
    """Return the engine "openvino"; see `EngineFactory`."""
    return OpenVINOEngine(model, request)
