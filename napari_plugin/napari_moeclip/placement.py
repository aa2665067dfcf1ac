"""Where a volume lies in the viewer: the one place that turns volume axes into layer axes and back.

The viewer's world is the patient's: its axes run to the feet (I), to the back (P) and to the left (L), in mm. Seen by
napari's default camera that is the radiological convention in all three planes, and a right-handed, unmirrored 3-D
view. napari cuts slices along its own axes only, so an oblique volume keeps its own axes (each named after the nearest
patient axis): its coordinates in the viewer are mm along them. Patient coordinates come from the full affine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from moeclip_transforms.geometry import Affine
    from moeclip_transforms.volume import Grid
    from numpy.typing import ArrayLike, NDArray

WORLD_AXES = (("S", "I"), ("A", "P"), ("R", "L"))
"""Each axis of the viewer's world by the patient directions at its start and its end."""


@dataclass(frozen=True)
class Placement:
    """How an (x, y, z) array becomes a layer, and where.

    Attributes:
        axes: The volume axes that become the layer's axes.
        flips: Whether each layer axis runs against its volume axis.
        scale: Distance between neighbouring voxels along each layer axis, mm (pixels without spacing).
        translate: World coordinate of the first voxel of the layer.
        ends: Patient directions at the start and end of each layer axis; None without orientation.
        slice_axis: The layer axis along which the volume was acquired.
        is_flat: True for one image: the layer has its last two axes only.
        leading: Index along the layer's axes before the last three (a time point); empty where there are none.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    scale: tuple[float, float, float]
    translate: tuple[float, float, float]
    ends: tuple[tuple[str, str], ...] | None
    slice_axis: int
    is_flat: bool = False
    leading: tuple[int, ...] = ()

    @property
    def ndim(self) -> int:
        """Number of spatial axes of the layer."""
        return 2 if self.is_flat else 3

    @property
    def dims_order(self) -> tuple[int, int, int]:
        """Axes in the order that shows the slices as acquired: slider, rows, columns."""
        first, second = (axis for axis in range(3) if axis != self.slice_axis)
        return (self.slice_axis, first, second)

    @property
    def transform(self) -> dict[str, Any]:
        """What a napari layer is told about its place."""
        first = 3 - self.ndim
        unit = "mm" if self.ends is not None else "pixel"
        return {
            "scale": self.scale[first:],
            "translate": self.translate[first:],
            "units": (unit,) * self.ndim,
            "axis_labels": _axis_labels(self.ends)[first:],
        }

    def to_world(self) -> NDArray[np.float64]:
        """Return the 4x4 matrix from the layer's index to the viewer's world, along their last three axes."""
        first = 3 - self.ndim
        matrix = np.eye(4)
        for axis in range(first, 3):
            matrix[axis, axis], matrix[axis, 3] = self.scale[axis], self.translate[axis]
        return matrix

    def show(self, array: NDArray[Any]) -> NDArray[Any]:
        """View an (x, y, z) array with the layer's axes, one entry long along those of time; no copy."""
        shown = array.transpose(self.axes)
        shown = np.flip(shown, tuple(axis for axis in range(3) if self.flips[axis]))
        shown = shown[0] if self.is_flat else shown
        stacked: NDArray[Any] = np.expand_dims(shown, tuple(range(len(self.leading))))
        return stacked

    def hide(self, shown: NDArray[Any]) -> NDArray[Any]:
        """View an array with the layer's axes as (x, y, z): the inverse of `show`."""
        spatial: NDArray[Any] = shown[(0,) * len(self.leading)]
        spatial = spatial[None] if self.is_flat else spatial
        flipped = np.flip(spatial, tuple(axis for axis in range(3) if self.flips[axis]))
        return flipped.transpose([self.axes.index(axis) for axis in range(3)])

    def to_voxel(self, index: ArrayLike, shape: tuple[int, int, int]) -> NDArray[np.float64]:
        """Return the volume's fractional index (x, y, z) for one of the layer's.

        Args:
            index: Fractional index along the layer's axes (only the last ones count).
            shape: The volume's shape, (x, y, z).
        """
        shown = np.zeros(3)
        shown[3 - self.ndim :] = np.asarray(index, dtype=float)[-self.ndim :]
        voxel = np.zeros(3)
        for position, axis, flip in zip(shown, self.axes, self.flips, strict=True):
            voxel[axis] = shape[axis] - 1 - position if flip else position
        return voxel

    def to_index(self, voxel: ArrayLike, shape: tuple[int, int, int]) -> NDArray[np.float64]:
        """Return the layer's fractional index for one of the volume's, (x, y, z)."""
        place = np.asarray(voxel, dtype=float)
        shown = [
            shape[axis] - 1 - place[axis] if flip else place[axis]
            for axis, flip in zip(self.axes, self.flips, strict=True)
        ]
        return np.asarray(shown, dtype=float)[3 - self.ndim :]


def place(volume: Grid) -> Placement:
    """Place a volume in the viewer.

    Args:
        volume: The volume; its voxels are not looked at.
    """
    affine = volume.affine
    if not volume.has_orientation:
        x, y, z = affine.spacing
        return Placement((2, 1, 0), (False,) * 3, (z, y, x), (0.0, 0.0, 0.0), None, slice_axis=0)
    directions = _acquisition_directions(affine, volume.slice_axis)
    codes = affine.axis_codes
    axes, flips, scale, translate = [], [], [], []
    for start, end in WORLD_AXES:
        axis = next(axis for axis in range(3) if codes[axis] in (start, end))
        flip = codes[axis] == start
        direction = -directions[axis] if flip else directions[axis]
        step = float(affine.matrix[:3, axis] @ directions[axis])
        first = affine.to_world([volume.shape[axis] - 1 if flip and other == axis else 0 for other in range(3)])
        axes.append(axis)
        flips.append(flip)
        scale.append(step)
        translate.append(float(first @ direction))
    return Placement(
        axes=(axes[0], axes[1], axes[2]),
        flips=(flips[0], flips[1], flips[2]),
        scale=(scale[0], scale[1], scale[2]),
        translate=(translate[0], translate[1], translate[2]),
        ends=WORLD_AXES,
        slice_axis=axes.index(volume.slice_axis),
    )


def _acquisition_directions(affine: Affine, slice_axis: int) -> NDArray[np.float64]:
    """Return one orthogonal unit vector per volume axis: the slices' own axes and their normal.

    Where the gantry was tilted the slice axis is not the normal; slices are shown unsheared, one above the other.
    """
    directions = affine.direction.T.copy()
    first, second = (axis for axis in range(3) if axis != slice_axis)
    normal = np.cross(directions[first], directions[second])
    normal /= np.linalg.norm(normal)
    directions[slice_axis] = normal if normal @ directions[slice_axis] > 0 else -normal
    return directions


def _axis_labels(ends: tuple[tuple[str, str], ...] | None) -> tuple[str, ...]:
    if ends is None:
        return ("frame", "row", "column")
    return tuple(f"{start}–{end}" for start, end in ends)
