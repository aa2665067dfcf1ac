"""The network as other programs take it: images in, raw maps out, prompts and normalisation built in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from moeclip_transforms.errors import InputError
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from moeclip_med.weights import LoadedModel

LARGEST_DIFFERENCE = 2e-3
"""An exported network's raw map may differ from PyTorch's by this share of the map's range."""


class ExportedNetwork(nn.Module):
    """From images (B, 3, S, S) float32 in [0, 1] to raw anomaly maps (B, M, M)."""

    channel_mean: Tensor
    channel_std: Tensor
    text: Tensor | None

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        architecture = model.metadata.architecture
        self.network = model.network
        self.register_buffer("channel_mean", torch.tensor(architecture.mean).view(1, 3, 1, 1))
        self.register_buffer("channel_std", torch.tensor(architecture.std).view(1, 3, 1, 1))
        self.register_buffer("text", model.text)

    def forward(self, images: Tensor) -> Tensor:
        """Raw maps; larger is more abnormal."""
        maps: Tensor = self.network((images - self.channel_mean) / self.channel_std, self.text).maps
        return maps


def probe_images(size: int, count: int = 2) -> Tensor:
    """Reproducible smooth images (count, 3, size, size) in [0, 1], to compare programs with."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, size // 16, size // 16, generator=generator)
    return nn.functional.interpolate(coarse, (size, size), mode="bilinear", align_corners=False)


@torch.inference_mode()
def check_equal(network: ExportedNetwork, run: Callable[[Tensor], Tensor], size: int, what: str) -> float:
    """Compare an exported network with PyTorch.

    Args:
        network: The original.
        run: The exported one, on images.
        size: Side of the images.
        what: The format, for the message.

    Returns:
        The largest difference as a share of the map's range.

    Raises:
        InputError: They differ by more than `LARGEST_DIFFERENCE`.
    """
    images = probe_images(size)
    expected = network(images)
    difference = float((run(images) - expected).abs().max() / (expected.max() - expected.min()))
    if not difference <= LARGEST_DIFFERENCE:
        raise InputError(
            f"{what}: the exported network differs from PyTorch by {difference:.2g} of the map's range, more than "
            f"{LARGEST_DIFFERENCE:g}; nothing was kept. Use another format, or another version of its library."
        )
    return difference
