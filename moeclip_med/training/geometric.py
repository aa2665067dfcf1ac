"""The paper's augmentation: rotation, shift, flips, after normalisation, nearest neighbour, zero fill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from moeclip_med.industrial.fields import chance

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor

LARGEST_ANGLE = 30.0
LARGEST_SHIFT = 0.15
SHARE = 0.5


def random_geometry(rng: Generator) -> Tensor:
    """A random 2×3 matrix from output to input coordinates in [-1, 1]: each of four changes with probability one half.

    Rotation by up to ±30°, shift by up to 15 % of each side, horizontal flip, vertical flip.
    """
    angle = np.deg2rad(rng.uniform(-LARGEST_ANGLE, LARGEST_ANGLE)) if chance(rng, SHARE) else 0.0
    # The coordinates run over [-1, 1], so a share of the side counts twice.
    shift = 2 * rng.uniform(-LARGEST_SHIFT, LARGEST_SHIFT, 2) if chance(rng, SHARE) else np.zeros(2)
    flips = np.array([-1.0 if chance(rng, SHARE) else 1.0 for _ in range(2)])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.concatenate([turn * flips[:, None], shift[:, None]], axis=1)
    return torch.from_numpy(matrix).float()


def transform(image: Tensor, matrix: Tensor) -> Tensor:
    """Sample (channel, S, S) at the matrix' coordinates, nearest neighbour, zero outside."""
    grid = functional.affine_grid(matrix[None], [1, *image.shape], align_corners=False)
    moved = functional.grid_sample(image[None], grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return moved[0]
