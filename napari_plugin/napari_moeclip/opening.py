"""Find the image that a finished run belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeclip_transforms.same_grid import grid_distance
from napari.layers import Image

from napari_moeclip.layers import origin_of

if TYPE_CHECKING:
    from moeclip_transforms.volume import Grid
    from napari import Viewer


def image_on_same_grid(viewer: Viewer, volume: Grid) -> Image | None:
    """Give the image layer whose voxels lie where a volume's lie; None if there is none."""
    for layer in viewer.layers:
        origin = origin_of(layer)
        if not isinstance(layer, Image) or origin is None or origin.role != "image":
            continue
        other = origin.volume.light
        if other.shape == volume.shape and grid_distance(other.affine, volume.affine, volume.shape).is_same:
            return layer
    return None
