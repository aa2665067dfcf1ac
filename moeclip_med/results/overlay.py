"""Scores as colour over a grey image: one look for the report, for burnt-in DICOM overlays and for thumbnails.

Colours run over the fixed range of scores, 0 to 1, never over an image's own minimum and maximum, so that a colour
means the same in every picture of a model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeclip_med.scoring.anomaly import low_threshold

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLOUR_STEPS = (
    *("#000004", "#0a0722", "#1e0c45", "#380962", "#510e6c", "#69166e", "#801f6c", "#982766", "#b0315b"),
    *("#c63d4d", "#d94d3d", "#e9612b", "#f47918", "#fa9407", "#fcb014", "#f8cd37", "#f2ea69", "#fcffa4"),
)
"""Evenly spaced colours for scores 0 to 1: the perceptually uniform map "inferno" (Smith and van der Walt, CC0)."""

_BAND_PIXELS = 1 << 19

FULL_OPACITY = 0.6
"""How much of the grey image the colour hides at and above the threshold."""


def colours(scores: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The colours of scores.

    Args:
        scores: Any shape, 0 to 1; values outside are clipped.

    Returns:
        (..., 3) uint8, sRGB.
    """
    anchors = np.array([[int(step[i : i + 2], 16) for i in (1, 3, 5)] for step in COLOUR_STEPS], dtype=np.float64)
    places = np.linspace(0, 1, len(anchors))
    channels = [np.interp(scores, places, anchors[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def opacity(scores: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """How opaque the colour of a score is: 0 below the low threshold, `FULL_OPACITY` from the threshold on.

    Args:
        scores: Any shape, 0 to 1.
        threshold: The score that a finding reaches.

    Returns:
        The same shape, 0 to `FULL_OPACITY`.
    """
    start = low_threshold(threshold)
    ramp = np.clip((scores - start) / max(threshold - start, 1e-6), 0, 1)
    result: NDArray[np.float32] = (FULL_OPACITY * ramp**2).astype(np.float32)
    return result


def blend(image: NDArray[np.float32], scores: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """Burn the colours of scores into an image.

    Args:
        image: (..., 3), 0 to 1, sRGB.
        scores: The same shape without the last axis, 0 to 1.
        threshold: The score that a finding reaches.

    Returns:
        (..., 3) uint8, sRGB.
    """
    blended = np.empty((*scores.shape, 3), dtype=np.uint8)
    rows = max(1, _BAND_PIXELS // max(1, scores[:1].size))
    for start in range(0, len(scores), rows):  # in bands: a mammogram at once would take a gigabyte
        band = slice(start, start + rows)
        share = opacity(scores[band], threshold)[..., None]
        mixed = image[band] * 255 * (1 - share) + colours(scores[band]) * share
        blended[band] = mixed.round().clip(0, 255)
    return blended


def overlay_rgba(scores: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """The colours of scores with their opacity as a fourth channel: (..., 4) uint8."""
    alpha = (opacity(scores, threshold)[..., None] * 255).round().astype(np.uint8)
    return np.concatenate([colours(scores), alpha], axis=-1)
