"""Maps that need no learning: what a detector has to beat before its figures mean anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Slices = NDArray[np.float32]

_NEAR_SHARE = 1 / 128
_SURROUNDINGS_SHARE = 1 / 16


def brightness(slices: Slices) -> Slices:
    """Mean over the channels.

    Args:
        slices: (batch, channel, rows, columns) in [0, 1].

    Returns:
        (batch, rows, columns) in [0, 1]; so for all baselines.
    """
    mean: Slices = slices[:, 0] if slices.shape[1] == 1 else slices.mean(axis=1)
    return mean


def inverse_brightness(slices: Slices) -> Slices:
    """One minus the brightness: dark is abnormal, air included."""
    inverse: Slices = np.float32(1.0) - brightness(slices)
    return inverse


def local_contrast(slices: Slices) -> Slices:
    """How far a small neighbourhood's brightness is from its surroundings'.

    Both are averages over squares: of 1/128 and of 1/16 of the longer side; at the border the edge is repeated.
    """
    image = brightness(slices)
    longer = max(image.shape[-2:])
    difference = _mean_over(image, longer * _NEAR_SHARE) - _mean_over(image, longer * _SURROUNDINGS_SHARE)
    contrast: Slices = np.abs(difference)
    return contrast


def centre_distance(slices: Slices) -> Slices:
    """One minus the distance from the centre of the slice over half its diagonal: the middle is abnormal.

    Many collections are cropped around what was to be shown, so this knows more than it seems.
    """
    batch, _, rows, columns = slices.shape
    down = np.linspace(-1, 1, rows, dtype=np.float32)[:, None] * rows
    across = np.linspace(-1, 1, columns, dtype=np.float32)[None, :] * columns
    nearness: Slices = np.float32(1.0) - np.hypot(down, across) / np.float32(np.hypot(rows, columns))
    repeated: Slices = np.repeat(nearness[None], batch, axis=0)
    return repeated


BASELINES: dict[str, Callable[[Slices], Slices]] = {
    "brightness": brightness,
    "inverse_brightness": inverse_brightness,
    "local_contrast": local_contrast,
    "centre_distance": centre_distance,
}
"""Name to function."""


def _mean_over(image: Slices, side: float) -> Slices:
    """Average over a square of about the given side, an odd number of pixels."""
    pixels = 2 * int(side / 2) + 1
    mean: Slices = ndimage.uniform_filter(image, size=(1, pixels, pixels), mode="nearest")
    return mean
