"""What the network gives to scoring and to training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from moeclip_med.model.losses import balance_loss, etf_loss

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class NetworkOutput:
    """What scoring needs.

    Attributes:
        maps: (B, M, M), the raw anomaly map: unbounded, larger is more abnormal.
        image_score: (B,), how abnormal the image is as a whole, or None where not asked for.
        routing: Per level (B, h, w) uint8, the expert with the largest weight, or None where not asked for.
    """

    maps: Tensor
    image_score: Tensor | None = None
    routing: tuple[Tensor, ...] | None = None


@dataclass
class TrainingOutput:
    """What the losses need.

    Attributes:
        logits: Per level (B, windows, 2, h, w), scaled patch logits.
        image_embedding: (B, width).
        image_logits: (B, 2), scaled.
        router_probabilities: Per level (B, ..., K), float32.
        expert_grams: Per level (B, ..., K, K), float32, cosines between all experts' outputs.
        axis_logits: (B,), whether the image has a mirror axis; None without a gate.
    """

    logits: tuple[Tensor, ...]
    image_embedding: Tensor
    image_logits: Tensor
    router_probabilities: tuple[Tensor, ...]
    expert_grams: tuple[Tensor, ...]
    axis_logits: Tensor | None = None

    def balance(self) -> Tensor:
        """The balance loss, summed over the levels; scalar."""
        return torch.stack([balance_loss(level) for level in self.router_probabilities]).sum()

    def etf(self) -> Tensor:
        """The ETF loss, summed over the levels; scalar."""
        return torch.stack([etf_loss(level) for level in self.expert_grams]).sum()
