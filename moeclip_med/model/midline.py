"""The mirror axis of an image, and the image mirrored at it.

A head is seldom exactly upright and in the middle. Its axis is searched for: the line at which the image, mirrored,
is most like itself. Nothing here is learned. Everything is element by element, so that neither autocast nor an
exporter changes it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

LARGEST_TILT = 12
"""Largest tilt of the axis against the image's columns, degrees."""

LARGEST_SHIFT = 10 / 64
"""Largest distance of the axis from the middle, as a share of half the image's side."""

_GRID = 64
_TILT_STEP = 2
_FLAT = 1e-9


class Midline(NamedTuple):
    """The mirror axes of a batch of images.

    Attributes:
        tilt: (B,) angle against the columns in radians; positive where the axis's lower end lies further left.
        shift: (B,) distance of the axis from the middle of the image, positive to the right, as a share of half its
            side.
    """

    tilt: Tensor
    shift: Tensor


def find_midline(images: Tensor) -> Midline:
    """Search for the axis at which each image is most like its mirror image.

    Every tilt in steps of 2° and every shift by half a cell of a 64 x 64 grid is tried; the least sum of squared
    differences wins, refined by the parabola through it and its neighbours. So a tilt is known to about 1°, and
    to 2° in the last step of the search, whose end has no neighbour beyond.

    Args:
        images: (B, C, S, S), ground = 0.
    """
    small = functional.adaptive_avg_pool2d(images.float().mean(dim=1, keepdim=True), _GRID)
    tilts = [math.radians(degrees) for degrees in range(-LARGEST_TILT, LARGEST_TILT + 1, _TILT_STEP)]
    most = round(LARGEST_SHIFT * _GRID)
    costs = torch.stack([_costs(_turned(small, tilt), most) for tilt in tilts], dim=1)  # (B, tilts, shifts)
    flat, width = costs.flatten(1), costs.shape[2]
    best = flat.argmin(dim=1, keepdim=True)
    row, column = torch.div(best, width, rounding_mode="floor"), best % width
    tilt_step = _vertex(flat, best, row, width, len(tilts))
    shift_step = _vertex(flat, best, column, 1, width)
    tilt = tilts[0] + (row + tilt_step) * math.radians(_TILT_STEP)
    return Midline(tilt.squeeze(1), ((column + shift_step - most) / _GRID).squeeze(1))


def mirrored(images: Tensor, midline: Midline) -> Tensor:
    """Images mirrored at their axes; 0 where the original shows nothing.

    Args:
        images: (B, C, S, S), ground = 0.
        midline: Their axes.
    """
    tilt, shift = (value[:, None, None] for value in midline)
    across, down = tilt.cos() * shift, tilt.sin() * shift  # the point of the axis nearest to the middle
    x, y = _middles(images)
    x, y = x - across, y - down
    cosine, sine = (2 * tilt).cos(), (2 * tilt).sin()
    grid = torch.stack([across - cosine * x - sine * y, down - sine * x + cosine * y], dim=-1)
    return functional.grid_sample(images, grid.to(images.dtype), align_corners=False)


def _turned(images: Tensor, tilt: float) -> Tensor:
    """Images (B, 1, S, S) turned so that an axis of that tilt stands upright."""
    x, y = _middles(images)
    grid = torch.stack([math.cos(tilt) * x - math.sin(tilt) * y, math.sin(tilt) * x + math.cos(tilt) * y], dim=-1)
    # All images are turned alike, so they pass as channels of one.
    return functional.grid_sample(images.transpose(0, 1), grid, align_corners=False).transpose(0, 1)


def _middles(images: Tensor) -> tuple[Tensor, Tensor]:
    """Columns and rows of the pixels' middles, from -1 to 1: (1, S, S) each."""
    side = images.shape[-1]
    middles = (torch.arange(side, device=images.device, dtype=torch.float32) * 2 + 1) / side - 1
    return middles[None, None, :].expand(1, side, side), middles[None, :, None].expand(1, side, side)


def _costs(images: Tensor, most: int) -> Tensor:
    """Sums of squared differences to the mirror image shifted by -most to most cells: (B, 2·most + 1)."""
    side = images.shape[-1]
    flipped = functional.pad(images.flip(3), (most, most))
    starts = range(2 * most, -1, -1)
    costs = [((images - flipped[..., start : start + side]) ** 2).sum(dim=(1, 2, 3)) for start in starts]
    return torch.stack(costs, dim=1)


def _vertex(costs: Tensor, best: Tensor, place: Tensor, stride: int, count: int) -> Tensor:
    """How far, in steps, the parabola through the best cost and its two neighbours puts the minimum; 0 at an end."""
    has_both = (place > 0) & (place < count - 1)
    reach = stride * has_both
    before, middle, after = (costs.gather(1, best + step * reach) for step in (-1, 0, 1))
    bend = before - 2 * middle + after
    vertex = (before - after) / (2 * bend).clamp_min(_FLAT)
    return torch.where(has_both & (bend > _FLAT), vertex.clamp(-0.5, 0.5), torch.zeros_like(vertex))
