"""Whether two arrays lie on one grid, measured in voxels: in mm, rounding moves large volumes more than small ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeclip_transforms.geometry import Affine

SAME_GRID_VOXELS = 0.25
"""Grids of one shape whose corners are apart by less than this share of a voxel are the same but for rounding: half a
voxel is already another grid, as resampling makes it."""


@dataclass(frozen=True)
class GridDistance:
    """How far two grids of one shape are apart at most.

    Attributes:
        voxels: In voxels of the first, along the axis where it is most.
        mm: In mm.
    """

    voxels: float
    mm: float

    @property
    def is_same(self) -> bool:
        """Whether the difference is rounding."""
        return self.voxels <= SAME_GRID_VOXELS

    def __str__(self) -> str:
        return f"{self.voxels:.2g} voxels ({self.mm:.2g} mm) apart"


def grid_distance(first: Affine, second: Affine, shape: Sequence[int]) -> GridDistance:
    """Return how far the corners of two grids are apart.

    Args:
        first: Voxel to world of one.
        second: Voxel to world of the other.
        shape: Voxels along x, y, z, of both.
    """
    ends = [(0, size - 1) for size in shape]
    corners = np.array(np.meshgrid(*ends, indexing="ij"), dtype=np.float64).reshape(3, -1).T
    there = second.to_world(corners)
    voxels = np.abs(first.to_voxel(there) - corners).max()
    mm = np.linalg.norm(there - first.to_world(corners), axis=1).max()
    return GridDistance(float(voxels), float(mm))
