"""A simulated endoscopy cine: the camera moves through a folded tube; a polyp is drawn on its wall.

Drawn from formulas alone, for the napari sample data. Nothing here is a patient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SEED = 7


def simulate_endoscopy(n_frames: int = 24, size: int = 256) -> NDArray[np.uint8]:
    """Draw the cine; the same pixels every time.

    Args:
        n_frames: Number of frames.
        size: Rows and columns.

    Returns:
        (frame, row, column, 3) uint8 RGB.
    """
    random = np.random.default_rng(_SEED)
    wall = ndimage.gaussian_filter(random.standard_normal((size, size)), 6)
    wall /= np.abs(wall).max()
    return np.stack([_draw_frame(frame / n_frames, size, wall) for frame in range(n_frames)])


def _draw_frame(progress: float, size: int, wall: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Draw one frame: a dark lumen, circular folds that come nearer, and a polyp with a glint."""
    row, column = np.mgrid[:size, :size] / size - 0.5
    lumen_row, lumen_column = 0.06 * np.sin(2 * np.pi * progress), 0.05 * np.cos(2 * np.pi * progress)
    radius = np.hypot(row - lumen_row, column - lumen_column) + 1e-3
    angle = np.arctan2(row - lumen_row, column - lumen_column)
    depth = 0.12 / radius
    folds = 0.5 + 0.5 * np.cos(2 * np.pi * (2.2 * depth + progress) + 0.6 * np.sin(3 * angle))
    light = np.clip(1.35 * radius, 0.03, 0.8) * (0.75 + 0.25 * folds) * (1 + 0.12 * wall)

    polyp_row, polyp_column, polyp_radius = (
        0.17 + 0.05 * progress,
        -0.2 - 0.05 * progress,
        0.085 + 0.03 * progress,
    )
    distance = np.hypot((row - polyp_row) / 0.85, column - polyp_column) / polyp_radius
    polyp = 1 / (1 + np.exp((distance - 1) / 0.06))
    dome = np.sqrt(np.clip(1 - np.minimum(distance, 1) ** 2, 0, 1))
    light = light * (1 - polyp) + polyp * (0.45 + 0.4 * dome)
    glint = np.exp(-(np.hypot(row - polyp_row + 0.03, column - polyp_column - 0.02) ** 2) / 0.0002)

    red = light + 0.5 * glint
    green = light * (0.52 - 0.12 * polyp) + 0.5 * glint
    blue = light * (0.42 - 0.02 * polyp) + 0.5 * glint
    view = np.hypot(row, column) < 0.49  # noqa: PLR2004 - the round field of view
    frame = np.stack([red, green, blue], axis=-1) * view[..., None]
    pixels: NDArray[np.uint8] = (np.clip(frame, 0, 1) * 255).astype(np.uint8)
    return pixels
