"""How bright and how coloured each patch is, compared with its image and with its surroundings.

A pretrained tower tells textures and shapes well, and plain brightness badly: a small bright spot hardly moves its
features. These channels say it outright, in units of the body's own spread, so that window and contrast matter little.
Nothing here is learned.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

OWN_CHANNELS = 11
"""Brightness, body, two colours, brightest, darkest, three differences, two of colour."""

MIRROR_CHANNELS = 3
"""Brightness less its mirror twin's, the magnitude of that, and brightness less that of the most alike twin nearby."""

COLOURS = slice(2, 4)
"""The channels of the two colour axes."""

GREY = 0.02
"""Mean magnitude of the colour channels up to which an image counts as grey; a camera's have ten times as much."""

BODY = 0.04
"""Pixels above this share of the display range belong to the body; the rest is ground, and counts as average."""

_SPREAD_FLOOR = 0.02
_BODY_FLOOR = 1e-3
_LARGEST = 8.0
_SIDES = (1 / 12, 1 / 5, 1 / 2)
"""Sides of the surroundings, as shares of the image."""
_SMOOTH = 5
_NEARBY = 2


def intensity_channels(images: Tensor, grid: int, twins: Tensor | None = None) -> Tensor:
    """Brightness and colour on a patch grid.

    Args:
        images: (B, 3, S, S) in [0, 1].
        grid: Patches along a side; divides S.
        twins: The same images mirrored; None where nothing is compared with them.

    Returns:
        (B, grid, grid, `OWN_CHANNELS` + `MIRROR_CHANNELS`) float32, within ±8; without the latter where no twins.
    """
    images = images.float()
    grey = images.mean(dim=1, keepdim=True)
    body = (grey > BODY).float()
    count = body.sum(dim=(2, 3), keepdim=True).clamp_min(1.0)

    def mean_of(field: Tensor) -> Tensor:
        return (field * body).sum(dim=(2, 3), keepdim=True) / count

    mean = mean_of(grey)
    offset = (grey - mean) * body
    spread = ((offset**2).sum(dim=(2, 3), keepdim=True) / count).sqrt().clamp_min(_SPREAD_FLOOR)
    red, green, blue = images.split(1, dim=1)
    axes = [red - green, blue - (red + green) / 2]
    colours = torch.cat([(axis - mean_of(axis)) * body for axis in axes], dim=1) / spread
    pixels = (offset / spread).clamp(-_LARGEST, _LARGEST)
    cell = int(images.shape[-1]) // grid  # while PyTorch traces, a size is a tensor, which old versions cannot pool by
    fields = functional.avg_pool2d(torch.cat([pixels, body, colours.clamp(-_LARGEST, _LARGEST)], dim=1), cell)
    bright, share, colour = fields.split([1, 1, 2], dim=1)
    brightest = functional.max_pool2d(pixels, cell) - bright
    darkest = -functional.max_pool2d(-pixels, cell) - bright
    around = [surroundings(fields, share, odd(grid * side)) for side in _SIDES]
    differences = [(bright - mean[:, :1]) * share for mean in around]
    colour_difference = (colour - around[-1][:, 2:]) * share
    channels = [bright, share, colour, brightest, darkest, *differences, colour_difference]
    if twins is not None:
        theirs = twins.float().mean(dim=1, keepdim=True)
        theirs = ((theirs - mean) * (theirs > BODY).float() / spread).clamp(-_LARGEST, _LARGEST)
        theirs = functional.avg_pool2d(theirs, cell)
        mirrored = square_mean(bright, _SMOOTH) - square_mean(theirs, _SMOOTH)
        channels += [mirrored, mirrored.abs(), nearest_difference(bright, theirs, _NEARBY)]
    return torch.cat(channels, dim=1).clamp(-_LARGEST, _LARGEST).permute(0, 2, 3, 1)


def nearest_difference(fields: Tensor, others: Tensor, reach: int) -> Tensor:
    """Each value of (B, 1, h, w) less that of the other field's values within `reach` patches that is most alike."""
    height, width = fields.shape[2:]
    padded = functional.pad(others, (reach,) * 4, mode="replicate")
    nearest = fields - others
    for row in range(2 * reach + 1):
        for column in range(2 * reach + 1):
            other = fields - padded[..., row : row + height, column : column + width]
            nearest = torch.where(other.abs() < nearest.abs(), other, nearest)
    return nearest


def is_grey(channels: Tensor) -> Tensor:
    """Whether images have no colour, from their intensity channels (B, h, w, C): (B,), 1 where grey, else 0."""
    return (channels[..., COLOURS].abs().mean(dim=(1, 2, 3)) <= GREY).to(channels.dtype)


def odd(side: float) -> int:
    """The odd number of patches nearest below a length, at least 3."""
    return max(3, (int(side) - 1) // 2 * 2 + 1)


def surroundings(fields: Tensor, share: Tensor, side: int) -> Tensor:
    """Mean of (B, C, h, w) fields that are zero off the body over the body's part of a square neighbourhood."""
    return square_mean(fields, side) / square_mean(share, side).clamp_min(_BODY_FLOOR)


def square_mean(fields: Tensor, side: int) -> Tensor:
    """Mean over a square of patches, zeros outside counted: rows first, then columns, which costs far less."""
    rows = functional.avg_pool2d(fields, (side, 1), stride=1, padding=(side // 2, 0))
    return functional.avg_pool2d(rows, (1, side), stride=1, padding=(0, side // 2))


def at_grid(channels: Tensor, grid: int) -> Tensor:
    """Channels (B, g, g, C) averaged to a coarser grid that divides g."""
    factor = int(channels.shape[1]) // grid  # as above
    if factor == 1:
        return channels
    return functional.avg_pool2d(channels.permute(0, 3, 1, 2), factor).permute(0, 2, 3, 1)
