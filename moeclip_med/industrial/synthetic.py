"""Synthetic defects on normal industrial crops.

A detector that has only seen factory defects takes every dark hole for one. These defects have no preferred
appearance: what they share is that they differ from their surroundings.

Images are (size, size, 3) float32 in [0, 1]; masks (size, size) bool, True on the defect. Everything is a
function of its arguments and the generator's state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from moeclip_med.industrial.defect_shapes import spots
from moeclip_med.industrial.fields import chance, defect_mask, foreground_mask, smooth_noise, soften

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

SMALLEST_CHANGE = 0.015
"""A fill that changes the masked pixels by less than this on average (of 1) would be an invisible defect."""

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def grey_of(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """A (size, size) field as an image of three equal channels."""
    return np.repeat(field.astype(np.float32)[..., None], 3, axis=2)


def to_grey(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Three equal channels of luma (ITU-R BT.601)."""
    return grey_of(image @ LUMA)


def vary(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Normal variation: a slow multiplicative field of up to 35 %."""
    size = image.shape[0]
    field = smooth_noise(size, size / 256 * rng.uniform(20, 60), rng)
    field /= max(float(np.abs(field).max()), 1e-6)
    return np.clip(image * (1 + np.float32(rng.uniform(0, 0.35)) * field[..., None]), 0, 1)


def fill_by_shift(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Intensity shifted by 0.7 to 3 standard deviations of the crop, either way, with noise."""
    size = image.shape[0]
    deviation = max(float(image.std()), 0.03)
    step = deviation * rng.uniform(0.7, 3.0) * rng.choice([-1.0, 1.0])
    tint = 1 + 0.3 * rng.standard_normal(3) if chance(rng, 0.3) else np.ones(3)
    noise = smooth_noise(size, size / 256 * rng.uniform(1, 6), rng)[..., None]
    return np.asarray(image + step * tint + deviation * rng.uniform(0, 0.5) * noise, dtype=np.float32)


def fill_by_blur(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """The crop itself without its texture, a little brighter or darker."""
    sigma = image.shape[0] / 256 * rng.uniform(2, 7)
    blurred = ndimage.gaussian_filter(image, (sigma, sigma, 0))
    return np.asarray(blurred * rng.choice([rng.uniform(0.6, 0.9), rng.uniform(1.1, 1.5)]), dtype=np.float32)


def fill_by_copy(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """The crop itself, displaced by at least an eighth of its size and turned by a multiple of 90°."""
    size = image.shape[0]
    shift = rng.integers(size // 8, size - size // 8, 2)
    turned = np.rot90(image, int(rng.integers(1, 4)))
    return np.roll(turned, tuple(int(step) for step in shift), axis=(0, 1))


def fill(image: NDArray[np.float32], other: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """What the defect is filled with: a shift (45 %), another texture (20 %), blur (15 %), a copy (20 %)."""
    kind = rng.choice(["shift", "other", "blur", "copy"], p=[0.45, 0.20, 0.15, 0.20])
    if kind == "other":
        return other
    fillers = {"shift": fill_by_shift, "blur": fill_by_blur, "copy": fill_by_copy}
    return fillers[str(kind)](image, rng)


def blend(
    image: NDArray[np.float32], filling: NDArray[np.float32], mask: NDArray[np.bool_], edge: float
) -> NDArray[np.float32]:
    """Put `filling` where `mask` is, with an edge of `edge` pixels; the result lies in [0, 1]."""
    weight = soften(mask, edge)[..., None]
    return np.clip(image + weight * (filling - image), 0, 1).astype(np.float32)


def synthetic_defect(
    normal: NDArray[np.float32], other: NDArray[np.float32], rng: Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A normal crop, varied; in 70 % of the cases with a defect.

    Args:
        normal: (size, size, 3) in [0, 1], a crop without a defect.
        other: (size, size, 3) in [0, 1], another texture that a defect may be filled with.
        rng: Source of randomness.

    Returns:
        The image, and where its defect is (all False where it has none).
    """
    size = normal.shape[0]
    image = vary(normal, rng)
    if chance(rng, 0.6):
        image, other = to_grey(image), to_grey(other)
    allowed = foreground_mask(size, rng) if chance(rng, 0.6) else np.ones((size, size), dtype=np.bool_)
    mask = np.zeros((size, size), dtype=np.bool_)
    if chance(rng, 0.7):
        candidate = spots(allowed, rng) if chance(rng, 0.35) else defect_mask(size, rng, allowed)
        filling = fill(image, other, rng)
        if not visible(image, filling, candidate):
            filling = fill_by_shift(image, rng)
        if visible(image, filling, candidate):
            image = blend(image, filling, candidate, size / 256 * rng.uniform(0.5, 3))
            mask = candidate
    return (image * allowed[..., None]).astype(np.float32), mask


def only_if_visible(
    before: NDArray[np.float32], after: NDArray[np.float32], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The image with its defect, or the image before and an empty mask where nobody could see it."""
    if visible(before, after, mask):
        return after, mask
    return before, np.zeros_like(mask)


def visible(image: NDArray[np.float32], filling: NDArray[np.float32], mask: NDArray[np.bool_]) -> bool:
    """Whether the filling changes the masked pixels enough to be called a defect."""
    if not mask.any():
        return False
    change = np.abs(np.clip(filling[mask], 0, 1) - image[mask])
    return float(change.mean()) >= SMALLEST_CHANGE
