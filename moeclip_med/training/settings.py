"""Recipes as values: every number that shapes a run, stored beside it and compared before it is resumed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from moeclip_med.industrial.mix import MixShares


@dataclass(frozen=True)
class LossWeights:
    """Factors of the losses; patch maps and image cross-entropy count 1.

    Attributes:
        etf: Of the experts' equiangularity (paper: 0.01).
        balance: Of the router's balance (paper: 0.01).
        fused: Of the cross-entropy of the mean of all maps, the one that is scored with.
        fused_dice: Of that map's Dice loss.
        peak: Of the cross-entropy of that map's highest cells, by which an image is evaluated.
        axis: Of the cross-entropy of the gate that says whether an image has a mirror axis.
        member: Of each network's own map where several networks' logits are added.
    """

    etf: float = 0.01
    balance: float = 0.01
    fused: float = 10.0
    fused_dice: float = 2.0
    peak: float = 1.0
    axis: float = 0.2
    member: float = 0.5


@dataclass(frozen=True)
class LiteSettings:
    """The recipe of the small model.

    Attributes:
        seed: Of initial values, order and dropout, and of the crops.
        crop_seed: Of the crops, where runs that differ in the seed share them.
        crops: Training images per epoch.
        epochs: Passes; the cosine schedule ends with the last.
        fresh_every: After how many epochs the crops are sampled anew; 1 never shows an image twice.
        first_round: The number of the first round of crops.
        starts_from: SHA-256 of the learned weights that a run starts from; empty for a fresh initialization.
        batch_size: Images per step, over all processes.
        most_steps: Most steps per epoch, where an epoch should not show all of its crops.
        learning_rate: AdamW's, at the start of the cosine.
        gate_speed: How many times faster the axis gate learns: AdamW moves a weight by no more than the learning rate
            a step, and so few weights on cues between -1 and 1 stayed near their initial values with 1.
        weight_decay: AdamW's.
        losses: Factors of the auxiliary losses.
        loss_side: Side of the grid on which maps and masks are compared.
        shares: The mix of training images.
        held_out: Categories never trained on; they choose the checkpoint.
        normal_only: Categories whose defective images are not trained on.
        held_out_normals: Share of the normal images of trained categories that is never trained on.
        validation_images: Most images per held-out category.
        validation_synthetic: Synthetic images made from held-out normal images.
    """

    seed: int = 0
    crop_seed: int | None = None
    crops: int = 6400
    epochs: int = 2
    fresh_every: int = 1
    first_round: int = 0
    starts_from: str = ""
    batch_size: int = 16
    most_steps: int | None = None
    learning_rate: float = 1e-3
    gate_speed: float = 20.0
    weight_decay: float = 1e-4
    losses: LossWeights = field(default_factory=LossWeights)
    loss_side: int = 64
    shares: MixShares = field(default_factory=MixShares)
    held_out: tuple[str, ...] = ()
    normal_only: tuple[str, ...] = ()
    held_out_normals: float = 0.1
    validation_images: int = 40
    validation_synthetic: int = 240

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch; a last incomplete batch is skipped."""
        steps = self.crops // self.batch_size
        return steps if self.most_steps is None else min(steps, self.most_steps)

    def to_json(self) -> dict[str, Any]:
        """As a dictionary that `json.dumps` takes."""
        return asdict(self)


def duo_settings(image_size: int) -> LiteSettings:
    """The recipe of networks that are trained from images: loss cells of 4 pixels, every crop shown once.

    Args:
        image_size: Side of the network's input, pixels.
    """
    largest = next(side for side in range(image_size // 4, 0, -1) if image_size % side == 0)
    return LiteSettings(crops=16384, epochs=1, batch_size=32, loss_side=largest)
