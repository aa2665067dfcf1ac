"""Learned heads: projections to the prompts' space, image embedding, prompts."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from moeclip_med.model.architecture import ProjectionSpec

_TEXT_SLOPE = 0.01


class Projection(nn.Sequential):
    """From token features (..., width in) to the prompts' space (..., width out), not normalised."""

    def __init__(self, width: int, spec: ProjectionSpec) -> None:
        sizes = [width, *([] if spec.hidden is None else [spec.hidden]), spec.width]
        layers: list[nn.Module] = []
        for index, (inputs, outputs) in enumerate(pairwise(sizes)):
            layers.append(nn.Linear(inputs, outputs, bias=False))
            if spec.ends_with_activation or index < len(sizes) - 2:
                layers.append(nn.LeakyReLU(spec.slope))
        super().__init__(*layers)


class ConvolutionImageHead(nn.Module):
    """The paper's image embedding: a convolution along the token axis, then the mean over normalised tokens."""

    def __init__(self, width: int, out_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.depthwise = nn.Conv1d(width, width, kernel_size=3, padding="same", groups=width, bias=False)
        self.pointwise = nn.Conv1d(width, out_width, kernel_size=1, bias=False)

    def forward(self, patches: Tensor) -> Tensor:
        """From normalised patches (B, h, w, width) to (B, out width); the mean is not normalised again."""
        tokens = self.norm(patches).flatten(1, 2).transpose(1, 2)
        projected = self.pointwise(functional.gelu(self.depthwise(tokens)))
        return functional.normalize(projected, dim=1).mean(dim=2)


class MeanImageHead(nn.Module):
    """A small image embedding: the mean of the patches through one linear layer, normalised."""

    def __init__(self, width: int, out_width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, out_width, bias=False)

    def forward(self, patches: Tensor) -> Tensor:
        """From patches (B, h, w, width) to (B, out width)."""
        return functional.normalize(self.linear(patches.mean(dim=(1, 2))), dim=-1)


class LearnedPrompts(nn.Module):
    """One normal and one abnormal vector in place of a text tower; they know no object."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(width, 2))

    def forward(self) -> Tensor:
        """(width, 2), columns normalised."""
        return functional.normalize(self.vectors, dim=0)


class TextAdapter(nn.Module):
    """From frozen text features of several phrases to one normal and one abnormal embedding."""

    def __init__(self, width: int, out_width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, out_width, bias=False)

    def forward(self, normal: Tensor, abnormal: Tensor) -> Tensor:
        """Adapt, normalise, average, normalise again.

        Args:
            normal: (phrases, width), the text tower's features at the end-of-text token, after its last norm.
            abnormal: The same for the abnormal phrases.

        Returns:
            (out width, 2), columns normalised.
        """
        sides = [functional.leaky_relu(self.linear(side), _TEXT_SLOPE) for side in (normal, abnormal)]
        return torch.stack([mean_direction(side) for side in sides], dim=-1)


def mean_direction(phrases: Tensor) -> Tensor:
    """The mean of normalised embeddings (phrases, width), normalised again: (width,)."""
    return functional.normalize(functional.normalize(phrases, dim=-1).mean(dim=0), dim=0)
