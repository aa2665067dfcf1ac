"""What the widget says of a model, and loading it; runs in the scoring process."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms import InputError

from napari_moeclip.answers import LoadedModelInfo, ModelDescription

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeclip_med.scoring import AnomalyVolume, Detector
    from napari_moeclip.messages import LoadRequest


def load(request: LoadRequest) -> Detector:
    """Load a model and make it ready to run.

    Raises:
        InputError: For an unknown model, missing weights, or a device that is not there.
    """
    from moeclip_med.model.prompts import find_prompts
    from moeclip_med.scoring import load_detector

    prompts = find_prompts(request.prompt) if request.prompt else None
    return load_detector(request.model, device=request.device, prompts=prompts)


def info_of(detector: Detector) -> LoadedModelInfo:
    """Say what the viewer has to know of a loaded model."""
    from moeclip_med.model.architecture import ZeroShotArchitecture

    metadata = detector.metadata
    architecture = metadata.architecture
    levels, experts = (0, 0)
    if not isinstance(architecture, ZeroShotArchitecture):
        levels, experts = len(architecture.levels), architecture.experts.count
    return LoadedModelInfo(
        name=metadata.name,
        threshold=metadata.threshold.value,
        levels=levels,
        experts=experts,
    )


def describe(name: str) -> ModelDescription:
    """Say where a model's files are, how large they are, and whether a download would start; loads nothing."""
    from moeclip_med.weights.registry import NAMED_MODELS, PACKAGED, find_folder
    from moeclip_med.weights.store import read_metadata
    from moeclip_med.weights.tower_weights import has_towers, missing_towers

    try:
        folder = find_folder(name)
        architecture = read_metadata(folder).architecture
    except InputError as error:
        named = NAMED_MODELS.get(name)
        has_text = named is not None and named.architecture().prompts != "learned"
        return ModelDescription(name, is_ready=False, detail=str(error), has_text_tower=has_text)
    has_text = getattr(architecture, "prompts", "text") != "learned"
    megabytes = sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) / 2**20
    where = "comes with the package" if name in PACKAGED else str(folder)
    detail = f"{where} ({megabytes:.1f} MB)"
    ready = ModelDescription(name, is_ready=True, detail=detail, has_text_tower=has_text, place=str(folder))
    if has_towers(architecture):
        return replace(ready, detail=f"{detail}; nothing to download.")
    return replace(ready, is_ready=False, detail=f"{detail}; {missing_towers(architecture)}.")


def show_experts(anomaly: AnomalyVolume, into: NDArray[np.uint8], experts: int) -> tuple[tuple[float, ...], ...]:
    """Write which expert took each patch as label values.

    Args:
        anomaly: A run whose routing was kept.
        into: (level, x, y, z); becomes the expert counted from 1, and 0 where the network saw nothing.
        experts: How many experts each level has.

    Returns:
        For each level, the share of the seen voxels that each expert took.
    """
    if anomaly.routing is None:
        return ()
    into[...] = anomaly.routing
    counts = [np.bincount(level.ravel(), minlength=experts + 1)[1:] for level in into]
    return tuple(tuple(float(count) / max(1, int(level.sum())) for count in level) for level in counts)
