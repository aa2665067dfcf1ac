"""The paper's recipe for a tower with text: MoECLIP on OpenCLIP, trained on industrial images with masks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from moeclip_med.industrial.datasets import images_hash, split_categories
from moeclip_med.model.losses import maps_loss
from moeclip_med.training.geometric import random_geometry, transform
from moeclip_med.training.settings import LossWeights
from moeclip_med.training.validation import Validation, category_groups, validate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lightning.fabric import Fabric
    from numpy.typing import NDArray
    from torch import Tensor

    from moeclip_med.industrial.datasets import IndustrialImage
    from moeclip_med.model.network import MoEClip
    from moeclip_med.model.outputs import TrainingOutput

TextFeatures = tuple["Tensor", "Tensor"]
"""Frozen features of one class' (normal, abnormal) phrases, (phrases, width) each."""


@dataclass(frozen=True)
class TransformerSettings:
    """The recipe of the full model.

    Attributes:
        values: Whose numbers these are: "paper" or "released".
        seed: Of initial values, order, augmentation and dropout.
        epochs: Passes over the data.
        batch_size: Images per step, over all processes.
        learning_rate: Adam's.
        betas: Adam's.
        halve_at: Steps at which the learning rate is halved.
        losses: Factors of the auxiliary losses.
        experts_train: Whether dropout, balance and ETF act; in the released script they do not, because its model
            stays in evaluation mode.
        augments: Whether images are rotated, shifted and flipped.
        recompute: Whether the tower's stages after the first are computed again in the backward pass, which halves
            memory for a third more time.
        held_out: Categories never trained on; they choose the checkpoint.
        validation_images: Most images per held-out category.
    """

    values: Literal["paper", "released"] = "paper"
    seed: int = 0
    epochs: int = 20
    batch_size: int = 2
    learning_rate: float = 5e-4
    betas: tuple[float, float] = (0.5, 0.999)
    halve_at: tuple[int, ...] = (16_000, 32_000)
    losses: LossWeights = field(default_factory=LossWeights)
    experts_train: bool = True
    augments: bool = True
    recompute: bool = False
    held_out: tuple[str, ...] = ()
    validation_images: int = 40


def recipe_values(values: Literal["paper", "released"]) -> TransformerSettings:
    """The numbers of the paper, or those the authors' released script runs with.

    They differ in the learning rate (5e-4 against 5e-5), and in that the released script trains in evaluation mode.
    """
    if values == "paper":
        return TransformerSettings()
    return TransformerSettings(values="released", learning_rate=5e-5, experts_train=False)


class Recomputed(nn.Module):
    """A frozen stage whose activations are dropped and computed again in the backward pass."""

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, tokens: Tensor) -> Tensor:
        """The stage's output."""
        output: Tensor = checkpoint(self.stage, tokens, use_reentrant=False)
        return output


class TransformerTask:
    """The paper's recipe as a task for the loop."""

    def __init__(
        self,
        images: Sequence[IndustrialImage],
        settings: TransformerSettings,
        network: MoEClip,
        text: Mapping[str, TextFeatures],
    ) -> None:
        """Split the images; nothing is computed yet.

        Args:
            images: All industrial images, held-out categories included. Where a data set has a test split, only that
                is trained on, as the paper does.
            settings: The recipe.
            network: What to train, with a text adapter.
            text: Frozen features of the phrases, by category.
        """
        self.settings, self.network, self.text = settings, network, dict(text)
        trained, self.held_out = split_categories(images, settings.held_out)
        with_split = {image.category for image in images if image.is_test}
        self.trained = tuple(image for image in trained if image.is_test or image.category not in with_split)
        self.size = network.architecture.image_size
        self.groups = category_groups(self.held_out, size=self.size, most=settings.validation_images)
        if settings.recompute:
            stages = network.tower.stages
            for level in range(1, len(stages)):
                stages[level] = Recomputed(stages[level])
        learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(
            learned, lr=settings.learning_rate, betas=settings.betas
        )
        self.scheduler: torch.optim.lr_scheduler.LRScheduler = torch.optim.lr_scheduler.MultiStepLR(
            self.optimizer, list(settings.halve_at), gamma=0.5
        )
        self.steps_per_epoch = len(self.trained) // settings.batch_size
        self.epochs = settings.epochs

    def settings_json(self) -> dict[str, Any]:
        """Everything that shapes the run: recipe, architecture, images."""
        return {
            "recipe": self.network.architecture.tower.name,
            "settings": asdict(self.settings),
            "architecture": self.network.architecture.to_json(),
            "images": {"trained": images_hash(self.trained), "held_out": images_hash(self.held_out)},
        }

    def batches(self, epoch: int, first: int, fabric: Fabric) -> Iterator[tuple[Tensor, Tensor, list[str]]]:
        """Normalised images (B, 3, S, S), masks (B, 1, S, S) bool, categories; read one batch ahead."""
        order = np.random.default_rng([self.settings.seed, epoch]).permutation(len(self.trained))
        size = self.settings.batch_size
        shares = [
            order[number * size : (number + 1) * size][fabric.global_rank :: fabric.world_size]
            for number in range(first, self.steps_per_epoch)
        ]
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self._read, shares[0], epoch)
            for following in [*shares[1:], None]:
                images, masks, categories = coming.result()
                if following is not None:
                    coming = pool.submit(self._read, following, epoch)
                yield fabric.to_device(images), fabric.to_device(masks), categories

    def _read(self, indices: NDArray[np.int64], epoch: int) -> tuple[Tensor, Tensor, list[str]]:
        pairs = [self.sample(int(index), epoch) for index in indices]
        categories = [self.trained[int(index)].category for index in indices]
        return torch.stack([image for image, _ in pairs]), torch.stack([mask for _, mask in pairs]), categories

    def sample(self, index: int, epoch: int) -> tuple[Tensor, Tensor]:
        """One training image: (3, S, S) normalised and (1, S, S) bool, augmented by seed, epoch and number."""
        source = self.trained[index]
        square = Image.fromarray(source.read()).convert("RGB").resize((self.size,) * 2, Image.Resampling.BICUBIC)
        mask = Image.fromarray(source.read_mask()).resize((self.size,) * 2, Image.Resampling.NEAREST)
        image = self._normalise(torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255)
        target = torch.from_numpy(np.array(mask, dtype=np.bool_))[None]
        if self.settings.augments:
            matrix = random_geometry(np.random.default_rng([self.settings.seed, epoch, index]))
            image, target = transform(image, matrix), transform(target.float(), matrix) > 0
        return image, target

    def losses(
        self, network: MoEClip, batch: tuple[Tensor, Tensor, list[str]]
    ) -> tuple[dict[str, Tensor], TrainingOutput]:
        """Focal and Dice on every map, cross-entropy of the image, balance and ETF where they act."""
        images, masks, categories = batch
        self.network.train(self.settings.experts_train)
        with torch.no_grad():  # nothing before the first experts is learned
            first = network.first_tokens(images)
        text = torch.stack([self.prompt_embeddings(category) for category in categories])
        output: TrainingOutput = network.forward_training(first, text)
        levels = [level.float() for level in output.logits]
        labels = masks.flatten(1).any(dim=1).long()
        losses = {
            "patch": maps_loss(levels, masks.float(), corners_aligned=self.network.architecture.corners_aligned),
            "image": functional.cross_entropy(output.image_logits.float(), labels),
        }
        if self.settings.experts_train:
            losses["balance"] = self.settings.losses.balance * output.balance()
            losses["etf"] = self.settings.losses.etf * output.etf()
        return losses, output

    def prompt_embeddings(self, category: str) -> Tensor:
        """The learned adapter on a category's frozen text features, (width, 2)."""
        adapter = self.network.text_adapter
        if adapter is None:
            message = "this recipe needs a network with a text adapter"
            raise ValueError(message)
        device = adapter.linear.weight.device
        normal, abnormal = self.text[category]
        embeddings: Tensor = adapter(normal.to(device), abnormal.to(device))
        return embeddings

    def validate(self) -> Validation:
        """The held-out categories."""
        return validate(self.groups, self.maps_of)

    @torch.inference_mode()
    def maps_of(self, images: NDArray[np.uint8], category: str) -> NDArray[np.float32]:
        """Raw maps (n, m, m) of images (n, S, S, 3) uint8 of one category."""
        self.network.eval()
        text = self.prompt_embeddings(category)
        maps = []
        for image in images:
            batch = self._normalise(torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255)[None]
            maps.append(self.network(batch.to(text.device), text).maps.float().cpu())
        return torch.cat(maps).numpy()

    def _normalise(self, image: Tensor) -> Tensor:
        architecture = self.network.architecture
        mean, std = torch.tensor(architecture.mean), torch.tensor(architecture.std)
        return (image - mean[:, None, None]) / std[:, None, None]
