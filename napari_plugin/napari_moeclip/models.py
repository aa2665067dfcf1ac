"""What the widget says of a model, and loading it; runs in the scoring process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_moeclip.messages import LoadedModelInfo, ModelDescription

if TYPE_CHECKING:
    from moeclip_med.scoring import AnomalyVolume, Detector
    from numpy.typing import NDArray

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
    metadata = detector.metadata
    return LoadedModelInfo(
        name=metadata.name,
        threshold=metadata.threshold.value,
        threshold_source=metadata.threshold.source,
        is_calibrated=metadata.threshold.is_calibrated,
        levels=len(metadata.architecture.levels),
        experts=metadata.architecture.experts.count,
        engine=detector.engine.description,
    )


def describe(name: str) -> ModelDescription:
    """Say where a model's files are, without loading it."""
    raise NotImplementedError


def show_experts(anomaly: AnomalyVolume, into: NDArray[np.uint8]) -> tuple[tuple[float, ...], ...]:
    """Write which expert took each patch as label values.

    Args:
        anomaly: A run whose routing was kept.
        into: (level, x, y, z); becomes expert + 1, and 0 where the network saw nothing.

    Returns:
        For each level, the share of the seen voxels that each expert took.
    """
    from moeclip_med.scoring.detector import SCORE_OUTSIDE

    if anomaly.routing is None:
        return ()
    seen = anomaly.scores > 2 * SCORE_OUTSIDE
    shares = []
    for level, experts in enumerate(anomaly.routing):
        np.multiply(experts + 1, seen, out=into[level], casting="unsafe")
        counts = np.bincount(experts[seen], minlength=int(experts.max()) + 1)
        shares.append(tuple(float(count) / max(1, int(counts.sum())) for count in counts))
    return tuple(shares)
