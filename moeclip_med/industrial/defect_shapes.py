"""Shapes of defects other than one irregular patch: small ones, spots, rings, and crescents along an edge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from moeclip_med.industrial.fields import ellipse_level, smooth_noise

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


def tiny(allowed: NDArray[np.bool_], rng: Generator) -> NDArray[np.bool_]:
    """2 to 25 spots of 2 to 6 pixels across at 256, in a loose group, inside `allowed`."""
    size = allowed.shape[0]
    scale = size / 256
    places = np.flatnonzero(allowed)
    if places.size == 0:
        return np.zeros_like(allowed)
    level = np.full((size, size), -np.inf, dtype=np.float32)
    middle = divmod(int(rng.choice(places)), size)
    reach = size * np.exp(rng.uniform(np.log(0.05), np.log(0.6)))
    for _ in range(int(rng.integers(2, 26))):
        row, column = rng.normal(middle, reach)
        first, second = np.maximum(rng.uniform(1, 3, 2) * scale, 0.8)
        level = np.maximum(level, ellipse_level(size, (row, column), (first, second), rng.uniform(0, np.pi)))
    return np.asarray((level > 0) & allowed, dtype=np.bool_)


def spots(allowed: NDArray[np.bool_], rng: Generator) -> NDArray[np.bool_]:
    """One to six roundish patches of one order of size, half-axes from 2 to 45 pixels at 256, inside `allowed`.

    Sizes are drawn on a logarithmic scale, so that small spots are as common as large ones.
    """
    size = allowed.shape[0]
    scale = size / 256
    places = np.flatnonzero(allowed)
    level = np.full((size, size), -np.inf, dtype=np.float32)
    if places.size == 0:
        return np.zeros_like(allowed)
    typical = scale * np.exp(rng.uniform(np.log(2.5), np.log(40)))
    for place in rng.choice(places, int(rng.integers(1, 7))):
        row, column = divmod(int(place), size)
        first, second = np.maximum(typical * rng.uniform(0.6, 1.3, 2), 1.0)
        cone = ellipse_level(size, (row, column), (first, second), rng.uniform(0, np.pi))
        level = np.maximum(level, cone)
    rough = level + np.float32(rng.uniform(0, 0.35)) * smooth_noise(size, max(typical * rng.uniform(0.3, 1), 1.0), rng)
    return np.asarray((np.clip(rough, level - 0.5, level + 0.6) > 0) & allowed, dtype=np.bool_)


def ring(allowed: NDArray[np.bool_], rng: Generator) -> NDArray[np.bool_]:
    """The border of one roundish patch, 2 to 8 pixels broad at 256, inside `allowed`."""
    size = allowed.shape[0]
    scale = size / 256
    places = np.flatnonzero(allowed)
    if places.size == 0:
        return np.zeros_like(allowed)
    row, column = divmod(int(rng.choice(places)), size)
    first, second = scale * rng.uniform(8, 36, 2)
    level = ellipse_level(size, (row, column), (first, second), rng.uniform(0, np.pi))
    level = level + np.float32(0.1) * smooth_noise(size, scale * 10, rng)
    breadth = np.float32(scale * rng.uniform(2, 8) / min(first, second))
    return np.asarray((level > 0) & (level < breadth) & allowed, dtype=np.bool_)


def crescent(body: NDArray[np.bool_], allowed: NDArray[np.bool_], rng: Generator) -> NDArray[np.bool_]:
    """A band of 3 to 22 pixels at 256 along the body's edge, fading out at both ends, inside `allowed`.

    It is empty only where `allowed` holds no pixel near the edge: a band too thin for the grid is one pixel.
    """
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
    band = (depth > gap) & (depth < gap + thickness) & allowed
    if not band.any():
        band[rows[middle], columns[middle]] = True
    return np.asarray(band, dtype=np.bool_)
