"""Whether an image has a mirror axis, as a learned gate over a few plain cues.

A head in a scanner has two like halves; a prostate, a frame of a colonoscopy or a slab of steel has none, and there the
comparison with a mirror twin misleads. The cues say how much more alike the image and its mirror image are than chance;
what follows from them is learned on composites with and without an axis.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from moeclip_med.model.patch_intensity import BODY, square_mean

AXIS_CUES = 5
"""Likeness of structure and of brightness between the halves, likeness of the outlines, likeness to the image upside
down, colour."""

_GRID = 64
_SURROUNDINGS = 9
_FLOOR = 1e-6
_MOST_COLOUR = 0.2
_HIDDEN = 8


def axis_cues(images: Tensor, twins: Tensor) -> Tensor:
    """How alike images and their mirror images are.

    Args:
        images: (B, 3, S, S) in [0, 1], ground = 0.
        twins: The same mirrored at their midlines.

    Returns:
        (B, `AXIS_CUES`) float32: correlation of fine structure, correlation of brightness, overlap of the outlines,
        correlation of fine structure with the image upside down (what chance gives), each -1 to 1; colour, 0 to 1.
    """
    colour = images.float()
    colour = (colour.amax(dim=1) - colour.amin(dim=1)).mean(dim=(1, 2)).clamp_max(_MOST_COLOUR) / _MOST_COLOUR
    ours, theirs = (
        functional.adaptive_avg_pool2d(each.float().mean(dim=1, keepdim=True), _GRID) for each in (images, twins)
    )
    body, body_twin, flipped = (ours > BODY).float(), (theirs > BODY).float(), ours.flip(2)
    both, either = body * body_twin, torch.maximum(body, body_twin)
    upside_down = body * (flipped > BODY).float()
    outline = both.sum(dim=(1, 2, 3)) / either.sum(dim=(1, 2, 3)).clamp_min(1.0)
    cues = [
        _correlation(_structure(ours, body), _structure(theirs, body_twin), both),
        _correlation(ours, theirs, both),
        outline,
        _correlation(_structure(ours, body), _structure(flipped, (flipped > BODY).float()), upside_down),
        colour,
    ]
    return torch.stack(cues, dim=1)


def _structure(images: Tensor, body: Tensor) -> Tensor:
    """What differs from its surroundings within the body, (B, 1, h, w)."""
    mean = square_mean(images * body, _SURROUNDINGS) / square_mean(body, _SURROUNDINGS).clamp_min(_FLOOR)
    return (images - mean) * body


def _correlation(first: Tensor, second: Tensor, where: Tensor) -> Tensor:
    """Pearson's correlation of (B, 1, h, w) images over the places that count: (B,)."""
    count = where.sum(dim=(1, 2, 3), keepdim=True).clamp_min(1.0)
    first, second = (
        (each - (each * where).sum(dim=(1, 2, 3), keepdim=True) / count) * where for each in (first, second)
    )
    product = (first * second).sum(dim=(1, 2, 3))
    lengths = (first**2).sum(dim=(1, 2, 3)) * (second**2).sum(dim=(1, 2, 3))
    return product / (lengths + _FLOOR).sqrt()


class AxisGate(nn.Module):
    """From cues (B, `AXIS_CUES`) to the logit that the image has a mirror axis, (B,)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(AXIS_CUES, _HIDDEN), nn.LeakyReLU(), nn.Linear(_HIDDEN, 1))

    def forward(self, cues: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.layers(cues).squeeze(-1)
        return logits
