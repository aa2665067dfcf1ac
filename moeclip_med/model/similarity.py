"""From token maps and prompts to patch logits and to the anomaly map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from moeclip_transforms.errors import InputError
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from moeclip_med.model.architecture import BlurSpec

NORMAL, ABNORMAL = 0, 1
"""Columns of the prompt embeddings."""


def patch_logits(tokens: Tensor, text: Tensor, scale: float) -> Tensor:
    """Scaled cosines between patches and prompts.

    Args:
        tokens: (B, h, w, width), normalised.
        text: (width, 2), or (B, width, 2) for prompts that differ between images.
        scale: Factor of the cosines.

    Returns:
        (B, 2, h, w): normal, abnormal.
    """
    cosines = torch.matmul(tokens, text if text.dim() == 2 else text.unsqueeze(1))  # noqa: PLR2004 - a matrix
    return scale * cosines.permute(0, 3, 1, 2)


def anomaly_of_tokens(projected: Tensor, text: Tensor, scale: float) -> Tensor:
    """How abnormal each patch is, (abnormal logit + 1 - normal logit)/2.

    The normalisation is applied after the product, where one number per patch is left.

    Args:
        projected: (B, h, w, width), not yet normalised.
        text: (width, 2), columns normalised.
        scale: Factor of the cosines, as in `patch_logits`.

    Returns:
        (B, h, w), at most 1/2 ± scale.
    """
    # A matrix of one row, not a vector: OpenVINO 2026.4 fails to fuse what follows a product with a vector.
    direction = (text[:, ABNORMAL] - text[:, NORMAL]).unsqueeze(0)
    length: Tensor = torch.linalg.vector_norm(projected, dim=-1).clamp_min(1e-12)
    product: Tensor = functional.linear(projected, direction).squeeze(-1)
    return (scale * product / length + 1) / 2


class AnomalyMap(nn.Module):
    """Sum over maps, blur on the patch grid, one resize.

    Blur, resize and sum are linear, so summing first gives the same as the paper's order, which blurs and resizes
    each map. Levels with coarser grids are first brought to the finest.
    """

    taps: Tensor

    def __init__(self, grid: int, map_size: int, blur: BlurSpec | None, *, corners_aligned: bool) -> None:
        """Prepare for a grid.

        Args:
            grid: Side of the finest patch grid.
            map_size: Side of the map in pixels.
            blur: The blur on the patch grid, or None.
            corners_aligned: Whether resizing aligns corners.

        Raises:
            InputError: The blur reaches beyond the grid.
        """
        super().__init__()
        self.grid, self.map_size, self.corners_aligned = grid, map_size, corners_aligned
        self.reach = 0 if blur is None else blur.kernel // 2
        if self.reach >= grid:
            raise InputError(
                f"architecture.blur: a kernel of {2 * self.reach + 1} does not fit a grid of {grid} patches; "
                "use a larger image or a smaller kernel."
            )
        taps = torch.ones(1) if blur is None else gaussian_taps(blur)
        self.register_buffer("taps", taps, persistent=False)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Fuse the maps of all levels.

        Args:
            levels: One (B, h, w) per level, already summed over its windows.

        Returns:
            (B, map_size, map_size).
        """
        on_one_grid = [self._resize(level.unsqueeze(1), self.grid) for level in levels]
        summed = torch.stack(on_one_grid).sum(dim=0)
        return self._resize(self._blur(summed), self.map_size).squeeze(1)

    def _resize(self, image: Tensor, side: int) -> Tensor:
        if image.shape[-1] == side:
            return image
        return functional.interpolate(image, size=(side, side), mode="bilinear", align_corners=self.corners_aligned)

    def _blur(self, image: Tensor) -> Tensor:
        if not self.reach:
            return image
        padded = functional.pad(image, (self.reach,) * 4, mode="reflect")
        taps = self.taps.to(image.dtype)
        return functional.conv2d(functional.conv2d(padded, taps[None, None, :, None]), taps[None, None, None])


def gaussian_taps(blur: BlurSpec) -> Tensor:
    """The one-dimensional Gaussian kernel, (kernel,), summing to 1."""
    offsets = torch.arange(blur.kernel, dtype=torch.float64) - blur.kernel // 2
    taps = torch.exp(-(offsets**2) / (2 * blur.sigma**2))
    return (taps / taps.sum()).float()
