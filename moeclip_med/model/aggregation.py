"""Patch average aggregation, and the named features that a level's projection may see of each token."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from moeclip_med.model.patch_intensity import MIRROR_CHANNELS, OWN_CHANNELS

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


class MirrorTwins(NamedTuple):
    """The patches of the mirrored images.

    Attributes:
        patches: (B, h, w, width).
        weight: (B,), how much the comparison with them counts, 0 to 1; None where it always does.
    """

    patches: Tensor
    weight: Tensor | None = None


class LevelContext(NamedTuple):
    """What the token features of one level are made from.

    Attributes:
        pooled: (B, h, w, width), the patches averaged over the current window.
        normalise: The tower's normalisation.
        surroundings: (B, h, w, width), the mean over a wide neighbourhood; None where no feature needs it.
        mirrored: (B, h, w, width), each patch less its mirror twin, in units of `spread`; None likewise.
        spread: (B, 1, 1, 1), the standard deviation of all the image's patch features; None likewise.
        intensity: (B, h, w, channels), from `intensity_channels`, averaged over the window; None likewise.
        mirror_weight: (B, 1, 1, 1), how much the comparison with the mirror twin counts, 0 to 1; None likewise.
        nearest: (B, h, w, 1), mean distance to the most alike of nine twins, in units of `spread`; None likewise.
    """

    pooled: Tensor
    normalise: Callable[[Tensor], Tensor]
    surroundings: Tensor | None = None
    mirrored: Tensor | None = None
    spread: Tensor | None = None
    intensity: Tensor | None = None
    mirror_weight: Tensor | None = None
    nearest: Tensor | None = None


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
    mirrored = _given(context.intensity)[..., OWN_CHANNELS : OWN_CHANNELS + MIRROR_CHANNELS]
    return mirrored if context.mirror_weight is None else mirrored * context.mirror_weight


def _mirror_counts(context: LevelContext) -> Tensor:
    return _given(context.mirror_weight).expand(*context.pooled.shape[:3], 1)


def _mirror_nearest(context: LevelContext) -> Tensor:
    return _given(context.nearest)


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
    "mirror_nearest": _mirror_nearest,
    "mirror_gate": _mirror_counts,
}
"""How each named input of the projection is made: (B, h, w, its width) from a level's context."""

_OWN_WIDTHS: dict[TokenInput, int] = {
    "asymmetry": 1,
    "intensity": OWN_CHANNELS,
    "intensity_mirror": MIRROR_CHANNELS,
    "mirror_counts": 1,
    "mirror_nearest": 1,
    "mirror_gate": 1,
}
"""Widths of the inputs that are not as wide as the tokens."""

_NEEDS_TWINS = {"mirror", "mirror_magnitude", "asymmetry", "mirror_nearest"}


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
    twins: MirrorTwins | None = None,
) -> list[Tensor]:
    """The projection's input for each averaging window of one level.

    Args:
        patches: (B, h, w, width).
        normalise: The tower's normalisation.
        windows: Sides of the averaging windows.
        inputs: Names in `TOKEN_INPUTS`, concatenated in this order.
        surroundings: Side of the neighbourhood for "surroundings".
        intensity: (B, h, w, channels), from `intensity_channels`, for "intensity" and "intensity_mirror".
        twins: The mirrored images' patches, for all inputs that compare with them.

    Returns:
        One (B, h, w, `token_width`) per window.
    """
    around = mirrored = nearest = spread = None
    weight = None if twins is None or twins.weight is None else twins.weight[:, None, None, None]
    if {"surroundings", *_NEEDS_TWINS} & set(inputs):
        spread = patches.flatten(1).std(dim=1).clamp_min(_SPREAD_FLOOR)[:, None, None, None]
    if "surroundings" in inputs and surroundings is not None:
        around = average_window(patches, surroundings, count_padding=False)
    if twins is not None and _NEEDS_TWINS & set(inputs):
        scale = 1 / _given(spread) if weight is None else weight / _given(spread)
        smooth, theirs = (average_window(each, 3, count_padding=False) for each in (patches, twins.patches))
        mirrored = (smooth - theirs) * scale
        nearest = nearest_distance(smooth, theirs) * scale if "mirror_nearest" in inputs else None
    features = []
    for side in windows:
        bright = None if intensity is None else average_window(intensity, side)
        pooled = average_window(patches, side)
        context = LevelContext(pooled, normalise, around, mirrored, spread, bright, weight, nearest)
        parts = [TOKEN_INPUTS[name](context) for name in inputs]
        features.append(parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1))
    return features


def nearest_distance(patches: Tensor, twins: Tensor) -> Tensor:
    """Mean absolute difference of each patch to the most alike of the nine twins around its own place.

    The two halves of a body are never quite alike; what lies a patch further off is still the twin.

    Args:
        patches: (B, h, w, width).
        twins: Likewise.

    Returns:
        (B, h, w, 1).
    """
    height, width = patches.shape[1:3]
    padded = functional.pad(twins.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate").permute(0, 2, 3, 1)
    distances = [
        (patches - padded[:, row : row + height, column : column + width]).abs().mean(dim=-1, keepdim=True)
        for row in range(3)
        for column in range(3)
    ]
    return torch.stack(distances).amin(dim=0)
