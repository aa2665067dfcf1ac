"""Across which axis a volume is cut into slices: told from its shape first, then from its spacing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeclip_transforms.geometry import Affine

_SLAB = 4
"""An axis with so many times fewer voxels than any other is that of a slab: slices along it would be ribbons."""
_SLAB_SLICES = 16
_COARSER = 1.05
_SHORT_LINE = 64


def likely_slice_axis(
    affine: Affine, shape: Sequence[int], *, told: int | None = None, has_orientation: bool = True
) -> int:
    """Return the axis (0, 1 or 2) along which a volume was probably acquired, so that its slices are images.

    A single slice, or a slab of a few, decides by its shape; else what the header tells; else the coarsest axis;
    where all are alike the axial one, or the last without orientation.

    Args:
        affine: Voxel to world.
        shape: Voxels along x, y, z.
        told: The axis that the header names, if it does.
        has_orientation: Whether the affine says where the patient is.
    """
    spacing = np.asarray(affine.spacing)
    by_size = np.argsort(shape, kind="stable")
    thin, next_thin = shape[by_size[0]], shape[by_size[1]]
    if thin < next_thin and (thin == 1 or (thin < _SLAB_SLICES and _SLAB * thin <= next_thin)):
        return int(by_size[0])
    if told is not None:
        return told
    coarsest = int(spacing.argmax())
    if spacing[coarsest] > _COARSER * np.sort(spacing)[1]:
        return coarsest
    if not has_orientation:
        return 2
    return next(axis for axis, code in enumerate(affine.axis_codes) if code in "SI")


_FOLDED_SURFACE = (27307, 1, 6)
"""How FreeSurfer writes the 163 842 vertices of a surface, since an axis of NIfTI-1 is shorter than that."""


def check_is_image(shape: Sequence[int], name: str) -> None:
    """Refuse values that have one axis only, such as those of a surface, as no image.

    Args:
        shape: Voxels along x, y and possibly z.
        name: The file, for the message.

    Raises:
        InputError: When it is a line of more than a few voxels.
    """
    is_line = sum(size > 1 for size in shape) < 2 and max(shape) > _SHORT_LINE  # noqa: PLR2004
    if is_line or tuple(shape) == _FOLDED_SURFACE:
        raise InputError(
            f'"{name}" holds {"×".join(map(str, shape))} values, a line and no image (of a surface or a table?); '
            "give an image of two or three dimensions."
        )
