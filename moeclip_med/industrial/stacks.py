"""Stacks of slices from industrial images: they choose what concerns volumes, which single images cannot.

`simulate_stack` makes a body of mirrored texture with defects in 3-D: for the width of the filter along the slices.
`pan_over` moves a window over a real image, which changes slowly from slice to slice and looks like nothing that was
made up: for the threshold of a volume. No medical image is looked at. Values are grey in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage

from moeclip_med.industrial.composites import centred, mirror
from moeclip_med.industrial.fields import chance
from moeclip_med.industrial.synthetic import LUMA

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

_WINDOW = (0.5, 0.85)
"""Side of the window that moves over an image, as a share of the image's shorter side."""

_STRUCTURE_MM = (4.0, 14.0)
_LESION_MM = (2.5, 22.0)


@dataclass(frozen=True)
class Stack:
    """A simulated volume.

    Attributes:
        image: (slices, rows, columns) float32 in [0, 1].
        defect: (slices, rows, columns) True in defects; all False in a normal stack.
    """

    image: NDArray[np.float32]
    defect: NDArray[np.bool_]


def simulate_stack(
    normal: NDArray[np.float32], other: NDArray[np.float32], slices: int, rng: Generator, *, has_defect: bool
) -> Stack:
    """Simulate a volume whose voxels are 1 mm wide.

    The body is an irregular ellipsoid of mirrored texture, which drifts across the crop from slice to slice; paired
    ellipsoids are normal structure; a smooth field of light, an unmirrored texture, and noise that differs in every
    slice break perfect symmetry. Defects are one to four ellipsoids with half-axes of 2.5 to 22 mm.

    Args:
        normal: (size, size, 3) in [0, 1], a crop without a defect.
        other: (size, size, 3) in [0, 1], a second texture.
        slices: How many slices.
        rng: Source of randomness.
        has_defect: Whether it has defects.
    """
    size = normal.shape[0]
    shape = (slices, size, size)
    body = _level(shape, rng.uniform(0.42, 0.58, 3), (slices * 0.6, size * 0.44, size * 0.38)) > 0
    ground = _drifting(mirror(centred(normal @ LUMA)), slices, rng)
    grain = _drifting(centred(other @ LUMA), slices, rng)
    image = rng.uniform(0.25, 0.6) + rng.uniform(0.15, 0.8) * (0.85 * ground + 0.15 * grain)
    for _ in range(int(rng.integers(3, 9))):
        image += _pair(shape, float(image.mean()), rng)
    image *= 1 + rng.uniform(0.0, 0.25) * _smooth_field(shape, rng)
    defect = np.zeros(shape, dtype=bool)
    if has_defect:
        defect = _defects(body, rng)
        step = (1 if chance(rng, 0.75) else -1) * rng.uniform(0.15, 0.9) * float(image.mean())
        softened = ndimage.gaussian_filter(defect.astype(np.float32), rng.uniform(0.7, 3))
        image += step * softened * (1 + 0.3 * _smooth_field(shape, rng))
    image = np.clip(image, 0, 1) * ndimage.gaussian_filter(body.astype(np.float32), 1.0)
    image += rng.uniform(0.005, 0.05) * rng.standard_normal(shape, dtype=np.float32) * body
    return Stack(np.clip(image, 0, 1).astype(np.float32), defect)


def pan_over(
    pixels: NDArray[np.uint8], mask: NDArray[np.bool_] | None, size: int, slices: int, rng: Generator
) -> Stack:
    """Move a window over an image, from one place and side to another, in a straight line.

    Every second stack is cut by an ellipsoid, as a body in air. Noise differs in every slice.

    Args:
        pixels: (rows, columns) or (rows, columns, 3) uint8.
        mask: (rows, columns) True in defects; None for a normal image.
        size: Edge length of a slice, pixels.
        slices: How many slices.
        rng: Source of randomness.
    """
    rows, columns = pixels.shape[:2]
    ends = [_window(rows, columns, rng) for _ in range(2)]
    picture = Image.fromarray(pixels).convert("L")
    marked = Image.fromarray(np.zeros((rows, columns), dtype=bool) if mask is None else mask)
    image, defect = np.empty((slices, size, size), dtype=np.float32), np.zeros((slices, size, size), dtype=bool)
    for index, share in enumerate(np.linspace(0, 1, slices)):
        left, top, side = (1 - share) * ends[0] + share * ends[1]
        box = (left, top, left + side, top + side)
        image[index] = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR, box=box)) / np.float32(255)
        defect[index] = np.asarray(marked.resize((size, size), Image.Resampling.NEAREST, box=box))
    body = np.ones(image.shape, dtype=bool)
    if chance(rng, 0.5):
        axes = (slices * 0.7, size * rng.uniform(0.38, 0.47), size * rng.uniform(0.34, 0.44))
        body = _level(image.shape, rng.uniform(0.46, 0.54, 3), axes) > 0
        image *= ndimage.gaussian_filter(body.astype(np.float32), 1.0)
    image += rng.uniform(0.003, 0.03) * rng.standard_normal(image.shape, dtype=np.float32) * body
    return Stack(np.clip(image, 0, 1).astype(np.float32), defect & body)


def _window(rows: int, columns: int, rng: Generator) -> NDArray[np.float64]:
    """A random square inside an image: left, top, side."""
    side = min(rows, columns) * rng.uniform(*_WINDOW)
    return np.array([rng.uniform(0, columns - side), rng.uniform(0, rows - side), side])


def _drifting(field: NDArray[np.float32], slices: int, rng: Generator) -> NDArray[np.float32]:
    """A texture that moves by a fraction of a pixel per slice along the mirror axis, and blends into its own warp."""
    speed = rng.uniform(0.2, 0.8)
    planes = [
        ndimage.shift(field, (speed * (index - slices / 2), 0), order=1, mode="reflect") for index in range(slices)
    ]
    stack = np.stack(planes).astype(np.float32)
    return np.asarray(ndimage.gaussian_filter1d(stack, rng.uniform(0.8, 2.5), axis=0), dtype=np.float32)


def _pair(shape: tuple[int, int, int], mean: float, rng: Generator) -> NDArray[np.float32]:
    """An ellipsoid and its mirror twin, darker in three of four."""
    half_axes = rng.uniform(*_STRUCTURE_MM, 3) * rng.choice([1.0, 2.0])
    centre = np.array([rng.uniform(0.1, 0.9), rng.uniform(0.2, 0.8), rng.uniform(0.15, 0.47)])
    twin = centre * [1, 1, -1] + [0, 0, 1]
    pair = np.maximum(_level(shape, centre, half_axes), _level(shape, twin, half_axes * rng.uniform(0.94, 1.06)))
    sign = -1 if chance(rng, 0.75) else 1
    step = sign * rng.uniform(0.2, 0.8) * mean
    softened = ndimage.gaussian_filter((pair > 0).astype(np.float32), rng.uniform(0.5, 2))
    return np.asarray(step * softened, dtype=np.float32)


def _defects(body: NDArray[np.bool_], rng: Generator) -> NDArray[np.bool_]:
    """One to four ellipsoids inside the body, sizes on a logarithmic scale."""
    places = np.argwhere(ndimage.binary_erosion(body, iterations=4)[::2, ::4, ::4]) * [2, 4, 4]
    level = np.full(body.shape, -np.inf, dtype=np.float32)
    typical = np.exp(rng.uniform(*np.log(_LESION_MM)))
    for _ in range(int(rng.integers(1, 5))):
        centre = places[rng.integers(len(places))] / np.array(body.shape)
        level = np.maximum(level, _level(body.shape, centre, np.maximum(typical * rng.uniform(0.6, 1.4, 3), 1.5)))
    return np.asarray((level > 0) & body)


def _level(
    shape: tuple[int, ...], centre: NDArray[np.float64], half_axes: NDArray[np.float64] | tuple[float, float, float]
) -> NDArray[np.float32]:
    """1 at the centre (given as shares of the shape), 0 on the ellipsoid, negative outside."""
    grids = np.ogrid[tuple(slice(0, size) for size in shape)]
    squares = sum(
        ((grid - share * size) / half) ** 2
        for grid, share, size, half in zip(grids, centre, shape, half_axes, strict=True)
    )
    return np.asarray(1 - np.sqrt(squares), dtype=np.float32)


def _smooth_field(shape: tuple[int, int, int], rng: Generator) -> NDArray[np.float32]:
    """Smooth noise between -1 and 1, tens of mm from hill to hill."""
    coarse = rng.standard_normal(tuple(max(2, round(size / 40)) + 2 for size in shape))
    zoomed = ndimage.zoom(coarse, [size / part for size, part in zip(shape, coarse.shape, strict=True)], order=3)
    return np.asarray(zoomed / max(float(np.abs(zoomed).max()), 1e-6), dtype=np.float32)
