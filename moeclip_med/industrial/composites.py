"""Mirror-symmetric composites of industrial texture, with defects that break the symmetry.

This is a prior put into the data: what has a mirror twin is normal. It imitates how heads are built without showing
one; a model trained on it is weak where a lesion lies on the midline or on both sides alike.

Images are (size, size, 3) float32 in [0, 1], grey; masks (size, size) bool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from moeclip_med.industrial.defect_shapes import crescent, many_small, ring, spots, tiny
from moeclip_med.industrial.fields import (
    chance,
    defect_mask,
    ellipse_level,
    foreground_mask,
    ridges,
    smooth_noise,
    soften,
    turn_and_shift,
    warp,
)
from moeclip_med.industrial.synthetic import LUMA, grey_of, only_if_visible

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

DARK_SHARE = 0.75
"""Share of normal paired structures that are darker than their surroundings, as fluid is on most images."""


def symmetric_composite(
    normal: NDArray[np.float32], other: NDArray[np.float32], rng: Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A mirrored composite; in 65 % of the cases with a defect, four of five confined to one half.

    Args:
        normal: (size, size, 3) in [0, 1], a crop without a defect, mirrored into the body of the composite.
        other: (size, size, 3) in [0, 1], a second texture: a little of it breaks perfect symmetry everywhere.
        rng: Source of randomness.

    Returns:
        The composite, and where its defect is (all False where it has none).
    """
    size = normal.shape[0]
    image, body = symmetric_body(normal, other, rng)
    mask = np.zeros((size, size), dtype=np.bool_)
    if chance(rng, 0.65):
        mask = composite_mask(body, rng)
        image, mask = only_if_visible(image, add_defect(image, other @ LUMA, mask, rng), mask)
    if chance(rng, 0.5):
        image = uneven_light(image, rng)
    image = np.clip(image, 0, 1) * soften(body, 1.0)
    if chance(rng, 0.4):
        image = add_rim(image, body, rng)
    image, mask = place(image, mask, rng)
    if chance(rng, 0.4):
        image = np.abs(image + rng.uniform(0.005, 0.06) * rng.standard_normal((size, size), dtype=np.float32))
    if chance(rng, 0.5):
        image = ndimage.gaussian_filter(image, size / 256 * rng.uniform(0.4, 1.6))
    return grey_of(np.clip(image, 0, 1)), mask


def symmetric_body(
    normal: NDArray[np.float32], other: NDArray[np.float32], rng: Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The normal part: mirrored ground, paired structures, folds, midline, then a warp that no half shares.

    Returns:
        (size, size) grey values, and (size, size) where the body is.
    """
    size = normal.shape[0]
    scale = size / 256
    image = symmetric_ground(normal, other, rng)
    if chance(rng, 0.5):
        image = add_folds(image, rng)
    for _ in range(int(rng.integers(0, 6))):
        image = add_pair(image, rng)
    if chance(rng, 0.6):
        image = add_midline(image, rng)
    body = foreground_mask(size, rng)
    body |= body[:, ::-1]
    if chance(rng, 0.6):
        # Bodies are symmetric only roughly: structures shift by a few pixels between the halves.
        (image,) = warp([image], scale * rng.uniform(0.5, 4), scale * rng.uniform(10, 40), rng)
    return image, body


def mirror(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """The left half mirrored onto the right."""
    half = field.shape[1] // 2
    mirrored = field.copy()
    mirrored[:, -half:] = field[:, :half][:, ::-1]
    return mirrored


def symmetric_ground(normal: NDArray[np.float32], other: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Mirrored texture at a drawn contrast and mean, with 15 % of an unmirrored texture mixed in."""
    contrast, mean = rng.uniform(0.15, 0.8), rng.uniform(60, 160) / 255
    ground = mirror(centred(normal @ LUMA))
    ground = 0.85 * ground + 0.15 * centred(other @ LUMA)
    return np.asarray(mean + contrast * ground, dtype=np.float32)


def centred(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """The field with mean zero."""
    return np.asarray(field - field.mean(), dtype=np.float32)


def add_folds(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """A mirrored network of dark or bright curves, stronger towards the outside, as folds of a surface are."""
    size = image.shape[0]
    scale = size / 256
    curves = mirror(ridges(size, scale * rng.uniform(5, 14), rng.uniform(0.12, 0.45), rng))
    depth = np.clip(1.1 - ellipse_level(size, (size / 2, size / 2), (size * 0.42, size * 0.38), 0) * 1.4, 0, 1)
    sign = -1 if chance(rng, DARK_SHARE) else 1
    step = sign * rng.uniform(0.1, 0.6) * float(image.mean())
    return np.asarray(image + step * depth * curves, dtype=np.float32)


def add_pair(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Normal structure: an ellipse and its mirror twin, jittered by 1 to 2 px, softened."""
    size = image.shape[0]
    scale = size / 256
    row, offset = size * rng.uniform(0.2, 0.8), size * rng.uniform(0.02, 0.32)
    half_axes = (scale * rng.uniform(3, 40), scale * rng.uniform(3, 26))
    angle = rng.uniform(-np.pi / 2, np.pi / 2)
    weight = np.zeros((size, size), dtype=np.float32)
    for side in (-1, 1):
        jitter = rng.uniform(-2, 2, 2) * scale
        centre = (row + jitter[0], size / 2 + side * offset + jitter[1])
        grown = tuple(axis * rng.uniform(0.94, 1.06) for axis in half_axes)
        # Positive angles turn rows towards columns, so the twin's angle has the opposite sign.
        level = ellipse_level(size, centre, (grown[0], grown[1]), side * angle)
        weight = np.maximum(weight, (level > 0).astype(np.float32))
    weight = ndimage.gaussian_filter(weight, scale * rng.uniform(0.5, 3))
    sign = -1 if chance(rng, DARK_SHARE) else 1
    step = sign * rng.uniform(0.2, 0.9) * float(image.mean())
    return np.asarray(image + weight * step, dtype=np.float32)


def add_midline(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """A dark or bright line along the mirror axis, over part of the height."""
    size = image.shape[0]
    scale = size / 256
    width = scale * rng.uniform(0.7, 4)
    columns = np.arange(size, dtype=np.float32) - (size - 1) / 2
    profile = np.exp(-0.5 * (columns / width) ** 2)
    start, stop = sorted(rng.uniform(0, size, 2))
    rows = np.arange(size, dtype=np.float32)
    along = 1 / (1 + np.exp(-(rows - start) / (3 * scale))) / (1 + np.exp((rows - stop) / (3 * scale)))
    step = rng.choice([-1.0, 1.0]) * rng.uniform(0.2, 0.8) * float(image.mean())
    return np.asarray(image + step * along[:, None] * profile[None, :], dtype=np.float32)


def composite_mask(body: NDArray[np.bool_], rng: Generator) -> NDArray[np.bool_]:
    """Where a composite's defect lies.

    An irregular shape (42 %), roundish spots of any size (18 %), many small ones (12 %), tiny ones (15 %, in half of
    the cases doubled in the other half), a crescent (10 %), a ring.
    """
    allowed = one_half(body, rng) if chance(rng, 0.8) else body
    kind = rng.choice(["shape", "spots", "small", "tiny", "crescent", "ring"], p=[0.42, 0.18, 0.12, 0.15, 0.10, 0.03])
    if kind == "tiny":
        mask = tiny(body if chance(rng, 0.7) else allowed, rng)
        return mask | (_doubled(mask, rng) & body) if chance(rng, 0.5) else mask
    if kind == "spots":
        return spots(allowed, rng)
    if kind == "ring":
        return ring(allowed, rng)
    if kind == "small":
        return many_small(body if chance(rng, 0.7) else allowed, rng)
    if kind == "crescent":
        return crescent(body, allowed, rng)
    return defect_mask(body.shape[0], rng, allowed)


def _doubled(mask: NDArray[np.bool_], rng: Generator) -> NDArray[np.bool_]:
    """The mask mirrored, shifted by up to 6 px: alike spots on both sides are defects too."""
    shift = rng.integers(-6, 7, 2) * mask.shape[0] // 256
    return np.roll(mask[:, ::-1], (int(shift[0]), int(shift[1])), axis=(0, 1))


def one_half(body: NDArray[np.bool_], rng: Generator) -> NDArray[np.bool_]:
    """The body left or right of the mirror axis."""
    half = body.copy()
    middle = body.shape[1] // 2
    if chance(rng, 0.5):
        half[:, middle:] = False
    else:
        half[:, :middle] = False
    return half


def add_defect(
    image: NDArray[np.float32], other: NDArray[np.float32], mask: NDArray[np.bool_], rng: Generator
) -> NDArray[np.float32]:
    """A shift of 0.15 to 0.9 of the mean with noise (brighter in three of four), or another texture (20 %)."""
    size = image.shape[0]
    scale = size / 256
    mean = max(float(image.mean()), 0.1)
    step = (1 if chance(rng, 0.75) else -1) * rng.uniform(0.15, 0.9) * mean
    if chance(rng, 0.2):
        filling = mean + step + rng.uniform(0.3, 1.0) * centred(other)
    else:
        noise = smooth_noise(size, scale * rng.uniform(1, 8), rng)
        filling = image + step * (1 + rng.uniform(0, 0.3) * noise)
    weight = soften(mask, scale * rng.choice([rng.uniform(0.5, 3), rng.uniform(3, 6)], p=[0.75, 0.25]))
    return np.asarray(image + weight * (filling - image), dtype=np.float32)


def uneven_light(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """A slow factor of up to ±30 % that no half shares, as a receiving coil leaves: normal."""
    size = image.shape[0]
    field = smooth_noise(size, size * rng.uniform(0.2, 0.5), rng)
    return np.asarray(image * (1 + rng.uniform(0, 0.3) * field / max(float(np.abs(field).max()), 1e-6)), np.float32)


def add_rim(image: NDArray[np.float32], body: NDArray[np.bool_], rng: Generator) -> NDArray[np.float32]:
    """A bright band along the body's edge, at times with a dark gap inside it."""
    size = image.shape[0]
    scale = size / 256
    depth = ndimage.distance_transform_edt(body).astype(np.float32)
    width = scale * rng.uniform(2, 9)
    rim = ((depth > 0) & (depth <= width)).astype(np.float32)
    gap = ((depth > width) & (depth <= width + scale * rng.uniform(0, 7))).astype(np.float32)
    image = image * (1 - rng.uniform(0.3, 0.95) * gap) if chance(rng, 0.6) else image
    level = rng.uniform(0.5, 1.0)
    edge = ndimage.gaussian_filter(rim, 0.7 * scale)
    return np.asarray(image + edge * (level - image), dtype=np.float32)


def place(
    image: NDArray[np.float32], mask: NDArray[np.bool_], rng: Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Rotate by ±8°, scale by 0.95 to 1.1, shift by ±5 px: the mirror axis is never exactly in the middle."""
    size = image.shape[0]
    angle, scale = np.deg2rad(rng.uniform(-8, 8)), rng.uniform(0.95, 1.1)
    shift = rng.uniform(-5, 5, 2) * size / 256
    offset = (float(shift[0]), float(shift[1]))
    placed = turn_and_shift(image, angle, scale, offset, order=1)
    placed_mask = turn_and_shift(mask.astype(np.float32), angle, scale, offset, order=0) > 0
    return placed, placed_mask
