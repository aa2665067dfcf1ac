"""The recipe of `lite`: a small frozen tower, features kept on disk, industrial images and synthetic defects."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from moeclip_med.industrial.datasets import images_hash, split_categories
from moeclip_med.industrial.mix import Mix, MixShares
from moeclip_med.model.named_architectures import lite_architecture
from moeclip_med.model.network import MoEClip
from moeclip_med.model.towers import build_tower
from moeclip_med.training.features import FeatureStore, open_store, stage_encoder
from moeclip_med.training.objectives import industrial_losses
from moeclip_med.training.validation import (
    Validation,
    ValidationGroup,
    category_groups,
    hold_out_normals,
    synthetic_groups,
    validate,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from lightning.fabric import Fabric
    from numpy.typing import NDArray
    from torch import Tensor

    from moeclip_med.industrial.datasets import IndustrialImage
    from moeclip_med.model.architecture import Architecture
    from moeclip_med.model.fused import FusedNetwork
    from moeclip_med.model.outputs import TrainingOutput
    from moeclip_med.training.settings import LiteSettings

VALIDATION_SEED = 1_000_003
"""Seed of the validation mix: the same images for every run, so that runs can be compared."""


def build_lite(seed: int, architecture: Architecture | None = None) -> MoEClip:
    """The network of `lite` with a fresh initialization from a seed."""
    from moeclip_med.weights.tower_weights import open_network

    architecture = architecture or lite_architecture()
    tower = build_tower(open_network(architecture).network, architecture)
    torch.manual_seed(seed)
    return MoEClip(architecture, tower)


class IndustrialTask:
    """What every recipe with learned prompts shares: the split of the images, the optimizer, the validation."""

    def __init__(
        self, images: Sequence[IndustrialImage], settings: LiteSettings, network: MoEClip | FusedNetwork
    ) -> None:
        """Split the images.

        Args:
            images: All industrial images, held-out categories included.
            settings: The recipe.
            network: What to train.
        """
        self.settings, self.network = settings, network
        trained, self.held_out = split_categories(images, settings.held_out)
        self.trained, held_normals = hold_out_normals(trained, settings.held_out_normals)
        size = network.architecture.image_size
        self.mix = training_mix(self.trained, settings, size)
        self.held_normals = held_normals + tuple(image for image in self.held_out if image.is_normal)
        self.validation_mix = held_out_mix(held_normals, size)
        self.optimizer: torch.optim.Optimizer = torch.optim.AdamW(
            parameter_groups(network, settings), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.steps_per_epoch, self.epochs = settings.steps_per_epoch, settings.epochs
        self.scheduler: torch.optim.lr_scheduler.LRScheduler = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimizer, self.steps_per_epoch * self.epochs
        )

    @cached_property
    def groups(self) -> list[ValidationGroup]:
        """Held-out categories and synthetic images from held-out normal ones."""
        size, settings = self.network.architecture.image_size, self.settings
        groups = category_groups(self.held_out, size=size, most=settings.validation_images)
        return groups + synthetic_groups(self.validation_mix, settings.validation_synthetic)

    def settings_json(self) -> dict[str, Any]:
        """Everything that shapes the run: recipe, architecture, images."""
        return {
            "recipe": self.recipe,
            "settings": self.settings.to_json(),
            "architecture": self.network.architecture.to_json(),
            "images": {"trained": images_hash(self.trained), "held_out": images_hash(self.held_out)},
        }

    recipe = "lite"

    def validate(self) -> Validation:
        """Held-out categories and held-out synthetic defects."""
        return validate(self.groups, lambda images, _: self.maps_of(images))

    @torch.inference_mode()
    def maps_of(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Raw maps (n, m, m) of images (n, size, size, 3) uint8."""
        self.network.eval()
        device = next(self.network.parameters()).device
        maps = []
        for start in range(0, len(images), 16):
            batch = torch.from_numpy(np.ascontiguousarray(images[start : start + 16])).to(device).permute(0, 3, 1, 2)
            maps.append(self.network(self.normalise(batch.float() / 255)).maps.float().cpu())
        return torch.cat(maps).numpy()

    def normalise(self, images: Tensor) -> Tensor:
        """Images in [0, 1] as the network takes them."""
        architecture = self.network.architecture
        mean, std = images.new_tensor(architecture.mean), images.new_tensor(architecture.std)
        return (images - mean[:, None, None]) / std[:, None, None]


class LiteTask(IndustrialTask):
    """The lite recipe as a task for the loop: features of the frozen first stage are kept on disk."""

    network: MoEClip

    def __init__(
        self,
        images: Sequence[IndustrialImage],
        settings: LiteSettings,
        store_folder: Path,
        *,
        network: MoEClip | None = None,
        keeps_features: bool = False,
        on_features: Callable[[int, int], None] | None = None,
    ) -> None:
        """Split the images and build the network; no feature is computed yet.

        Args:
            images: All industrial images, held-out categories included.
            settings: The recipe.
            store_folder: Where features are kept while they are needed.
            network: What to train; the shipped architecture with a fresh initialization if None.
            keeps_features: Keep features of earlier rounds too: other runs may share the folder.
            on_features: Called with (images done, images in all) while features are computed.
        """
        super().__init__(images, settings, network or build_lite(settings.seed))
        self.store_folder, self.on_features, self.keeps_features = store_folder, on_features, keeps_features
        size = self.network.architecture.image_size
        self.encode_stage, self.encoder_name = stage_encoder(self.network.tower.stages[0], size)

    def batches(self, epoch: int, first: int, fabric: Fabric) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Features, masks and kinds; the order of an epoch is a function of seed and epoch."""
        store = self._store(self.settings.first_round + epoch // self.settings.fresh_every, fabric)
        order = np.random.default_rng([self.settings.seed, epoch]).permutation(len(store))
        size = self.settings.batch_size
        for number in range(first, self.steps_per_epoch):
            mine = order[number * size : (number + 1) * size][fabric.global_rank :: fabric.world_size]
            yield fabric.to_device(store.batch(mine))

    def losses(
        self, network: MoEClip, batch: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[dict[str, Tensor], TrainingOutput]:
        """See `industrial_losses`."""
        kept, masks, kinds = batch
        tokens, twins, intensity = self._unpacked(kept.float())
        output: TrainingOutput = network.forward_training(tokens, intensity=intensity, twin_tokens=twins)
        return industrial_losses((output,), masks, kinds, self.settings.losses), output

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """What is kept of normalised images side by side, (B, h, w, width): tokens, their twins' tokens, intensity."""
        twins = self.network.mirrored(images)
        kept = [self.encode_stage(images), None if twins is None else self.encode_stage(twins)]
        kept.append(self.network.intensity(images, twins))
        return torch.cat([part for part in kept if part is not None], dim=-1)

    def _unpacked(self, kept: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What `encode` put side by side: tokens, their twins' tokens, intensity."""
        width = self.network.tower.widths[0]
        twin_width = width if self.network.architecture.has_mirror else 0
        tokens, twins, intensity = kept.split([width, twin_width, kept.shape[-1] - width - twin_width], dim=-1)
        return tokens, twins if twin_width else None, intensity if intensity.shape[-1] else None

    def _store(self, number: int, fabric: Fabric) -> FeatureStore:
        """The features of one round of crops; those of earlier rounds are deleted."""
        folder = self.store_folder / f"crops-{self._crops_key()}-{number:04d}"
        if fabric.is_global_zero:
            for old in self.store_folder.glob("crops-*"):
                if old != folder and not self.keeps_features:
                    shutil.rmtree(old)
            first = number * self.settings.crops
            self._open(folder, range(first, first + self.settings.crops))
        fabric.barrier()
        return self._open(folder, range(0))

    def _crops_key(self) -> str:
        """Names everything that features depend on, so that a folder never holds another list's."""
        architecture = self.network.architecture
        parts = [
            images_hash(self.trained),
            self.mix.seed,
            asdict(self.settings.shares),
            self.settings.normal_only,
            self.settings.crops,
            self.settings.loss_side,
            asdict(architecture.tower),
            architecture.levels[0],
            architecture.image_size,
            "intensity" in architecture.token_inputs,
            architecture.has_mirror,
            architecture.has_axis_gate,
            self.encoder_name,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

    def _open(self, folder: Path, numbers: Sequence[int]) -> FeatureStore:
        return open_store(
            folder,
            self.mix,
            numbers,
            self.encode,
            normalise=self.normalise,
            loss_side=self.settings.loss_side,
            on_done=self.on_features,
        )


def parameter_groups(network: MoEClip | FusedNetwork, settings: LiteSettings) -> list[dict[str, Any]]:
    """What the optimizer learns: the axis gate faster than the rest, which has many more weights."""
    learned = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    gate = [parameter for name, parameter in learned.items() if "axis_gate." in name]
    rest = [parameter for name, parameter in learned.items() if "axis_gate." not in name]
    groups: list[dict[str, Any]] = [{"params": rest}]
    return [*groups, {"params": gate, "lr": settings.learning_rate * settings.gate_speed}] if gate else groups


def training_mix(trained: Sequence[IndustrialImage], settings: LiteSettings, size: int) -> Mix:
    """The training images of a recipe, by number, at one size."""
    seed = settings.seed if settings.crop_seed is None else settings.crop_seed
    return Mix(trained, size=size, seed=seed, shares=settings.shares, normal_only=settings.normal_only)


def held_out_mix(normals: Sequence[IndustrialImage], size: int) -> Mix:
    """Every kind of composite and synthetic defects, on normal images that are never trained on."""
    shares = MixShares(
        symmetric=0.25, tube=0.125, layered=0.125, synthetic=0.15, real=0.0, organ=0.1, surface=0.125, body=0.125
    )
    return Mix(normals, size=size, seed=VALIDATION_SEED, shares=shares)
