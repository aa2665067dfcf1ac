"""Composites of wavy layers with speckle: layered tissue in profile, with holes, deposits and bulges as defects.

Prior put into the data: layers that run through are normal, what interrupts them is not. Images are (size, size, 3)
float32 in [0, 1], grey; masks (size, size) bool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from moeclip_med.industrial.composites import centred
from moeclip_med.industrial.defect_shapes import many_small
from moeclip_med.industrial.fields import chance, defect_mask, ellipse_level, smooth_noise, soften
from moeclip_med.industrial.synthetic import LUMA, grey_of, only_if_visible

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray


VISIBLE_LIFT = 0.15
"""Share of a bulge's lift from which its pixels count as defective."""


def layered_composite(
    normal: NDArray[np.float32], other: NDArray[np.float32], rng: Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Layers between darkness above and fading below; in 65 % of the cases with a defect.

    Args:
        normal: (size, size, 3) in [0, 1], texture within the layers.
        other: (size, size, 3) in [0, 1], texture that a defect may have.
        rng: Source of randomness.

    Returns:
        The composite, and where its defect is (all False where it has none).
    """
    size = normal.shape[0]
    scale = size / 256
    depth, bounds = depth_field(size, rng)
    mask = np.zeros((size, size), dtype=np.bool_)
    has_defect = chance(rng, 0.65)
    kind = str(rng.choice(["fill", "bulge"], p=[0.65, 0.35]))
    tissue = (depth > bounds[0]) & (depth < bounds[-1])
    if has_defect and kind == "bulge" and tissue.any():
        depth, mask = bulge(depth, tissue, rng)
    levels = rng.uniform(0.1, 0.9, len(bounds) + 1)
    levels[0] = rng.uniform(0, 0.12)
    image = np.full((size, size), levels[0], dtype=np.float32)
    for bound, before, after in zip(bounds, levels[:-1], levels[1:], strict=True):
        image = image + (after - before) / (1 + np.exp(-(depth - bound) / (scale * rng.uniform(0.5, 2))))
    below = np.clip(depth - bounds[-1], 0, None)
    image = image * np.exp(-below / (size * rng.uniform(0.05, 0.4))) + rng.uniform(0.05, 0.4) * centred(normal @ LUMA)
    if has_defect and kind == "fill" and tissue.any():
        mask = defect_mask(size, rng, tissue) if chance(rng, 0.6) else many_small(tissue, rng)
        step = rng.uniform(0.15, 0.6) * (-1 if chance(rng, 0.6) else 1)
        filling = image.mean() + step + rng.uniform(0, 0.5) * centred(other @ LUMA)
        filled = image + soften(mask, scale * rng.uniform(0.5, 2.5)) * (filling - image)
        image, mask = only_if_visible(image, filled, mask)
    speckle = ndimage.gaussian_filter(rng.standard_normal((size, size)), scale * rng.uniform(0.4, 1.4))
    image = image * (1 + rng.uniform(0, 0.35) * speckle / max(float(speckle.std()), 1e-6)) + rng.uniform(0, 0.06)
    return grey_of(np.clip(image, 0, 1)), mask


def depth_field(size: int, rng: Generator) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """How deep each pixel lies below the surface, pixels, and the depths at which layers end.

    The surface is tilted, curved and wavy; all layers follow it.
    """
    columns = np.linspace(-1, 1, size)
    wave = smooth_noise(size, size * rng.uniform(0.1, 0.3), rng)[0] * size * rng.uniform(0, 0.04)
    surface = size * (
        rng.uniform(0.15, 0.45) + rng.uniform(-0.15, 0.15) * columns + rng.uniform(-0.15, 0.15) * columns**2
    )
    rows = np.arange(size)[:, None]
    depth = rows - (surface + wave)[None, :] + smooth_noise(size, size * 0.1, rng) * size * rng.uniform(0, 0.01)
    thickness = rng.uniform(0.015, 0.12, int(rng.integers(3, 9))) * size
    bounds = np.concatenate([[0.0], np.cumsum(thickness)])
    return np.asarray(depth, dtype=np.float32), bounds


def bulge(
    depth: NDArray[np.float32], tissue: NDArray[np.bool_], rng: Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Lift the layers over an ellipse: the new depths, and where they moved visibly."""
    size = depth.shape[0]
    scale = size / 256
    row, column = divmod(int(rng.choice(np.flatnonzero(tissue))), size)
    half_axes = (scale * rng.uniform(10, 40), scale * rng.uniform(12, 50))
    weight = np.clip(ellipse_level(size, (row, column), half_axes, 0.0), 0, 1)
    lift = scale * rng.uniform(8, 30) * (1 if chance(rng, 0.75) else -1)
    return np.asarray(depth + lift * weight, dtype=np.float32), np.asarray(weight > VISIBLE_LIFT, dtype=np.bool_)
