"""A volume as slices along a plane, shown the radiological way, and back again exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from moeclip_transforms.errors import InputError
from moeclip_transforms.volume import Plane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from moeclip_transforms.geometry import Affine
    from moeclip_transforms.volume import Grid

    Array = TypeVar("Array", NDArray[Any], Tensor)


@dataclass(frozen=True)
class EdgeLetters:
    """The patient directions at the edges of a slice as shown: "R", "L", "A", "P", "S" or "I"."""

    left: str
    right: str
    top: str
    bottom: str


# Radiological convention, for each plane: the directions of increasing row and column.
_ROW_AND_COLUMN = {"axial": ("P", "L"), "coronal": ("I", "L"), "sagittal": ("I", "P")}
_PLANE_OF_NORMAL = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal", "R": "sagittal", "L": "sagittal"}
_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}


@dataclass(frozen=True)
class SliceView:
    """How the slices of a volume along one plane are taken out, shown, and put back.

    Radiological convention, as if seen from the feet or from the front: axial columns run from the patient's right
    to the left and rows from front to back; coronal columns from right to left and rows from head to feet; sagittal
    columns from front to back and rows from head to feet. Images without patient orientation are shown as stored.

    Attributes:
        plane: "axial", "coronal", "sagittal", or "image" where there is no orientation.
        axes: The volume axes that become (slice, row, column).
        flips: Whether (slice, row, column) run against their volume axis.
        spacing: Distance between (slices, rows, columns), mm.
        letters: What stands at the edges of a slice as shown; None without orientation.
        n_slices: Number of slices.
        rows: Rows of each slice.
        columns: Columns of each slice.
    """

    plane: str
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    spacing: tuple[float, float, float]
    letters: EdgeLetters | None
    n_slices: int
    rows: int
    columns: int

    def take(self, array: Array, indices: Sequence[int]) -> Array:
        """Cut slices out of a volume.

        Args:
            array: (channel, x, y, z), torch or numpy.
            indices: Slice numbers of this view.

        Returns:
            (slices, channel, rows, columns) of the same type.
        """
        order = (self.axes[0] + 1, 0, self.axes[1] + 1, self.axes[2] + 1)
        wanted = _as_index([self.volume_index(index) for index in indices])
        flipped = tuple(axis for axis, flip in zip((2, 3), self.flips[1:], strict=True) if flip)
        if isinstance(array, np.ndarray):
            taken: NDArray[Any] = array.transpose(order)[wanted]
            return np.flip(taken, flipped)
        tensor = array.as_tensor() if hasattr(array, "as_tensor") else array
        return tensor.permute(order)[wanted].flip(flipped)

    def put(self, slices: NDArray[Any] | Tensor, indices: Sequence[int], into: NDArray[Any] | Tensor) -> None:
        """Write slices into a volume: the exact inverse of `take`.

        Args:
            slices: (slices, rows, columns), torch or numpy.
            indices: Their slice numbers in this view.
            into: (x, y, z), changed in place.
        """
        wanted = _as_index([self.volume_index(index) for index in indices])
        flipped = tuple(axis for axis, flip in zip((1, 2), self.flips[1:], strict=True) if flip)
        if isinstance(into, np.ndarray):
            values = slices if isinstance(slices, np.ndarray) else slices.detach().cpu().numpy()
            into.transpose(self.axes)[wanted] = np.flip(values, flipped)
        else:
            import torch

            tensor = torch.as_tensor(np.ascontiguousarray(slices)) if isinstance(slices, np.ndarray) else slices
            into.permute(self.axes)[wanted] = tensor.flip(flipped).to(into)

    def to_volume(self) -> NDArray[np.float64]:
        """The 4x4 matrix that maps (slice, row, column) indices of this view to indices of the volume."""
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1.0
        for place, size in enumerate((self.n_slices, self.rows, self.columns)):
            axis = self.axes[place]
            matrix[axis, place] = -1.0 if self.flips[place] else 1.0
            matrix[axis, 3] = size - 1 if self.flips[place] else 0.0
        return matrix

    def volume_index(self, slice_index: int) -> int:
        """The index along `axes[0]` of the volume that a slice number of this view stands for."""
        return self.n_slices - 1 - slice_index if self.flips[0] else slice_index


def slice_views(volume: Grid, plane: Plane = Plane.AUTO) -> tuple[SliceView, ...]:
    """The views of a volume along one plane, or along all three.

    Slices keep the order of the volume, so that a slice number means the same in every output.

    Args:
        volume: The volume.
        plane: AUTO is the plane in which it was acquired; ALL gives three views.

    Returns:
        One view, or three (axial, coronal, sagittal).

    Raises:
        InputError: When a plane other than the acquired one is asked of a volume that has no orientation, a single
            slice, or slices that no single affine puts in their places.
    """
    return views_of(
        volume.affine,
        volume.shape,
        plane,
        slice_axis=volume.slice_axis,
        has_orientation=volume.has_orientation,
        is_regular=volume.is_regular,
    )


def views_of(
    affine: Affine,
    shape: tuple[int, int, int],
    plane: Plane,
    *,
    slice_axis: int,
    has_orientation: bool = True,
    is_regular: bool = True,
) -> tuple[SliceView, ...]:
    """The views of any grid; see `slice_views`.

    Args:
        affine: Where the grid lies.
        shape: Its size, (x, y, z).
        plane: Which plane, AUTO for the one across `slice_axis`, ALL for three.
        slice_axis: The axis along which it was acquired.
        has_orientation: Whether the affine says where the patient is.
        is_regular: Whether the affine puts every slice in its place.

    Raises:
        InputError: As `slice_views`.
    """
    if not has_orientation:
        if plane is not Plane.AUTO:
            raise InputError(
                f'This image has no patient orientation, so it has no {_plane_words(plane)}; use the plane "auto".'
            )
        return (_image_view(affine, shape, slice_axis),)
    codes = affine.axis_codes
    acquired = _PLANE_OF_NORMAL[codes[slice_axis]]
    wanted = {Plane.AUTO: [acquired], Plane.ALL: list(_ROW_AND_COLUMN)}.get(plane, [plane.value])
    if wanted != [acquired]:
        if min(shape) == 1:
            raise InputError(
                f"This volume of {_times(shape)} voxels is a single {acquired} slice, so it has no "
                f'{_plane_words(plane)}; use the plane "auto".'
            )
        if not is_regular:
            raise InputError(
                f"This volume's slices are unevenly spaced or tilted, so it has no {_plane_words(plane)}; "
                f'use the plane "auto" ({acquired}, as acquired).'
            )
    return tuple(_oriented_view(affine, shape, name, codes) for name in wanted)


def _image_view(affine: Affine, shape: tuple[int, int, int], slice_axis: int) -> SliceView:
    column_axis, row_axis = (axis for axis in range(3) if axis != slice_axis)
    spacing = affine.spacing
    return SliceView(
        plane="image",
        axes=(slice_axis, row_axis, column_axis),
        flips=(False, False, False),
        spacing=(spacing[slice_axis], spacing[row_axis], spacing[column_axis]),
        letters=None,
        n_slices=shape[slice_axis],
        rows=shape[row_axis],
        columns=shape[column_axis],
    )


def _oriented_view(affine: Affine, shape: tuple[int, int, int], plane: str, codes: tuple[str, str, str]) -> SliceView:
    row_code, column_code = _ROW_AND_COLUMN[plane]
    row_axis = next(axis for axis in range(3) if codes[axis] in (row_code, _OPPOSITE[row_code]))
    column_axis = next(axis for axis in range(3) if codes[axis] in (column_code, _OPPOSITE[column_code]))
    axes = (3 - row_axis - column_axis, row_axis, column_axis)
    spacing = affine.spacing
    return SliceView(
        plane=plane,
        axes=axes,
        flips=(False, codes[row_axis] != row_code, codes[column_axis] != column_code),
        spacing=(spacing[axes[0]], spacing[axes[1]], spacing[axes[2]]),
        letters=EdgeLetters(_OPPOSITE[column_code], column_code, _OPPOSITE[row_code], row_code),
        n_slices=shape[axes[0]],
        rows=shape[axes[1]],
        columns=shape[axes[2]],
    )


def _as_index(indices: Sequence[int]) -> slice | list[int]:
    """Neighbouring indices as a slice, which makes a view instead of a copy."""
    if len(indices) > 0 and list(indices) == list(range(indices[0], indices[0] + len(indices))):
        return slice(indices[0], indices[0] + len(indices))
    return list(indices)


def _plane_words(plane: Plane) -> str:
    return "three planes" if plane is Plane.ALL else f"{plane.value} plane"


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(str(size) for size in shape)
