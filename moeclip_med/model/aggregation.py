"""Patch average aggregation, and the named features that a level's projection may see of each token."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from moeclip_med.model.intensity import MIRROR_CHANNELS, OWN_CHANNELS

if TYPE_CHECKING:
    from collections.abc import Callable

    from moeclip_med.model.architecture import TokenInput

_SPREAD_FLOOR = 1e-6


def average_window(patches: Tensor, side: int, *, count_padding: bool = True) -> Tensor:
    """Mean over a square window around each patch, stride 1, the grid's outside taken as zero.

    Args:
        patches: (B, h, w, width).
        side: Side of the window in patches, odd.
        count_padding: Whether the zeros outside the grid count in the mean (they do in the paper).

    Returns:
        (B, h, w, width).
    """
    if side == 1:
        return patches
    pooled = functional.avg_pool2d(
        patches.permute(0, 3, 1, 2), side, stride=1, padding=side // 2, count_include_pad=count_padding
    )
    return pooled.permute(0, 2, 3, 1)


class LevelContext(NamedTuple):
    """What the token features of one level are made from.

    Attributes:
        pooled: (B, h, w, width), the patches averaged over the current window.
        normalise: The tower's normalisation.
        surroundings: (B, h, w, width), the mean over a wide neighbourhood; None where no feature needs it.
        mirrored: (B, h, w, width), each patch less its mirror twin, in units of `spread`; None likewise.
        spread: (B, 1, 1, 1), the standard deviation of all the image's patch features; None likewise.
        intensity: (B, h, w, channels), from `intensity_channels`, averaged over the window; None likewise.
        mirror_weight: (B, 1, 1, 1), 1 where the comparison with the mirror twin counts and 0 where not; None likewise.
    """

    pooled: Tensor
    normalise: Callable[[Tensor], Tensor]
    surroundings: Tensor | None = None
    mirrored: Tensor | None = None
    spread: Tensor | None = None
    intensity: Tensor | None = None
    mirror_weight: Tensor | None = None


def _normalised(context: LevelContext) -> Tensor:
    return context.normalise(context.pooled)


def _surroundings(context: LevelContext) -> Tensor:
    return (context.pooled - _given(context.surroundings)) / _given(context.spread)


def _mirror(context: LevelContext) -> Tensor:
    return _given(context.mirrored)


def _mirror_magnitude(context: LevelContext) -> Tensor:
    return _given(context.mirrored).abs()


def _asymmetry(context: LevelContext) -> Tensor:
    mirrored = _given(context.mirrored)
    mean = mirrored.abs().mean(dim=(1, 2, 3), keepdim=True)
    return mean.expand(*mirrored.shape[:3], 1)


def _intensity(context: LevelContext) -> Tensor:
    return _given(context.intensity)[..., :OWN_CHANNELS]


def _intensity_mirror(context: LevelContext) -> Tensor:
    mirrored = _given(context.intensity)[..., OWN_CHANNELS:]
    return mirrored if context.mirror_weight is None else mirrored * context.mirror_weight


def _mirror_counts(context: LevelContext) -> Tensor:
    return _given(context.mirror_weight).expand(*context.pooled.shape[:3], 1)


def _given(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        message = "this token input needs a part of the level's context that was not made"
        raise ValueError(message)
    return tensor


TOKEN_INPUTS: dict[TokenInput, Callable[[LevelContext], Tensor]] = {
    "normalised": _normalised,
    "surroundings": _surroundings,
    "mirror": _mirror,
    "mirror_magnitude": _mirror_magnitude,
    "asymmetry": _asymmetry,
    "intensity": _intensity,
    "intensity_mirror": _intensity_mirror,
    "mirror_counts": _mirror_counts,
}
"""How each named input of the projection is made: (B, h, w, its width) from a level's context."""

_OWN_WIDTHS: dict[TokenInput, int] = {
    "asymmetry": 1,
    "intensity": OWN_CHANNELS,
    "intensity_mirror": MIRROR_CHANNELS,
    "mirror_counts": 1,
}
"""Widths of the inputs that are not as wide as the tokens."""

_NEEDS_MIRROR = {"mirror", "mirror_magnitude", "asymmetry"}


def token_width(inputs: tuple[TokenInput, ...], width: int) -> int:
    """Width of the concatenated inputs for tokens of a width."""
    return sum(_OWN_WIDTHS.get(name, width) for name in inputs)


def level_features(
    patches: Tensor,
    normalise: Callable[[Tensor], Tensor],
    *,
    windows: tuple[int, ...],
    inputs: tuple[TokenInput, ...],
    surroundings: int | None,
    intensity: Tensor | None = None,
    mirror_weight: Tensor | None = None,
) -> list[Tensor]:
    """The projection's input for each averaging window of one level.

    Args:
        patches: (B, h, w, width).
        normalise: The tower's normalisation.
        windows: Sides of the averaging windows.
        inputs: Names in `TOKEN_INPUTS`, concatenated in this order.
        surroundings: Side of the neighbourhood for "surroundings".
        intensity: (B, h, w, channels), from `intensity_channels`, for "intensity" and "intensity_mirror".
        mirror_weight: (B,), 1 where the comparison with the mirror twin counts and 0 where not, for "mirror_counts";
            None where it always does.

    Returns:
        One (B, h, w, `token_width`) per window.
    """
    around = mirrored = spread = None
    weight = None if mirror_weight is None else mirror_weight[:, None, None, None]
    if {"surroundings", *_NEEDS_MIRROR} & set(inputs):
        spread = patches.flatten(1).std(dim=1).clamp_min(_SPREAD_FLOOR)[:, None, None, None]
    if "surroundings" in inputs and surroundings is not None:
        around = average_window(patches, surroundings, count_padding=False)
    if _NEEDS_MIRROR & set(inputs):
        smooth = average_window(patches, 3, count_padding=False)
        mirrored = (smooth - smooth.flip(2)) / _given(spread)
        mirrored = mirrored if weight is None else mirrored * weight
    features = []
    for side in windows:
        bright = None if intensity is None else average_window(intensity, side)
        context = LevelContext(average_window(patches, side), normalise, around, mirrored, spread, bright, weight)
        parts = [TOKEN_INPUTS[name](context) for name in inputs]
        features.append(parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1))
    return features
