"""Detectors as the published rules want them: prompts by class; for industrial sets another blur and image score."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from moeclip_transforms.errors import InputError

from moeclip_med.benchmark.systems import DetectorSystem
from moeclip_med.engines import make_engine
from moeclip_med.model import MoEClip, NetworkOutput, Prompts
from moeclip_med.model.architecture import BlurSpec
from moeclip_med.model.similarity import AnomalyMap
from moeclip_med.scoring import Detector
from moeclip_med.weights import load_model
from moeclip_med.weights.registry import ZERO_SHOT_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from moeclip_med.weights import LoadedModel

MEDICAL_BLUR = BlurSpec(kernel=9, sigma=1.5)
INDUSTRIAL_BLUR = BlurSpec(kernel=7, sigma=1.0)
"""The published runs blur maps of industrial sets less than those of medical ones."""


@dataclass(frozen=True)
class DetectorOptions:
    """Which model is evaluated, and how it runs; as for `moeclip-med score`."""

    model: str = "lite"
    device: str = "auto"
    engine: str = "auto"
    precision: str = "auto"


class IndustrialEngine:
    """Runs a network in PyTorch, float32, and keeps its score of each image as well.

    Attributes:
        name: "torch".
        description: What runs where.
        image_scores: (batch,) of the last batch, 0 to 1.
        batch_size: Images at a time that suit it.
    """

    name = "torch"
    batch_size = 8
    fallback_reason = ""

    def __init__(self, model: LoadedModel, device: str) -> None:
        self.description = f"PyTorch, f32, {device}; image scores and blur as in the published industrial runs"
        self.image_scores: Tensor | None = None
        self._device = torch.device(device)
        network = model.network
        if isinstance(network, MoEClip) and network.architecture.blur == MEDICAL_BLUR:
            network.anomaly_map = AnomalyMap(
                max(network.tower.grids),
                network.architecture.map_size,
                INDUSTRIAL_BLUR,
                corners_aligned=network.architecture.corners_aligned,
            )
        self._network = network.to(self._device)
        self._text = None if model.text is None else model.text.to(self._device)

    @torch.inference_mode()
    def run(self, images: Tensor, *, want_routing: bool = False) -> NetworkOutput:
        """Map anomalies; see `moeclip_med.engines.Engine.run`."""
        output: NetworkOutput = self._network(
            images.to(self._device), self._text, want_routing=want_routing, want_image=True
        )
        self.image_scores = None if output.image_score is None else output.image_score.float().cpu()
        routing = None if output.routing is None else tuple(level.cpu() for level in output.routing)
        return replace(output, maps=output.maps.float().cpu(), image_score=self.image_scores, routing=routing)


def detector_maker(options: DetectorOptions) -> Callable[..., Detector]:
    """Return a function that makes the detector for a class name and a domain.

    Args:
        options: Which model.

    Returns:
        (prompt or None, is_industrial) → detector.
    """

    def make(prompt: str | None, *, is_industrial: bool) -> Detector:
        loaded = load_model(options.model, prompts=None if prompt is None else Prompts(name=prompt))
        if not is_industrial:
            return Detector(
                loaded,
                make_engine(loaded, engine=options.engine, device=options.device, precision=options.precision),
            )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return Detector(loaded, IndustrialEngine(loaded, device if options.device == "auto" else options.device))

    return make


def zero_shot_system(
    detector: DetectorSystem, options: DetectorOptions, name: str
) -> tuple[DetectorSystem | None, str]:
    """Make plain CLIP as one more system to beat.

    Args:
        detector: The system under test.
        options: How it runs.
        name: An OpenCLIP name; "auto" for the detector's own tower where that has text; "none".

    Returns:
        The system, or None with the reason in one sentence ("" where none was wanted).
    """
    tower = detector.detector.metadata.architecture.tower
    if name == "none" or options.model.startswith(ZERO_SHOT_PREFIX) or (name == "auto" and tower.kind != "openclip"):
        return None, ""
    model = f"{ZERO_SHOT_PREFIX}{tower.name if name == 'auto' else name}"
    try:
        return DetectorSystem(detector_maker(replace(options, model=model)), name="clip_zero_shot"), ""
    except InputError as error:
        return None, f"{model} is not in the tables: {error}"
