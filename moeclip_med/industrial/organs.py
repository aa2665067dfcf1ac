"""Composites of one organ: an irregular even region on black, with vessels, noise and a shading, and spots as defects.

Prior put into the data: a region without a mirror axis is normal, and so are branching lines and a slow shading in
it; a spot that differs a little from its surroundings is not. Images are (size, size, 3) float32 in [0, 1], grey;
masks (size, size) bool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from moeclip_med.industrial.composites import centred
from moeclip_med.industrial.defect_shapes import spots
from moeclip_med.industrial.fields import chance, ellipse_level, ridges, smooth_noise, soften
from moeclip_med.industrial.synthetic import LUMA, grey_of, only_if_visible

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray


def organ_composite(
    normal: NDArray[np.float32], other: NDArray[np.float32], rng: Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """An organ; in 65 % of the cases with spots.

    Args:
        normal: (size, size, 3) in [0, 1], texture of the organ.
        other: (size, size, 3) in [0, 1], texture that a spot may have.
        rng: Source of randomness.

    Returns:
        The composite, and where its defect is (all False where it has none).
    """
    size = normal.shape[0]
    scale = size / 256
    body = organ_shape(size, rng)
    texture = rng.uniform(0.25, 0.75) + rng.uniform(0.02, 0.3) * centred(normal @ LUMA)
    light = 1 + rng.uniform(0, 0.25) * smooth_noise(size, size * rng.uniform(0.15, 0.4), rng) / 2
    image: NDArray[np.float32] = np.asarray(texture * light, dtype=np.float32)
    if chance(rng, 0.6):
        image = add_vessels(image, rng)
    if chance(rng, 0.4):
        image = add_part(image, rng)
    mask = np.zeros((size, size), dtype=np.bool_)
    if chance(rng, 0.65):
        candidate = spots(body, rng)
        step = rng.uniform(0.08, 0.6) * float(image.mean()) * (-1 if chance(rng, 0.6) else 1)
        filling = image + step + rng.uniform(0, 0.2) * centred(other @ LUMA)
        weight = soften(candidate, scale * rng.uniform(0.6, 5))
        filled = np.asarray(image + weight * (filling - image), dtype=np.float32)
        image, mask = only_if_visible(image, filled, candidate)
    shown = np.clip(image, 0, 1) * soften(body, scale * rng.uniform(0.3, 1.2))
    grain = ndimage.gaussian_filter(rng.standard_normal((size, size)), scale * rng.uniform(0.3, 1.2))
    shown = shown + rng.uniform(0, 0.05) * grain / max(float(grain.std()), 1e-6) * body
    return grey_of(np.clip(shown, 0, 1)), mask & body


def organ_shape(size: int, rng: Generator) -> NDArray[np.bool_]:
    """One to three overlapping ellipses with a wavy edge; in 15 % the whole image."""
    if chance(rng, 0.15):
        return np.ones((size, size), dtype=np.bool_)
    level = np.full((size, size), -np.inf, dtype=np.float32)
    centre = size * rng.uniform(0.4, 0.6, 2)
    for _ in range(int(rng.integers(1, 4))):
        half_axes = size * rng.uniform(0.18, 0.45, 2)
        level = np.maximum(
            level, ellipse_level(size, (centre[0], centre[1]), (half_axes[0], half_axes[1]), rng.uniform(0, np.pi))
        )
        centre = np.clip(centre + size * rng.uniform(-0.2, 0.2, 2), 0.25 * size, 0.75 * size)
    return level + np.float32(rng.uniform(0, 0.15)) * smooth_noise(size, size * rng.uniform(0.05, 0.2), rng) > 0


def add_vessels(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """A loose network of lines, brighter or darker, of uneven strength: normal."""
    size = image.shape[0]
    scale = size / 256
    lines = ridges(size, scale * rng.uniform(12, 40), rng.uniform(0.03, 0.14), rng)
    strength = np.clip(0.5 + 0.6 * smooth_noise(size, scale * 30, rng), 0, 1)
    step = rng.uniform(0.05, 0.4) * float(image.mean()) * (1 if chance(rng, 0.6) else -1)
    return np.asarray(image + step * lines * strength, dtype=np.float32)


def add_part(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """A neighbouring part at another level, cut off by a long wavy edge: normal."""
    size = image.shape[0]
    angle = rng.uniform(0, 2 * np.pi)
    grid = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    depth = grid[0] * np.sin(angle) + grid[1] * np.cos(angle) - rng.uniform(0.1, 0.35)
    depth = depth + 0.04 * smooth_noise(size, size * 0.12, rng)
    weight = 1 / (1 + np.exp(-depth * size / rng.uniform(0.7, 3)))
    return np.asarray(image + weight * rng.uniform(-0.5, 0.5) * image.mean(), dtype=np.float32)
