"""Shapes of defects other than one irregular patch: many small ones, and crescents along an edge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from moeclip_med.training.fields import ellipse_level, smooth_noise

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray


def many_small(allowed: NDArray[np.bool_], rng: Generator) -> NDArray[np.bool_]:
    """3 to 14 small ellipses, half-axes 2 to 9 pixels at 256, all inside `allowed` (which holds a pixel)."""
    size = allowed.shape[0]
    scale = size / 256
    level = np.full((size, size), -np.inf, dtype=np.float32)
    for place in rng.choice(np.flatnonzero(allowed), int(rng.integers(3, 15))):
        row, column = divmod(int(place), size)
        first, second = np.maximum(rng.uniform(2, 9, 2) * scale, 1.0)
        level = np.maximum(level, ellipse_level(size, (row, column), (first, second), rng.uniform(0, np.pi)))
    return np.asarray((level > 0) & allowed, dtype=np.bool_)


def crescent(body: NDArray[np.bool_], allowed: NDArray[np.bool_], rng: Generator) -> NDArray[np.bool_]:
    """A band of 3 to 22 pixels at 256 along the body's edge, fading out at both ends, inside `allowed`."""
    size = body.shape[0]
    scale = size / 256
    depth = ndimage.distance_transform_edt(body).astype(np.float32)
    rows, columns = np.nonzero(allowed & (depth < 12 * scale))
    if rows.size == 0:
        return np.zeros_like(body)
    middle = int(rng.integers(rows.size))
    grid = np.mgrid[0:size, 0:size].astype(np.float32)
    distance = np.hypot(grid[0] - rows[middle], grid[1] - columns[middle])
    reach = scale * rng.uniform(25, 80)
    thickness = scale * rng.uniform(3, 22) * np.sqrt(np.clip(1 - (distance / reach) ** 2, 0, 1))
    thickness = thickness * (1 + 0.15 * smooth_noise(size, scale * 12, rng))
    gap = scale * rng.uniform(0, 6)  # what lies outside it: skull, capsule
    return np.asarray((depth > gap) & (depth < gap + thickness) & allowed, dtype=np.bool_)
