"""Square crops of industrial images, and how they vary in light and colour."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage

from moeclip_med.industrial.fields import chance, foreground_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from moeclip_med.industrial.datasets import IndustrialImage

SMALLEST_AREA = 0.35
"""A crop covers 35 to 100 % of the largest square's area."""


class CropSource:
    """Industrial images held in memory as bytes (about 1 byte per pixel and channel), cropped on demand."""

    def __init__(self, images: Sequence[IndustrialImage]) -> None:
        self.images = tuple(images)
        sizes = Counter(image.category for image in self.images)
        weights = np.array([sizes[image.category] ** -0.5 for image in self.images])
        self._chances = weights / weights.sum()
        self._pixels: dict[int, tuple[NDArray[np.uint8], NDArray[np.bool_] | None]] = {}

    def __len__(self) -> int:
        return len(self.images)

    def crop(self, index: int, size: int, rng: Generator) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """A random square of one image, turned by a multiple of 90° and perhaps flipped.

        Args:
            index: Which image.
            size: Edge length of the result, pixels.
            rng: Source of randomness. Where the image is defective, 70 % of the crops hold a masked pixel.

        Returns:
            (size, size, 3) float32 in [0, 1] and (size, size) bool.
        """
        pixels, mask = self.pixels(index)
        box = random_square(pixels.shape[0], pixels.shape[1], mask, rng)
        image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR, box=box)
        crop = np.asarray(image, dtype=np.float32) / 255
        if image.mode == "L":
            crop = np.repeat(crop[..., None], 3, axis=2)
        small = np.zeros((size, size), dtype=np.bool_)
        if mask is not None:
            resized = Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST, box=box)
            small = np.asarray(resized, dtype=np.bool_)
        turns = int(rng.integers(0, 4))
        crop, small = np.rot90(crop, turns), np.rot90(small, turns)
        if chance(rng, 0.5):
            crop, small = crop[:, ::-1], small[:, ::-1]
        return np.ascontiguousarray(crop), np.ascontiguousarray(small)

    def any_crop(self, size: int, rng: Generator) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """A crop of an image drawn so that a category's chance grows with the root of its size."""
        return self.crop(int(rng.choice(len(self.images), p=self._chances)), size, rng)

    def pixels(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """The whole image and its mask (None where normal), decoded once."""
        if index not in self._pixels:
            image = self.images[index]
            self._pixels[index] = (image.read(), None if image.mask is None else image.read_mask())
        return self._pixels[index]


def random_square(rows: int, columns: int, mask: NDArray[np.bool_] | None, rng: Generator) -> tuple[int, int, int, int]:
    """A random square as (left, upper, right, lower), inside an image of the given size."""
    side = max(1, round(min(rows, columns) * float(np.sqrt(rng.uniform(SMALLEST_AREA, 1)))))
    top, left = int(rng.integers(0, rows - side + 1)), int(rng.integers(0, columns - side + 1))
    if mask is not None and mask.any() and chance(rng, 0.7):
        row, column = divmod(int(rng.choice(np.flatnonzero(mask))), columns)
        top = int(rng.integers(max(0, row - side + 1), min(row, rows - side) + 1))
        left = int(rng.integers(max(0, column - side + 1), min(column, columns - side) + 1))
    return left, top, left + side, top + side


def photometric(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Contrast ×0.6-1.5, brightness ×0.6-1.4, a colour cast, inversion (15 %), blur (30 %); in [0, 1]."""
    mean = float(image.mean())
    image = (image - mean) * np.float32(rng.uniform(0.6, 1.5)) + mean
    image = image * np.float32(rng.uniform(0.6, 1.4))
    if chance(rng, 0.4):
        image = image * rng.uniform(0.8, 1.2, 3).astype(np.float32)
    image = np.clip(image, 0, 1)
    if chance(rng, 0.15):
        image = 1 - image
    if chance(rng, 0.3):
        sigma = image.shape[0] / 256 * rng.uniform(0.4, 1.6)
        image = ndimage.gaussian_filter(image, (sigma, sigma, 0))
    return image.astype(np.float32)


def cut_by_ellipse(
    image: NDArray[np.float32], mask: NDArray[np.bool_], rng: Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Black outside an irregular ellipse, as around a body; the mask is cut likewise."""
    body = foreground_mask(image.shape[0], rng)
    return image * body[..., None], mask & body
