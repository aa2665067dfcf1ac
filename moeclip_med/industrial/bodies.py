"""Composites of a body in cross-section: organs among organs, lungs with vessels, gas, a spine; spots as defects.

Prior put into the data: a body's outline has two like halves and its contents have not; organs of any level beside each
other, pockets of gas, bright contrast in a gut, vessels that branch and bones are normal; a spot inside one organ that
differs from it is not. Images are (size, size, 3) float32 in [0, 1], grey; masks (size, size) bool.
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

CHEST_SHARE = 0.35


def body_composite(
    normal: NDArray[np.float32], other: NDArray[np.float32], rng: Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A cross-section of a chest (35 %) or a belly; in 65 % of the cases with spots in one organ.

    Args:
        normal: (size, size, 3) in [0, 1], texture of the tissue.
        other: (size, size, 3) in [0, 1], texture that a spot may have.
        rng: Source of randomness.

    Returns:
        The composite, and where its defect is (all False where it has none).
    """
    size = normal.shape[0]
    scale = size / 256
    body, depth = outline(size, rng)
    muscle = rng.uniform(0.3, 0.6)
    image = np.full((size, size), muscle, dtype=np.float32)
    wall = scale * rng.uniform(3, 22)
    fat = muscle * rng.uniform(0.35, 0.9) if chance(rng, 0.75) else muscle * rng.uniform(1.1, 1.8)
    image = np.where(depth < wall, np.float32(fat), image)
    inside = depth > wall + scale * rng.uniform(2, 10)
    image, organs = add_lungs(image, inside, rng) if chance(rng, CHEST_SHARE) else add_organs(image, inside, rng)
    image = add_spine(image, body, rng)
    image = image + rng.uniform(0.01, 0.2) * muscle * 2 * centred(normal @ LUMA)
    mask = np.zeros((size, size), dtype=np.bool_)
    candidates = [organ for organ in organs if organ.sum() > (scale * 8) ** 2]
    if candidates and chance(rng, 0.65):
        home = candidates[int(rng.integers(len(candidates)))]
        candidate = spots(ndimage.binary_erosion(home, iterations=max(1, round(scale))), rng)
        image, mask = only_if_visible(image, with_spots(image, other @ LUMA, home, candidate, rng), candidate)
    sigma = scale * rng.uniform(0.4, 1.3)
    image = ndimage.gaussian_filter(np.clip(image, 0, 1) * body, sigma)
    grain = ndimage.gaussian_filter(rng.standard_normal((size, size), dtype=np.float32), scale * rng.uniform(0.3, 1))
    image = image + rng.uniform(0, 0.04) * grain / max(float(grain.std()), 1e-6) * body
    return grey_of(np.clip(image, 0, 1)), mask & body


def outline(size: int, rng: Generator) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """A broad or round body, and how deep each pixel lies in it."""
    half_axes = (size * rng.uniform(0.28, 0.47), size * rng.uniform(0.38, 0.49))
    level = ellipse_level(size, (size * rng.uniform(0.47, 0.53), size * rng.uniform(0.48, 0.52)), half_axes, 0.0)
    level = level + np.float32(rng.uniform(0, 0.05)) * smooth_noise(size, size * rng.uniform(0.1, 0.25), rng)
    body = np.asarray(ndimage.binary_fill_holes(level > 0), dtype=np.bool_)
    return body, ndimage.distance_transform_edt(body).astype(np.float32)


def blob(size: int, inside: NDArray[np.bool_], reach: tuple[float, float], rng: Generator) -> NDArray[np.bool_]:
    """One irregular region whose middle lies in `inside`, half-axes as shares of the image."""
    places = np.flatnonzero(inside)
    if not places.size:
        return np.zeros_like(inside)
    row, column = divmod(int(rng.choice(places)), size)
    first, second = size * rng.uniform(*reach, 2)
    level = ellipse_level(size, (row, column), (first, second), rng.uniform(0, np.pi))
    level = level + np.float32(rng.uniform(0.05, 0.3)) * smooth_noise(size, size * rng.uniform(0.03, 0.12), rng)
    return np.asarray((level > 0) & inside, dtype=np.bool_)


def add_organs(
    image: NDArray[np.float32], inside: NDArray[np.bool_], rng: Generator
) -> tuple[NDArray[np.float32], list[NDArray[np.bool_]]]:
    """One large organ, 3 to 9 of any size, then loops of gut: walls with gas, contrast or juice in them."""
    size = image.shape[0]
    scale = size / 256
    ground = float(image[inside].mean()) if inside.any() else 0.4
    image = np.where(inside, np.float32(ground * rng.uniform(0.4, 1.0)), image)
    organs: list[NDArray[np.bool_]] = []
    reaches = [(0.15, 0.32), *[(0.03, 0.16)] * int(rng.integers(3, 10))]
    for reach in reaches:
        organ = blob(size, inside, reach, rng)
        level = ground * rng.uniform(0.7, 1.7)
        weight = soften(organ, scale * rng.uniform(0.4, 1.5))
        image = np.asarray(image + weight * (level - image), dtype=np.float32)
        if chance(rng, 0.4):
            image = vessels_in(image, organ, rng)
        organs = [earlier & ~organ for earlier in organs] + [organ]
    for _ in range(int(rng.integers(0, 7))):
        gut = blob(size, inside, (0.02, 0.08), rng)
        lumen = ndimage.binary_erosion(gut, iterations=max(1, round(scale * rng.uniform(1, 4))))
        content = rng.choice([0.0, rng.uniform(0.85, 1.0), ground * rng.uniform(0.6, 1.2)], p=[0.45, 0.2, 0.35])
        image = np.where(gut, np.float32(ground * rng.uniform(0.9, 1.4)), image)
        image = np.where(lumen, np.float32(content), image)
        organs = [organ & ~gut for organ in organs]
    return image, organs


def add_lungs(
    image: NDArray[np.float32], inside: NDArray[np.bool_], rng: Generator
) -> tuple[NDArray[np.float32], list[NDArray[np.bool_]]]:
    """Two dark lungs of unlike size with bright vessels, and a heart on one side with chambers of other levels."""
    size = image.shape[0]
    scale = size / 256
    lungs = []
    for side in (-1, 1):
        centre = (size * rng.uniform(0.44, 0.54), size * (0.5 + side * rng.uniform(0.18, 0.24)))
        half_axes = (size * rng.uniform(0.16, 0.3), size * rng.uniform(0.1, 0.18))
        level = ellipse_level(size, centre, half_axes, side * rng.uniform(-0.3, 0.3))
        level = level + np.float32(0.12) * smooth_noise(size, size * 0.08, rng)
        lungs.append(np.asarray((level > 0) & inside, dtype=np.bool_))
    heart = blob(size, inside & (np.abs(np.arange(size) - size / 2) < size * 0.12)[None, :], (0.08, 0.18), rng)
    lungs = [lung & ~heart for lung in lungs]
    air = rng.uniform(0.02, 0.25)
    for lung in lungs:
        weight = soften(lung, scale * rng.uniform(0.4, 1.2))
        image = np.asarray(image + weight * (air - image), dtype=np.float32)
        image = vessels_in(image, lung, rng, step=rng.uniform(0.2, 0.6))
    muscle = rng.uniform(0.4, 0.8)
    image = np.where(heart, np.float32(muscle), image)
    for _ in range(int(rng.integers(0, 4))):
        image = np.where(blob(size, heart, (0.02, 0.07), rng), np.float32(muscle * rng.uniform(0.8, 1.4)), image)
    return image, [*lungs, *lungs, heart]


def vessels_in(
    image: NDArray[np.float32], organ: NDArray[np.bool_], rng: Generator, step: float | None = None
) -> NDArray[np.float32]:
    """Branching lines within one organ: normal."""
    size = image.shape[0]
    scale = size / 256
    lines = np.zeros_like(image)
    for sigma, width in ((22, 0.05), (9, 0.07)):
        strength = np.clip(0.4 + 0.7 * smooth_noise(size, scale * 18, rng), 0, 1)
        lines = np.maximum(lines, strength * ridges(size, scale * sigma * rng.uniform(0.7, 1.3), width, rng))
    step = rng.uniform(-0.15, 0.2) if step is None else step
    return np.asarray(image + step * lines * organ, dtype=np.float32)


def add_spine(image: NDArray[np.float32], body: NDArray[np.bool_], rng: Generator) -> NDArray[np.float32]:
    """A bright bone near the back on the middle line, with a darker canal, and a few bright ribs along the edge."""
    size = image.shape[0]
    scale = size / 256
    if chance(rng, 0.25):
        return image
    rows = np.flatnonzero(body.any(axis=1))
    back = rows[0] + (rows[-1] - rows[0]) * rng.uniform(0.72, 0.85)
    middle = size * rng.uniform(0.48, 0.52)
    half = scale * rng.uniform(9, 20)
    level = rng.uniform(0.65, 1.0)
    bone = ellipse_level(size, (back, middle), (half, half * rng.uniform(0.9, 1.4)), 0.0) > 0
    canal = ellipse_level(size, (back + half, middle), (half * 0.45, half * 0.5), 0.0) > 0
    image = np.where(bone & body, np.float32(level), image)
    image = np.where(canal & body, np.float32(rng.uniform(0.3, 0.5)), image)
    depth = ndimage.distance_transform_edt(body)
    band = (depth > scale * 8) & (depth < scale * rng.uniform(11, 16))
    ribs = band & (smooth_noise(size, scale * 14, rng) > rng.uniform(0.5, 1.5))
    return np.asarray(np.where(ribs, np.float32(level * 0.95), image), dtype=np.float32)


def with_spots(
    image: NDArray[np.float32],
    other: NDArray[np.float32],
    home: NDArray[np.bool_],
    mask: NDArray[np.bool_],
    rng: Generator,
) -> NDArray[np.float32]:
    """The image with spots brighter or darker than their organ by 0.08 to 0.5."""
    scale = image.shape[0] / 256
    level = float(image[home].mean())
    sign = 1 if level < 0.3 or (level < 0.8 and chance(rng, 0.4)) else -1  # noqa: PLR2004 - dark organs get bright spots
    filling = level + sign * rng.uniform(0.08, 0.5) + rng.uniform(0, 0.15) * centred(other)
    weight = soften(mask, scale * rng.uniform(0.5, 3))
    return np.asarray(image + weight * (filling - image), dtype=np.float32)
