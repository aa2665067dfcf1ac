"""Composites of tubes and folds: the inside of a lit tube with ridges, glints and fine lines, and bumps as defects.

Prior put into the data: ridges, glints, lines, shadows and a dark end of the tube are normal; a dome with its own
shading, colour or texture is not. Images are (size, size, 3) float32 in [0, 1]; masks (size, size) bool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from moeclip_med.industrial.composites import centred
from moeclip_med.industrial.fields import chance, ellipse_level, ridges, smooth_noise, soften
from moeclip_med.industrial.synthetic import LUMA, only_if_visible

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray


def tube_composite(
    normal: NDArray[np.float32], other: NDArray[np.float32], rng: Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The inside of a tube; in 65 % of the cases with a bump or a stain.

    Args:
        normal: (size, size, 3) in [0, 1], the wall's texture.
        other: (size, size, 3) in [0, 1], a texture that a defect may have.
        rng: Source of randomness.

    Returns:
        The composite, and where its defect is (all False where it has none).
    """
    size = normal.shape[0]
    scale = size / 256
    shading = wall(normal @ LUMA, rng)
    colour = wall_colour(rng)
    image = shading[..., None] * colour
    mask = np.zeros((size, size), dtype=np.bool_)
    if chance(rng, 0.65):
        candidate, dome = bump(size, rng)
        weight = soften(candidate, scale * rng.uniform(0.5, 3))
        lit = shading + weight * (dome + rng.uniform(0, 0.4) * centred(other @ LUMA))
        tint = 1 + weight[..., None] * rng.normal(0, rng.uniform(0.03, 0.25), 3).astype(np.float32)
        image, mask = only_if_visible(image, lit[..., None] * colour * tint, candidate)
    if chance(rng, 0.6):
        lines = ridges(size, scale * rng.uniform(8, 25), rng.uniform(0.04, 0.12), rng)
        loss = np.array([0.05, 0.25, 0.2], dtype=np.float32) * rng.uniform(0.3, 1.2)
        image = image * (1 - lines[..., None] * loss)
    image = np.clip(image, 0, 1)
    image = np.maximum(image, glints(size, rng)[..., None])
    if chance(rng, 0.5):
        image, mask = cut_corners(image, mask, rng)
    if chance(rng, 0.5):
        sigma = scale * rng.uniform(0.4, 1.6)
        image = ndimage.gaussian_filter(image, (sigma, sigma, 0))
    return np.clip(image, 0, 1).astype(np.float32), mask


def wall_colour(rng: Generator) -> NDArray[np.float32]:
    """A warm colour in 70 %, any colour else."""
    low, high = ([0.6, 0.25, 0.2], [1.1, 0.75, 0.65]) if chance(rng, 0.7) else ([0.3] * 3, [1.1] * 3)
    return rng.uniform(low, high).astype(np.float32)


def wall(texture: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Light on the wall: texture, folds around the tube's end, the dark end, a falling-off light; about 0 to 1."""
    size = texture.shape[0]
    centre = rng.uniform(-0.2, 1.2, 2) * size
    grid = np.mgrid[0:size, 0:size].astype(np.float32)
    radius = np.hypot(grid[0] - centre[0], (grid[1] - centre[1]) * rng.uniform(0.7, 1.4))
    radius = radius * (1 + rng.uniform(0, 0.15) * smooth_noise(size, size * rng.uniform(0.08, 0.25), rng))
    light = rng.uniform(0.5, 0.9) + rng.uniform(0.05, 0.35) * centred(texture)
    for _ in range(int(rng.integers(0, 6))):
        offset = (radius - size * rng.uniform(0.1, 1.0)) / (size * rng.uniform(0.01, 0.06))
        fade = 1 / (1 + np.exp(-3 * smooth_noise(size, size * 0.15, rng)))
        # One side of a fold faces the light, the other lies in its shadow.
        light = light + rng.uniform(0.05, 0.35) * fade * offset * np.exp(-0.5 * offset**2)
    if chance(rng, 0.6):
        end = size * rng.uniform(0.05, 0.35)
        light = light * (1 - rng.uniform(0.5, 1.0) * np.exp(-((radius / end) ** 2)))
    lamp = rng.uniform(0.2, 0.8, 2) * size
    distance = np.hypot(grid[0] - lamp[0], grid[1] - lamp[1]) / size
    return np.asarray(light * (1 - rng.uniform(0, 0.7) * distance**2), dtype=np.float32)


def bump(size: int, rng: Generator) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """A dome: where it is, and how much lighter or darker it is than the wall."""
    scale = size / 256
    centre = rng.uniform(0.15, 0.85, 2) * size
    half_axes = scale * rng.uniform(9, 60) * rng.uniform(0.7, 1.0, 2)
    cone = ellipse_level(size, (centre[0], centre[1]), (half_axes[0], half_axes[1]), rng.uniform(0, np.pi))
    cone = cone + rng.uniform(0, 0.2) * smooth_noise(size, scale * rng.uniform(6, 25), rng)
    height = np.sqrt(np.clip(1 - (1 - np.clip(cone, 0, 1)) ** 2, 0, 1)) * half_axes.mean()
    slope = np.stack(np.gradient(ndimage.gaussian_filter(height, 1.5 * scale)))
    direction = rng.uniform(0, 2 * np.pi)
    lit = slope[0] * np.sin(direction) + slope[1] * np.cos(direction)
    dome = rng.uniform(0, 0.35) * np.tanh(lit) + rng.uniform(-0.15, 0.25)
    mask = cone > 0
    return np.asarray(mask, dtype=np.bool_), np.asarray(dome, dtype=np.float32)


def glints(size: int, rng: Generator) -> NDArray[np.float32]:
    """Small saturated spots, single or in groups: reflections of the lamp, never a defect."""
    scale = size / 256
    spots = np.zeros((size, size), dtype=np.float32)
    for _ in range(int(rng.integers(0, 5))):
        group = rng.uniform(0, 1, 2) * size
        for _ in range(int(rng.integers(1, 6))):
            centre = group + rng.normal(0, 12 * scale, 2)
            half_axes = np.maximum(scale * rng.uniform(1, 6, 2), 0.7)
            level = ellipse_level(size, (centre[0], centre[1]), (half_axes[0], half_axes[1]), rng.uniform(0, np.pi))
            spots = np.maximum(spots, (level > 0) * np.float32(rng.uniform(0.7, 1)))
    return np.asarray(ndimage.gaussian_filter(spots, 0.8 * scale), dtype=np.float32)


def cut_corners(
    image: NDArray[np.float32], mask: NDArray[np.bool_], rng: Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Black corners, as of a round or eight-sided field of view; the mask is cut likewise."""
    size = image.shape[0]
    grid = np.abs(np.mgrid[0:size, 0:size] - (size - 1) / 2) / (size / 2)
    power = rng.uniform(2, 6)
    inside = (grid**power).sum(axis=0) < rng.uniform(0.95, 1.5)
    return image * inside[..., None], mask & inside
