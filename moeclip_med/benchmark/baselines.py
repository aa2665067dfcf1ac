"""Maps that need no learning: what a detector has to beat before its figures mean anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_NEAR_SHARE = 1 / 128
_SURROUNDINGS_SHARE = 1 / 16


def brightness(slices: Tensor) -> Tensor:
    """Mean over the channels.

    Args:
        slices: (batch, channel, rows, columns) in [0, 1].

    Returns:
        (batch, rows, columns) in [0, 1]; so for all baselines.
    """
    return slices.mean(dim=1)


def inverse_brightness(slices: Tensor) -> Tensor:
    """One minus the brightness: dark is abnormal, air included."""
    return 1.0 - brightness(slices)


def local_contrast(slices: Tensor) -> Tensor:
    """How far a small neighbourhood's brightness is from its surroundings'.

    Both are averages over squares: of 1/128 and of 1/16 of the longer side.
    """
    image = brightness(slices)[:, None]
    longer = max(image.shape[-2:])
    return (_mean_over(image, longer * _NEAR_SHARE) - _mean_over(image, longer * _SURROUNDINGS_SHARE)).abs()[:, 0]


def centre_distance(slices: Tensor) -> Tensor:
    """One minus the distance from the centre of the slice over half its diagonal: the middle is abnormal.

    Many collections are framed around what was to be shown, so this knows more than it seems.
    """
    batch, _, rows, columns = slices.shape
    down = torch.linspace(-1, 1, rows)[:, None] * rows
    across = torch.linspace(-1, 1, columns)[None, :] * columns
    distance = torch.hypot(down, across) / (rows**2 + columns**2) ** 0.5
    return (1.0 - distance).expand(batch, rows, columns)


BASELINES: dict[str, Callable[[Tensor], Tensor]] = {
    "brightness": brightness,
    "inverse_brightness": inverse_brightness,
    "local_contrast": local_contrast,
    "centre_distance": centre_distance,
}
"""Name to function."""


def _mean_over(image: Tensor, side: float) -> Tensor:
    """Average over a square of about the given side, an odd number of pixels; outside pixels do not count."""
    kernel = 2 * int(side / 2) + 1
    averaged: Tensor = functional.avg_pool2d(image, kernel, stride=1, padding=kernel // 2, count_include_pad=False)
    return averaged
