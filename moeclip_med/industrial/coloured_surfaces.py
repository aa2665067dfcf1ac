"""Composites of coloured surfaces: skin-like ground with hairs, and a round field with branching lines and a disc.

Prior put into the data: a slow change of light and colour, dark hairs, branching lines, a dark margin and one bright
disc are normal; a stain, or small spots that differ in colour or brightness, are not. Images are (size, size, 3)
float32 in [0, 1]; masks (size, size) bool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from moeclip_med.industrial.composites import centred
from moeclip_med.industrial.defect_shapes import spots
from moeclip_med.industrial.fields import chance, ellipse_level, ridges, smooth_noise, soften
from moeclip_med.industrial.synthetic import LUMA, only_if_visible

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray


def surface_composite(
    normal: NDArray[np.float32], other: NDArray[np.float32], rng: Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A surface with a stain, or a round field with spots; in 65 % of the cases with a defect.

    Args:
        normal: (size, size, 3) in [0, 1], the ground's texture.
        other: (size, size, 3) in [0, 1], texture that a stain may have.
        rng: Source of randomness.

    Returns:
        The composite, and where its defect is (all False where it has none).
    """
    size = normal.shape[0]
    scale = size / 256
    is_field = chance(rng, 0.4)
    image = ground(normal, rng)
    inside = round_field(size, rng) if is_field else np.ones((size, size), dtype=np.bool_)
    if is_field:
        image = add_lines_and_disc(image, rng)
    mask = np.zeros((size, size), dtype=np.bool_)
    if chance(rng, 0.65):
        candidate = spots(inside, rng) if is_field or chance(rng, 0.3) else stain(size, rng)
        image, mask = only_if_visible(image, stained(image, other, candidate, rng), candidate)
    if not is_field and chance(rng, 0.5):
        image = add_hairs(image, rng)
    if chance(rng, 0.4):
        image = image * margin(size, rng)[..., None]
    if chance(rng, 0.4):
        sigma = scale * rng.uniform(0.4, 1.6)
        image = ndimage.gaussian_filter(image, (sigma, sigma, 0))
    image = np.clip(image, 0, 1) * soften(inside, 0.7 * scale)[..., None]
    return image.astype(np.float32), mask & inside


def ground(normal: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """An even colour, any hue, with a slow change of light and of colour, and a little texture."""
    size = normal.shape[0]
    level = rng.uniform(0.35, 0.95)
    colour = level * (1 - rng.uniform(0, 0.7) * rng.uniform(0, 1, 3))
    if chance(rng, 0.5):  # warm
        colour = np.sort(colour)[::-1]
    light = 1 + rng.uniform(0, 0.2) * smooth_noise(size, size * rng.uniform(0.2, 0.5), rng)
    hue = np.stack([smooth_noise(size, size * 0.3, rng) for _ in range(3)], axis=2) * rng.uniform(0, 0.04)
    texture = rng.uniform(0.02, 0.35) * centred(normal @ LUMA)
    return np.asarray(colour * (light[..., None] + hue) + colour.mean() * texture[..., None], dtype=np.float32)


def stain(size: int, rng: Generator) -> NDArray[np.bool_]:
    """One irregular patch of 6 to 45 % of the image's width, around the middle more often than not."""
    centre = size * np.clip(rng.normal(0.5, 0.15, 2), 0.1, 0.9)
    half_axes = size * rng.uniform(0.06, 0.4) * rng.uniform(0.6, 1.1, 2)
    level = ellipse_level(size, (centre[0], centre[1]), (half_axes[0], half_axes[1]), rng.uniform(0, np.pi))
    return level + np.float32(rng.uniform(0.02, 0.3)) * smooth_noise(size, size * rng.uniform(0.02, 0.12), rng) > 0


def stained(
    image: NDArray[np.float32], other: NDArray[np.float32], mask: NDArray[np.bool_], rng: Generator
) -> NDArray[np.float32]:
    """The image times a colour (darker in 65 %), with the stain's own mottling; the edge soft, at times very soft."""
    size = image.shape[0]
    scale = size / 256
    sign = -1 if chance(rng, 0.65) else 1
    factor = 1 + sign * rng.uniform(0.06, 0.6) * rng.uniform(0.3, 1.0, 3)
    mottling = rng.uniform(0, 0.15) * smooth_noise(size, scale * rng.uniform(3, 20), rng)
    mottling = mottling + rng.uniform(0, 0.3) * centred(other @ LUMA)
    filling = image * factor * (1 + mottling[..., None])
    edge = scale * (rng.uniform(0.5, 3) if chance(rng, 0.6) else rng.uniform(3, 10))
    weight = soften(mask, edge)[..., None]
    return np.asarray(image + weight * (filling - image), dtype=np.float32)


def add_hairs(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """One to eight long curved dark (rarely bright) lines: normal."""
    size = image.shape[0]
    along = np.linspace(-0.2, 1.2, 4 * size)
    hairs = np.zeros((size, size), dtype=np.float32)
    for _ in range(int(rng.integers(1, 9))):
        start, angle, bend = rng.uniform(0, 1, 2), rng.uniform(0, 2 * np.pi), rng.uniform(-0.6, 0.6)
        offset = along - 0.5
        rows = start[0] + offset * np.sin(angle) + bend * offset**2 * np.cos(angle)
        columns = start[1] + offset * np.cos(angle) - bend * offset**2 * np.sin(angle)
        places = np.round(np.stack([rows, columns]) * size).astype(int)
        rows, columns = places[:, ((places >= 0) & (places < size)).all(axis=0)]
        hairs[rows, columns] = 1
    thick = ndimage.gaussian_filter(hairs, size / 256 * rng.uniform(0.5, 1.1))
    weight = np.clip(thick * rng.uniform(1, 2.2), 0, 1)[..., None]
    return np.asarray(image + weight * (rng.choice([0.1, 0.85], p=[0.85, 0.15]) - image), dtype=np.float32)


def round_field(size: int, rng: Generator) -> NDArray[np.bool_]:
    """A disc that fills the image, or is cut by it."""
    radius = size * rng.uniform(0.44, 0.7)
    centre = size * rng.uniform(0.47, 0.53, 2)
    return np.asarray(ellipse_level(size, (centre[0], centre[1]), (radius, radius), 0.0) > 0, dtype=np.bool_)


def add_lines_and_disc(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Branching dark lines in two widths and, in 70 %, one bright disc with a soft edge: normal."""
    size = image.shape[0]
    scale = size / 256
    for sigma, width in ((35, 0.09), (16, 0.06)):
        lines = ridges(size, scale * sigma * rng.uniform(0.8, 1.3), width * rng.uniform(0.6, 1.5), rng)
        fade = np.clip(0.6 + 0.6 * smooth_noise(size, scale * 40, rng), 0, 1)
        loss = rng.uniform(0.1, 0.45) * rng.uniform(0.4, 1.0, 3)
        image = image * (1 - (lines * fade)[..., None] * loss)
    if chance(rng, 0.7):
        centre, radius = size * rng.uniform(0.15, 0.85, 2), size * rng.uniform(0.05, 0.11)
        disc = ellipse_level(size, (centre[0], centre[1]), (radius, radius * rng.uniform(0.85, 1.15)), 0.0) > 0
        image = image * (1 + soften(disc, scale * rng.uniform(1, 5))[..., None] * rng.uniform(0.2, 0.9))
    return np.asarray(image, dtype=np.float32)


def margin(size: int, rng: Generator) -> NDArray[np.float32]:
    """Light that falls off towards the margin, (size, size) factors."""
    grid = np.mgrid[0:size, 0:size] / size - 0.5
    middle = rng.normal(0, 0.08, 2)
    radius = np.hypot(grid[0] - middle[0], grid[1] - middle[1]) / 0.7071
    return np.asarray(1 - rng.uniform(0.1, 0.9) * np.clip(radius, 0, 1) ** rng.uniform(1.5, 5), dtype=np.float32)
