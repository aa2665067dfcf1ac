"""The losses of the paper, as the released numbers define them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

_FOCAL_GAMMA = 2.0
_FOCAL_SMOOTH = 1e-5
_DICE_SMOOTH = 1.0
_MEAN_FLOOR = 1e-6


def focal_loss(probabilities: Tensor, mask: Tensor) -> Tensor:
    """Focal loss with γ = 2, one-hot targets clamped to [1e-5, 1 - 1e-5], mean over pixels.

    Args:
        probabilities: (B, 2, H, W), normal and abnormal, summing to 1.
        mask: (B, 1, H, W), 1 where abnormal.

    Returns:
        Scalar.
    """
    targets = torch.cat([1 - mask, mask], dim=1).clamp(_FOCAL_SMOOTH, 1 - _FOCAL_SMOOTH)
    true_probability = (targets * probabilities).sum(dim=1) + _FOCAL_SMOOTH
    return (-((1 - true_probability) ** _FOCAL_GAMMA) * true_probability.log()).mean()


def dice_loss(probability: Tensor, target: Tensor) -> Tensor:
    """1 - Dice coefficient with smoothing 1, per image, mean over images.

    Args:
        probability: (B, H, W).
        target: (B, H, W), 0 or 1.

    Returns:
        Scalar.
    """
    overlap = (probability * target).flatten(1).sum(dim=1)
    size = probability.flatten(1).sum(dim=1) + target.flatten(1).sum(dim=1)
    return (1 - (2 * overlap + _DICE_SMOOTH) / (size + _DICE_SMOOTH)).mean()


def map_loss(logits: Tensor, mask: Tensor, *, corners_aligned: bool = True) -> Tensor:
    """Focal loss and Dice losses of both classes, for one token map.

    Args:
        logits: (B, 2, h, w), patch logits.
        mask: (B, 1, H, W) float, 1 where abnormal; the logits are resized to it, then softmaxed.
        corners_aligned: Whether resizing aligns corners.

    Returns:
        Scalar.
    """
    resized = functional.interpolate(logits, size=mask.shape[-2:], mode="bilinear", align_corners=corners_aligned)
    probabilities = resized.softmax(dim=1)
    normal, abnormal = probabilities.unbind(dim=1)
    target = mask.squeeze(1)
    return focal_loss(probabilities, mask) + dice_loss(normal, 1 - target) + dice_loss(abnormal, target)


def maps_loss(levels: Sequence[Tensor], mask: Tensor, *, corners_aligned: bool = True) -> Tensor:
    """Sum of `map_loss` over all maps: levels of (B, windows, 2, h, w) logits.

    A level's windows pass as one batch: every mean is over images of one size, so their sum is the mean times their
    count, and a GPU launches a third of the kernels.
    """
    losses = []
    for logits in levels:
        count = logits.shape[1]
        repeated = mask.unsqueeze(1).expand(-1, count, -1, -1, -1).flatten(0, 1)
        losses.append(count * map_loss(logits.flatten(0, 1), repeated, corners_aligned=corners_aligned))
    return torch.stack(losses).sum()


def fused_margin(levels: Sequence[Tensor], side: int, *, corners_aligned: bool) -> Tensor:
    """How much more abnormal than normal each cell is, as a logit: the mean over all maps.

    Args:
        levels: (B, windows, 2, h, w) patch logits each.
        side: Side of the result.
        corners_aligned: Whether resizing aligns corners.

    Returns:
        (B, side, side).
    """
    margins = [(logits[:, :, 1] - logits[:, :, 0]).mean(dim=1, keepdim=True) for logits in levels]
    resized = [
        functional.interpolate(margin, size=(side, side), mode="bilinear", align_corners=corners_aligned)
        for margin in margins
    ]
    return torch.cat(resized, dim=1).mean(dim=1)


def peak_loss(margin: Tensor, mask: Tensor, cells: int = 8) -> Tensor:
    """Cross-entropy of the mean of the highest cells: an image is evaluated by its map's maximum.

    Args:
        margin: (B, H, W) logits.
        mask: (B, H, W), 1 where abnormal.
        cells: How many cells make the peak.

    Returns:
        Scalar.
    """
    peak = margin.flatten(1).topk(cells, dim=1).values.mean(dim=1)
    return functional.binary_cross_entropy_with_logits(peak, mask.flatten(1).amax(dim=1))


def balance_loss(probabilities: Tensor) -> Tensor:
    """Squared coefficient of variation of the experts' summed router probabilities, for one site.

    Args:
        probabilities: (..., K), the router's softmax over all experts.

    Returns:
        Scalar, 0 where all experts are used alike.
    """
    usage = probabilities.flatten(0, -2).sum(dim=0)
    return (usage.std() / (usage.mean() + _MEAN_FLOOR)) ** 2


def etf_loss(gram: Tensor) -> Tensor:
    """Mean squared distance of the experts' cosines from a simplex equiangular tight frame, for one site.

    Args:
        gram: (..., K, K), cosines between the outputs of the K experts.

    Returns:
        Scalar, 0 where all experts point away from each other as far as K directions can.
    """
    count = gram.shape[-1]
    identity = torch.eye(count, device=gram.device, dtype=gram.dtype)
    frame = identity - (1 - identity) / (count - 1)
    return functional.mse_loss(gram, frame.expand_as(gram))


def output_gram(outputs: Tensor) -> Tensor:
    """Cosines between expert outputs (..., K, width), as (..., K, K)."""
    directions = functional.normalize(outputs, dim=-1)
    return directions @ directions.transpose(-1, -2)
