"""A model ready to run on slices: crops and resizing in, anomaly maps on the slices' own pixels out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from moeclip_med.engines import make_engine
from moeclip_med.scoring.crop import Crop
from moeclip_med.weights import load_model

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_transforms import SquareBox
    from torch import Tensor

    from moeclip_med.engines import Engine
    from moeclip_med.model import Prompts
    from moeclip_med.weights import LoadedModel, ModelMetadata

_log = logging.getLogger(__name__)

SCORE_OUTSIDE = 1e-6
"""The score of pixels outside the crop that the network saw: air, by construction of the crop."""


@dataclass(frozen=True)
class SliceMaps:
    """Anomaly maps of a batch of slices, on their own pixels.

    Attributes:
        raw: (batch, rows, columns) float32, the network's unbounded map.
        routing: (batch, level, rows, columns) uint8, the expert with the largest weight counted from 1, and 0 outside
            the crop that the network saw; None if not asked for.
    """

    raw: Tensor
    routing: Tensor | None


class Detector:
    """A loaded model and the engine that runs it.

    Attributes:
        metadata: What the model is and what its scores mean.
        identity: SHA-256 over everything that changes a score: adapters, tower, prompts and score scale.
        engine: How the network runs.
        notes: What the user should be told about the model, one sentence each.
    """

    def __init__(self, model: LoadedModel, engine: Engine) -> None:
        self.metadata: ModelMetadata = model.metadata
        self.identity: str = model.identity_hash
        self.notes: tuple[str, ...] = model.notes
        self.engine = engine
        architecture = model.metadata.architecture
        self._image_size = architecture.image_size
        self._mean = torch.tensor(architecture.mean).view(1, 3, 1, 1)
        self._std = torch.tensor(architecture.std).view(1, 3, 1, 1)

    def __repr__(self) -> str:
        """Return one line: the model and how it runs."""
        return f"<Detector {self.metadata.name} {self.metadata.version}, {self.engine.name}>"

    @property
    def crops_foreground(self) -> bool:
        """Whether the network sees the square around the foreground (True) or the whole slice stretched (False)."""
        return self.metadata.architecture.crop == "foreground-square"

    def map_slices(self, slices: Tensor, box: SquareBox | None = None, *, want_routing: bool = False) -> SliceMaps:
        """Map the anomalies of a batch of slices.

        Args:
            slices: (batch, channel, rows, columns) float32 in [0, 1]; 1 or 3 channels.
            box: The part of the slices that the network sees, in pixels; None for all of it. It may reach outside
                the slice: what lies there is shown as black.
            want_routing: Whether the experts' choices are wanted.

        Returns:
            Maps on the slices' own pixels.
        """
        crop = Crop.of(box, slices.shape[-2], slices.shape[-1])
        resized = crop.to_square(slices, self._image_size)
        images = (resized.clamp_(0.0, 1.0).expand(-1, 3, -1, -1) - self._mean).div_(self._std)
        output = self.engine.run(images, want_routing=want_routing)

        outside = float(self.metadata.score_scale.raw(SCORE_OUTSIDE))
        raw = crop.from_square(output.maps[:, None].float(), outside=outside)[:, 0]
        return SliceMaps(raw, _routing(output.routing, crop) if want_routing else None)


def _routing(levels: tuple[Tensor, ...] | None, crop: Crop) -> Tensor | None:
    """Put the experts' choices, 1 for the first, into slices; 0 where the network did not look."""
    if levels is None:
        return None
    placed = [crop.from_square(level[:, None] + 1, outside=0, mode="nearest-exact") for level in levels]
    return torch.cat(placed, dim=1)


def load_detector(
    model: str = "lite",
    *,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
    prompts: Prompts | None = None,
    tower_weights: Path | None = None,
    threads: int | None = None,
) -> Detector:
    """Load a model and make it ready to run.

    Args:
        model: A name (`lite`, `vit-l-14-336`, `clip-zero-shot:<open_clip name>`) or the path of a model folder.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        engine: `auto`, `torch` or `openvino`.
        precision: `auto`, `f32`, `bf16`, `f16` or `int8`, as the engine supports them.
        prompts: What to look for, where the model has a text tower.
        tower_weights: A file with the backbone's weights (safetensors or `.pt`), instead of the published ones.
        threads: Threads on the processor; as many as the engine thinks best if None.

    Raises:
        InputError: For an unknown model, missing weights, or an engine or device that is not there.
        RuntimeError: This process was forked after another model had been loaded.
    """
    loaded = load_model(model, prompts=prompts, tower_weights=tower_weights)
    made = make_engine(loaded, engine=engine, device=device, precision=precision, threads=threads)
    _log.info("model %s version %s on %s", loaded.metadata.name, loaded.metadata.version, made.description)
    return Detector(loaded, made)
