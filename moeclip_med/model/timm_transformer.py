"""Vision transformers of timm as towers: DINOv2, DINOv3, RADIO, SigLIP and their kin.

Patches of any size, class and register tokens or none, learned or rotary positions, layer scale or none: timm's own
embedding and blocks are called, so all of that is theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from moeclip_transforms.errors import InputError
from torch import Tensor, nn
from torch.nn import functional

from moeclip_med.model.towers import Tower, check_levels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeclip_med.model.architecture import Architecture


class _Stem(nn.Module):
    """From images (B, 3, S, S) to the first block's tokens (B, prefix + h·w, width)."""

    def __init__(self, network: Any) -> None:  # noqa: ANN401 - timm is untyped
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Embed images: patches, prefix tokens, positions, first normalisation."""
        embedded = self.network._pos_embed(self.network.patch_embed(images))  # noqa: SLF001 - timm has no public name
        tokens = embedded[0] if isinstance(embedded, tuple) else embedded
        normalised: Tensor = self.network.norm_pre(tokens)
        return normalised


class _Blocks(nn.Module):
    """Consecutive blocks, with the rotary positions of their depth where the network has such."""

    def __init__(self, blocks: Sequence[nn.Module], positions: Sequence[Tensor | None]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        for index, position in enumerate(positions):
            self.register_buffer(f"position_{index}", position, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Run the blocks."""
        for index, block in enumerate(self.blocks):
            position = getattr(self, f"position_{index}")
            tokens = block(tokens) if position is None else block(tokens, rope=position)
        return tokens


class TimmTransformerTower(Tower):
    """A vision transformer of timm; tokens are (B, prefix + h·w, width), class and register tokens first."""

    def __init__(self, network: Any, architecture: Architecture) -> None:  # noqa: ANN401 - timm is untyped
        """Cut the transformer after the architecture's levels; blocks behind the last are dropped.

        Args:
            network: timm's `VisionTransformer` or `Eva`; its positions are resized to the image size (bicubic,
                antialiased).
            architecture: Names levels and image size.

        Raises:
            InputError: The image size is no multiple of the patch, or a level lies behind the last block.
        """
        super().__init__()
        patch, blocks = network.patch_embed.patch_size[0], list(network.blocks)
        check_levels(architecture, len(blocks))
        size = architecture.image_size
        if size % patch:
            raise InputError(
                f"image size {size} is no multiple of the {patch}-pixel patches of "
                f'"{architecture.tower.name}"; use {size // patch * patch}.'
            )
        network.set_input_size(img_size=(size, size))
        positions = _rotary_positions(network, len(blocks), size // patch)
        network.blocks = nn.ModuleList()  # the stages hold them
        self.prefix = int(network.num_prefix_tokens)
        starts = (0, *architecture.levels[:-1])
        groups = [
            _Blocks(blocks[start:stop], positions[start:stop])
            for start, stop in zip(starts, architecture.levels, strict=True)
        ]
        self.stages = nn.ModuleList([nn.Sequential(_Stem(network), groups[0]), *groups[1:]])
        self.norm = network.norm
        self.widths = (int(network.embed_dim),) * len(groups)
        self.grids = (size // patch,) * len(groups)
        self.freeze()

    def patches(self, level: int, tokens: Tensor) -> Tensor:
        """Drop class and register tokens; (B, prefix + h·w, width) → (B, h, w, width)."""
        side = self.grids[level]
        return tokens[:, self.prefix :].reshape(-1, side, side, tokens.shape[-1])

    def normalise(self, tokens: Tensor) -> Tensor:
        """The network's last normalisation; one without learned parameters where it has none."""
        if isinstance(self.norm, nn.Identity):
            return functional.layer_norm(tokens, tokens.shape[-1:])
        normalised: Tensor = self.norm(tokens)
        return normalised


@torch.no_grad()
def _rotary_positions(network: Any, depth: int, grid: int) -> list[Tensor | None]:  # noqa: ANN401 - timm is untyped
    """The rotary positions of each block; None where positions are learned."""
    rope = getattr(network, "rope", None)
    if rope is None:
        return [None] * depth
    embedded: Tensor = rope.get_embed(shape=(grid, grid))
    return [embedded[index] if getattr(network, "rope_mixed", False) else embedded for index in range(depth)]
