"""The recipe of networks that are trained from images: every crop is new, nothing is kept on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from moeclip_med.training.features import loss_mask
from moeclip_med.training.lite import IndustrialTask
from moeclip_med.training.objectives import industrial_losses

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lightning.fabric import Fabric
    from torch import Tensor

    from moeclip_med.industrial.datasets import IndustrialImage
    from moeclip_med.industrial.mix import Sample
    from moeclip_med.model.fused import FusedNetwork
    from moeclip_med.model.network import MoEClip
    from moeclip_med.model.outputs import TrainingOutput
    from moeclip_med.training.features import SampleList
    from moeclip_med.training.settings import LiteSettings


class ImageTask(IndustrialTask):
    """Any network with learned prompts, trained from crops that are made while it trains."""

    recipe = "images"

    def __init__(
        self,
        images: Sequence[IndustrialImage],
        settings: LiteSettings,
        network: MoEClip | FusedNetwork,
        *,
        samples: SampleList | None = None,
        workers: int = 0,
    ) -> None:
        """Split the images.

        Args:
            images: All industrial images, held-out categories included.
            settings: The recipe.
            network: What to train.
            samples: Training images by number, where they are made elsewhere; the mix of the settings otherwise.
            workers: Processes that make crops; 0 makes them between the steps.
        """
        super().__init__(images, settings, network)
        self.samples: SampleList = self.mix if samples is None else samples
        self.workers = workers

    def batches(self, epoch: int, first: int, fabric: Fabric) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Images (B, S, S, 3) uint8, masks (B, m, m) and kinds (B,); an epoch's crops follow from its number."""
        for batch in self.loader(epoch, first, fabric.global_rank, fabric.world_size, pin=fabric.device.type == "cuda"):
            yield fabric.to_device(batch)

    def loader(
        self, epoch: int = 0, first: int = 0, rank: int = 0, processes: int = 1, *, pin: bool = False
    ) -> torch.utils.data.DataLoader[tuple[Tensor, Tensor, int]]:
        """The batches of an epoch on the CPU, from number `first` on; each of several processes takes its share."""
        size = self.settings.batch_size
        start = (self.settings.first_round + epoch) * self.settings.crops
        mine = [
            list(range(start + number * size, start + (number + 1) * size)[rank::processes])
            for number in range(first, self.steps_per_epoch)
        ]
        crops = _Crops(self.samples, self.settings.loss_side)
        return torch.utils.data.DataLoader(crops, batch_sampler=mine, num_workers=self.workers, pin_memory=pin)

    def losses(self, network: Any, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[dict[str, Tensor], TrainingOutput]:  # noqa: ANN401
        """See `industrial_losses`; the log shows the experts of the last network."""
        images, masks, kinds = batch
        shown = self.normalise(images.permute(0, 3, 1, 2).float() / 255)
        outputs = network.forward_images(shown)
        return industrial_losses(outputs, masks, kinds, self.settings.losses), outputs[-1]


class _Crops(torch.utils.data.Dataset[tuple["Tensor", "Tensor", int]]):
    """Training images by number as tensors: image (S, S, 3) uint8, mask on the loss grid (m, m) bool, kind."""

    def __init__(self, samples: SampleList, loss_side: int) -> None:
        self.samples, self.loss_side = samples, loss_side

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        sample: Sample = self.samples[index]
        mask = torch.from_numpy(loss_mask(sample.mask, self.loss_side))
        return torch.from_numpy(np.array(sample.image)), mask, int(sample.kind)
