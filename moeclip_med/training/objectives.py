"""The losses of networks with learned prompts, of one network or of several whose logits are added."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from moeclip_med.industrial.mix import SampleKind
from moeclip_med.model.losses import dice_loss, fused_margin, maps_loss, peak_loss

if TYPE_CHECKING:
    from torch import Tensor

    from moeclip_med.model.outputs import TrainingOutput
    from moeclip_med.training.settings import LossWeights

_CORNERS_ALIGNED = False
"""As in every architecture with learned prompts."""


def industrial_losses(
    outputs: tuple[TrainingOutput, ...], masks: Tensor, kinds: Tensor, weights: LossWeights
) -> dict[str, Tensor]:
    """Focal and Dice on every map, losses of the map that is scored with, of the image, of the experts and of the gate.

    Where several networks' logits are added, the sum is compared with the mask as well, and each network's own map
    counts by `weights.member`.

    Args:
        outputs: One per network.
        masks: (B, m, m) bool.
        kinds: (B,) `SampleKind`.
        weights: Factors.

    Returns:
        The weighted losses by name, to be summed.
    """
    target = masks.float()
    losses: dict[str, Tensor] = {}
    labels = masks.flatten(1).any(dim=1).long()
    is_alone = len(outputs) == 1
    margins = []
    for number, output in enumerate(outputs, start=1):
        levels = [level.float() for level in output.logits]
        margins.append(fused_margin(levels, target.shape[-1], corners_aligned=_CORNERS_ALIGNED))
        own = {
            "patch": maps_loss(levels, target.unsqueeze(1), corners_aligned=_CORNERS_ALIGNED),
            "image": functional.cross_entropy(output.image_logits.float(), labels),
            "balance": weights.balance * output.balance(),
            "etf": weights.etf * output.etf(),
        }
        if output.axis_logits is not None:
            own["axis"] = weights.axis * axis_loss(output.axis_logits.float(), kinds)
        if not is_alone:
            own |= {name: weights.member * loss for name, loss in _map_losses(margins[-1], target, weights).items()}
        losses |= own if is_alone else {f"{name}_{number}": loss for name, loss in own.items()}
    return losses | _map_losses(torch.stack(margins).sum(dim=0), target, weights)


def _map_losses(margin: Tensor, target: Tensor, weights: LossWeights) -> dict[str, Tensor]:
    return {
        "fused": weights.fused * functional.binary_cross_entropy_with_logits(margin, target),
        "fused_dice": weights.fused_dice * dice_loss(margin.sigmoid(), target),
        "peak": weights.peak * peak_loss(margin, target),
    }


def axis_loss(logits: Tensor, kinds: Tensor) -> Tensor:
    """Cross-entropy of the gate: mirror-symmetric composites have an axis; tubes, organs, surfaces and crops have none.

    Both sides count the same, however often the mix draws them. Bodies and layers are skipped: their outline often has
    an axis and their contents have none, so the map's losses decide.

    Args:
        logits: (B,).
        kinds: (B,) `SampleKind`.
    """
    has_axis = kinds == SampleKind.SYMMETRIC
    has_none = ~(has_axis | (kinds == SampleKind.BODY) | (kinds == SampleKind.LAYERED))
    losses = functional.binary_cross_entropy_with_logits(logits, has_axis.float(), reduction="none")
    return torch.stack([(losses * side).sum() / side.sum().clamp_min(1) for side in (has_axis, has_none)]).mean()
