"""Frozen backbones as a list of stages; tokens come out of each and flow on into the next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from moeclip_transforms.errors import InputError
from torch import Tensor, nn
from torch.nn import functional

from moeclip_med.model.attention import fuse_attention

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeclip_med.model.architecture import Architecture

_PROBE_PIXELS = 64
"""Side of the blank image that tells a convolutional tower's widths and strides."""


class Tower(nn.Module, ABC):
    """A frozen image tower cut into stages, one per level.

    Tokens are (batch, ..., width), the width always last, so that experts and projections treat every tower alike.

    Attributes:
        stages: One module per level. The first takes images (B, 3, S, S), the others the tokens of the one before.
        widths: Width of the tokens after each stage.
        grids: Side of the square patch grid after each stage, for the architecture's image size.
    """

    stages: nn.ModuleList
    widths: tuple[int, ...]
    grids: tuple[int, ...]

    @abstractmethod
    def patches(self, level: int, tokens: Tensor) -> Tensor:
        """The patch tokens of a level laid out as (B, h, w, width), tokens without a place excluded."""

    @abstractmethod
    def normalise(self, tokens: Tensor) -> Tensor:
        """The normalisation that stands between a level's tokens and its projection; (..., width) both ways."""

    def freeze(self) -> None:
        """Take the tower out of training, for good."""
        self.requires_grad_(requires_grad=False)
        self.eval()

    def train(self, mode: bool = True) -> Tower:  # noqa: ARG002, FBT001, FBT002 - torch's signature
        """Stay in evaluation mode: batch statistics and dropout of a frozen tower never change."""
        return super().train(mode=False)


class TransformerStem(nn.Module):
    """From images (B, 3, S, S) to the first block's tokens (B, 1 + h·w, width) in OpenCLIP's vision transformer.

    Patch embedding, class token, positions resized to the grid, first normalisation.
    """

    def __init__(self, visual: Any, grid: int) -> None:  # noqa: ANN401 - OpenCLIP is untyped
        super().__init__()
        self.conv1 = visual.conv1
        self.class_embedding = visual.class_embedding
        self.positional_embedding = nn.Parameter(
            resize_positional_embedding(visual.positional_embedding.detach(), grid)
        )
        self.ln_pre = visual.ln_pre

    def forward(self, images: Tensor) -> Tensor:
        """Embed images."""
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        class_token = self.class_embedding.expand(images.shape[0], 1, -1)
        tokens: Tensor = self.ln_pre(torch.cat([class_token, patches], dim=1) + self.positional_embedding)
        return tokens


class TransformerTower(Tower):
    """OpenCLIP's own vision transformer; tokens are (B, 1 + h·w, width), the class token first."""

    def __init__(self, visual: Any, architecture: Architecture) -> None:  # noqa: ANN401 - OpenCLIP is untyped
        """Cut the transformer after the architecture's levels; blocks behind the last are dropped.

        Args:
            visual: `open_clip.transformer.VisionTransformer`.
            architecture: Names levels and image size.

        Raises:
            InputError: The image size is no multiple of the patch, or a level lies behind the last block.
        """
        super().__init__()
        patch, blocks = visual.patch_size[0], [fuse_attention(block) for block in visual.transformer.resblocks]
        check_levels(architecture, len(blocks))
        if architecture.image_size % patch:
            raise InputError(
                f"image size {architecture.image_size} is no multiple of the {patch}-pixel patches of "
                f'"{architecture.tower.name}"; use {architecture.image_size // patch * patch}.'
            )
        if visual.attn_pool is not None:
            raise InputError(
                f'tower "{architecture.tower.name}" pools by attention, so its last normalisation does not fit '
                "patch tokens; choose an OpenCLIP model without attention pooling."
            )
        grid = architecture.image_size // patch
        starts = (0, *architecture.levels[:-1])
        groups = [list(blocks[start:stop]) for start, stop in zip(starts, architecture.levels, strict=True)]
        self.stages = nn.ModuleList(
            [
                nn.Sequential(TransformerStem(visual, grid), *groups[0]),
                *(nn.Sequential(*group) for group in groups[1:]),
            ]
        )
        self.ln_post = visual.ln_post
        self.widths = (visual.conv1.out_channels,) * len(groups)
        self.grids = (grid,) * len(groups)
        self.freeze()

    def patches(self, level: int, tokens: Tensor) -> Tensor:
        """Drop the class token; (B, 1 + h·w, width) → (B, h, w, width)."""
        side = self.grids[level]
        return tokens[:, 1:].reshape(-1, side, side, tokens.shape[-1])

    def normalise(self, tokens: Tensor) -> Tensor:
        """CLIP's last layer normalisation."""
        normalised: Tensor = self.ln_post(tokens)
        return normalised


class _MapStage(nn.Module):
    """Convolutional blocks between token tensors: (B, h, w, width) is a channels-last map, so no copy is made."""

    def __init__(self, blocks: Sequence[nn.Module], *, is_first: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.is_first = is_first

    def forward(self, state: Tensor) -> Tensor:
        """Run the blocks on images or on tokens laid out as a map."""
        image = state if self.is_first else state.permute(0, 3, 1, 2)
        feature: Tensor = self.blocks(image)
        return feature.permute(0, 2, 3, 1)


class ConvolutionalTower(Tower):
    """A convolutional network; tokens are its feature maps, (B, h, w, width)."""

    def __init__(self, stem: nn.Module, blocks: Sequence[nn.Module], architecture: Architecture) -> None:
        """Cut the network after the architecture's levels; blocks behind the last are dropped.

        Args:
            stem: From images to the first block's input.
            blocks: What the levels count, from 1.
            architecture: Names levels and image size.

        Raises:
            InputError: A level lies behind the last block, or the image size is no multiple of the last stride.
        """
        super().__init__()
        check_levels(architecture, len(blocks))
        starts = (0, *architecture.levels[:-1])
        groups = [list(blocks[start:stop]) for start, stop in zip(starts, architecture.levels, strict=True)]
        groups[0].insert(0, stem)
        self.stages = nn.ModuleList(_MapStage(group, is_first=level == 0) for level, group in enumerate(groups))
        self.freeze()
        self.widths, strides = self._probe()
        if architecture.image_size % strides[-1]:
            raise InputError(
                f"image size {architecture.image_size} is no multiple of the stride {strides[-1]} of "
                f'"{architecture.tower.name}"; use {architecture.image_size // strides[-1] * strides[-1]}.'
            )
        self.grids = tuple(architecture.image_size // stride for stride in strides)
        self.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def _probe(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Run a blank image through, to learn widths and strides from the network itself."""
        state = torch.zeros(1, 3, _PROBE_PIXELS, _PROBE_PIXELS)
        shapes = []
        for stage in self.stages:
            state = stage(state)
            shapes.append(state.shape)
        return tuple(shape[3] for shape in shapes), tuple(_PROBE_PIXELS // shape[1] for shape in shapes)

    def patches(self, level: int, tokens: Tensor) -> Tensor:  # noqa: ARG002 - every level is a map already
        """The tokens as they are: each has its place."""
        return tokens

    def normalise(self, tokens: Tensor) -> Tensor:
        """Layer normalisation without learned parameters: the tower has none of its own for every level."""
        return functional.layer_norm(tokens, tokens.shape[-1:])


def resize_positional_embedding(embedding: Tensor, grid: int) -> Tensor:
    """Fit CLIP's positional embedding to another patch grid.

    Bicubic with antialiasing, which changes the kernel even when enlarging; corners not aligned.

    Args:
        embedding: (1 + g·g, width), class token first.
        grid: Side of the wanted grid.

    Returns:
        (1 + grid·grid, width).
    """
    side = round((embedding.shape[0] - 1) ** 0.5)
    if side == grid:
        return embedding
    image = embedding[1:].reshape(side, side, -1).permute(2, 0, 1).unsqueeze(0)
    resized = functional.interpolate(image, size=(grid, grid), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([embedding[:1], resized.squeeze(0).flatten(1).transpose(0, 1)])


def build_tower(network: Any, architecture: Architecture) -> Tower:  # noqa: ANN401 - OpenCLIP and timm are untyped
    """Make the tower of an architecture from the library's network.

    Args:
        network: OpenCLIP's `visual`, or a timm model.
        architecture: Names tower, levels and image size.

    Raises:
        InputError: The network has no stages that experts could follow.
    """
    from moeclip_med.model.timm_transformer import TimmTransformerTower

    if hasattr(network, "transformer") and hasattr(network.transformer, "resblocks"):
        return TransformerTower(network, architecture)
    trunk = getattr(network, "trunk", network)
    if hasattr(trunk, "patch_embed") and hasattr(trunk, "num_prefix_tokens"):
        return TimmTransformerTower(trunk, architecture)
    if hasattr(trunk, "stem") and hasattr(trunk, "stages"):  # ConvNeXt, FastViT (MobileCLIP)
        return ConvolutionalTower(trunk.stem, list(trunk.stages), architecture)
    if hasattr(trunk, "conv_stem") and hasattr(trunk, "blocks"):  # EfficientNet
        return ConvolutionalTower(nn.Sequential(trunk.conv_stem, trunk.bn1), list(trunk.blocks), architecture)
    raise InputError(
        f'tower "{architecture.tower.name}" ({type(trunk).__name__}) has no stages that experts could follow; '
        "supported are vision transformers of OpenCLIP and timm, ConvNeXt, FastViT (MobileCLIP-S) and EfficientNet."
    )


def check_levels(architecture: Architecture, block_count: int) -> None:
    """Make sure that the network has the blocks that levels sit after.

    Raises:
        InputError: It has not.
    """
    if architecture.levels[-1] > block_count:
        raise InputError(
            f'architecture.levels: block {architecture.levels[-1]} of "{architecture.tower.name}", '
            f"which has {block_count} blocks."
        )
