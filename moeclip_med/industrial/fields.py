"""Random fields and shapes that synthetic defects are made of.

Every function is pure: the same generator state gives the same array. Lengths are in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray


def chance(rng: Generator, share: float) -> bool:
    """True in the given share of draws."""
    return bool(rng.random() < share)


def enlarge(field: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Resample a (rows, columns) field to (size, size), bicubic."""
    image = Image.fromarray(field.astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32)


def smooth_noise(size: int, sigma: float, rng: Generator) -> NDArray[np.float32]:
    """Gaussian noise blurred with `sigma` pixels, mean 0 and standard deviation 1, (size, size).

    The noise is made on a grid about three samples per sigma wide and enlarged, which costs a fraction of a
    full-size blur and looks the same.
    """
    step = max(1.0, sigma / 3.0)
    coarse = max(4, int(np.ceil(size / step)))
    noise = rng.standard_normal((coarse, coarse), dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, sigma * coarse / size, mode="wrap")
    field = enlarge(noise, size) if coarse != size else noise
    field = field - field.mean()
    deviation = float(field.std())
    return np.asarray(field / deviation if deviation > 0 else field, dtype=np.float32)


def ellipse_level(
    size: int, centre: tuple[float, float], half_axes: tuple[float, float], angle: float
) -> NDArray[np.float32]:
    """A cone over an ellipse: 1 at its centre, 0 on its edge, negative outside, (size, size).

    Args:
        size: Edge length of the field.
        centre: (row, column).
        half_axes: The two half-axes, pixels.
        angle: Rotation in radians.
    """
    rows = np.arange(size, dtype=np.float32)[:, None] - np.float32(centre[0])
    columns = np.arange(size, dtype=np.float32)[None, :] - np.float32(centre[1])
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along = (rows * cosine + columns * sine) / np.float32(half_axes[0])
    across = (columns * cosine - rows * sine) / np.float32(half_axes[1])
    return np.asarray(1 - np.sqrt(along**2 + across**2), dtype=np.float32)


def foreground_mask(size: int, rng: Generator) -> NDArray[np.bool_]:
    """An irregular ellipse that fills most of the image: the placeholder for a body on a black ground."""
    centre = (size * rng.uniform(0.45, 0.55), size * rng.uniform(0.45, 0.55))
    half_axes = (size * rng.uniform(0.34, 0.52), size * rng.uniform(0.30, 0.50))
    level = ellipse_level(size, centre, half_axes, rng.uniform(-0.2, 0.2))
    level = level + np.float32(rng.uniform(0.0, 0.06)) * smooth_noise(size, size * rng.uniform(0.06, 0.2), rng)
    return level > 0


def defect_mask(size: int, rng: Generator, allowed: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """One to three ellipses with noisy edges, thresholded: never empty where `allowed` holds a pixel.

    Half-axes are 4 to 48 pixels at 256 pixels; centres lie inside `allowed`.

    Args:
        size: Edge length.
        rng: Source of randomness.
        allowed: (size, size), where a defect may lie; everywhere if None.
    """
    places = np.flatnonzero(allowed) if allowed is not None else np.arange(size * size)
    if places.size == 0:
        return np.zeros((size, size), dtype=np.bool_)
    scale = size / 256
    level = np.full((size, size), -np.inf, dtype=np.float32)
    for _ in range(int(rng.integers(1, 4))):
        row, column = divmod(int(rng.choice(places)), size)
        first, second = rng.uniform(4, 48, 2) * scale
        level = np.maximum(level, ellipse_level(size, (row, column), (first, second), rng.uniform(0, np.pi)))
    roughness = np.float32(rng.uniform(0.05, 0.4))
    # Noise far from every ellipse must not add specks, and at their centres must not erase them.
    rough = level + roughness * smooth_noise(size, scale * rng.uniform(3, 20), rng)
    mask: NDArray[np.bool_] = np.clip(rough, level - 0.75, level + 1) > 0
    if allowed is not None:
        mask &= allowed
    return mask


def soften(mask: NDArray[np.bool_], sigma: float) -> NDArray[np.float32]:
    """A mask with soft edges, in [0, 1]: blurred with `sigma` pixels."""
    return np.asarray(np.clip(ndimage.gaussian_filter(mask.astype(np.float32), sigma), 0, 1), dtype=np.float32)


def turn_and_shift(
    image: NDArray[np.float32], angle: float, scale: float, shift: tuple[float, float], order: int
) -> NDArray[np.float32]:
    """Rotate (radians), scale and shift (pixels) about the centre; (size, size), zero outside."""
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    matrix = np.array([[cosine, sine], [-sine, cosine]])
    middle = (np.array(image.shape) - 1) / 2
    offset = middle - matrix @ (middle + np.array(shift))
    result = ndimage.affine_transform(image, matrix, offset, order=order, mode="constant", cval=0)
    return np.asarray(result, dtype=np.float32)


def warp(
    images: list[NDArray[np.float32]], amplitude: float, sigma: float, rng: Generator
) -> list[NDArray[np.float32]]:
    """Move pixels by smooth random displacements, the same for all images.

    Args:
        images: (size, size) each.
        amplitude: Standard deviation of the displacement, pixels.
        sigma: How smooth it is, pixels.
        rng: Source of randomness.
    """
    size = images[0].shape[0]
    grid = np.mgrid[0:size, 0:size].astype(np.float32)
    places = [axis + np.float32(amplitude) * smooth_noise(size, sigma, rng) for axis in grid]
    return [
        np.asarray(ndimage.map_coordinates(image, places, order=1, mode="nearest"), dtype=np.float32)
        for image in images
    ]


def ridges(size: int, sigma: float, width: float, rng: Generator) -> NDArray[np.float32]:
    """A network of thin curves, 1 on a curve and 0 away from it: where smooth noise changes its sign.

    Args:
        size: Edge length.
        sigma: Smoothness of the noise, about a third of the distance between curves, pixels.
        width: Width of the curves in units of the noise; 0.1 is thin, 0.4 is broad.
        rng: Source of randomness.
    """
    return np.asarray(np.exp(-((smooth_noise(size, sigma, rng) / width) ** 2)), dtype=np.float32)
