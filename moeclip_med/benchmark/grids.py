"""Put a mask or a map of another grid onto an image's grid, where both say where the patient is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from moeclip_transforms.errors import InputError
from moeclip_transforms.geometry import Affine
from moeclip_transforms.same_grid import grid_distance
from scipy import ndimage

if TYPE_CHECKING:
    from moeclip_transforms import Volume
    from numpy.typing import NDArray

_SMALLEST_COVER = 0.5
"""The least share of the image that a grid of another program has to cover."""


def onto_grid(
    values: NDArray[Any], affine: Affine, volume: Volume, *, nearest: bool, needs_cover: bool = True
) -> tuple[NDArray[np.float32], str]:
    """Put values onto the grid of an image.

    Args:
        values: (i, j, k) on a grid of their own.
        affine: Of that grid.
        volume: The image.
        nearest: Take the nearest value (masks) rather than interpolate between neighbours (maps).
        needs_cover: Refuse values that lie beside most of the image. False for segments, which cover little of it.

    Returns:
        (x, y, z) float32 on the image's grid, 0 where the other grid does not reach; and what was done, "" where the
        grids are the same (axes in another order or direction included).

    Raises:
        InputError: If the grids do not lie over each other.
    """
    matrix = np.linalg.inv(affine.matrix) @ volume.affine.matrix
    rounded = np.rint(matrix)
    is_exact = (
        _only_turned(rounded) and grid_distance(volume.affine, Affine(affine.matrix @ rounded), volume.shape).is_same
    )
    used = rounded if is_exact else matrix
    order = 0 if nearest or is_exact else 1
    inside = _cover(used, values.shape, volume.shape)
    if inside == 0 or (needs_cover and inside < _SMALLEST_COVER):
        raise InputError(f"covers {inside:.0%} of the image; expected a grid over the same place")
    result = ndimage.affine_transform(
        np.asarray(values, dtype=np.float32), used[:3, :3], used[:3, 3], output_shape=volume.shape, order=order
    )
    if is_exact:
        return result, ""
    sizes = " × ".join(f"{step:.2f}" for step in affine.spacing)
    return result, f"resampled from voxels of {sizes} mm, {'nearest' if nearest else 'linear'}"


def _only_turned(rounded: NDArray[np.float64]) -> bool:
    """Return whether a matrix of whole numbers only exchanges, reverses and shifts axes."""
    steps = np.abs(rounded[:3, :3])
    return bool((steps.sum(axis=0) == 1).all() and (steps.sum(axis=1) == 1).all())


def _cover(matrix: NDArray[np.float64], source: tuple[int, ...], target: tuple[int, int, int]) -> float:
    """Return the share of a target's voxels that lie inside a source, from a coarse sample of them."""
    samples = [np.linspace(0, size - 1, min(size, 9)) for size in target]
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*samples, indexing="ij")])
    places = matrix[:3, :3] @ grid + matrix[:3, 3:]
    size = np.array(source)[:, None]
    return float(((places > -1) & (places < size)).all(axis=0).mean())
