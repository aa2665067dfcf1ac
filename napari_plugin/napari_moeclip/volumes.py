"""A volume whose voxels lie in shared memory, so that the viewer needs neither torch nor MONAI."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from moeclip_transforms import Affine, slice_views
from moeclip_transforms.intensity import DISPLAY_RANGE_KEY
from moeclip_transforms.volume import Volume, image_when_asked

from napari_moeclip.shared import SharedArray

_TILT_SHOWN = 0.1
"""Degrees; less is not worth a word."""

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor
    from numpy.typing import NDArray

    from napari_moeclip.shared import SharedArrayReference


@dataclass(frozen=True)
class LightVolume(Volume):
    """A `Volume` without its voxels: everything about where it lies and came from, quick to send.

    Attributes:
        matrix: The 4x4 voxel-to-world matrix, mm, RAS+.
        size: (x, y, z).
        display_range: Lowest and highest value of images stored ready for display, or None.
    """

    matrix: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    size: tuple[int, int, int] = (0, 0, 0)
    display_range: tuple[float, float] | None = None

    @property
    def affine(self) -> NDArray[np.float64]:
        """The 4x4 voxel-to-world matrix, mm, RAS+."""
        return self.matrix

    @property
    def shape(self) -> tuple[int, int, int]:
        """The spatial shape, (x, y, z)."""
        return self.size

    @classmethod
    def of(cls, volume: Volume) -> Self:
        """Describe a volume without its voxels and its padding mask."""
        left_out = {"image": cast("MetaTensor", None), "padding_mask": None}
        details = left_out | {
            item.name: getattr(volume, item.name) for item in fields(Volume) if item.name not in left_out
        }
        display_range = volume.meta.get(DISPLAY_RANGE_KEY)
        return cls(**details, matrix=volume.affine, size=volume.shape, display_range=display_range)

    def with_voxels(self, voxels: NDArray[np.float32], padding: NDArray[np.bool_] | None) -> Volume:
        """Make the full volume around an array; the array is not copied.

        Args:
            voxels: (channel, x, y, z) float32.
            padding: (x, y, z) True where the scanner wrote padding, or None.
        """
        from torch import from_numpy

        meta: dict[str, Any] = {} if self.display_range is None else {DISPLAY_RANGE_KEY: self.display_range}
        image = image_when_asked(from_numpy(voxels), self.matrix.copy(), meta)
        details = {item.name: getattr(self, item.name) for item in fields(Volume)}
        return Volume(**(details | {"image": image, "padding_mask": padding}))


@dataclass(frozen=True)
class VolumeReference:
    """What the other process needs to find a volume.

    Attributes:
        light: All but the voxels.
        storage: The volume axes in the order in which memory holds them, slowest first.
        voxels: (channel, *storage) float32.
        padding: (*storage) bool, or None.
        colours: (*storage, 3) uint8, to show; None for grey images.
        windows: (low, high) for each kind of image with a window of its own, by its name; in stored values.
    """

    light: LightVolume
    storage: tuple[int, int, int]
    voxels: SharedArrayReference
    padding: SharedArrayReference | None = None
    colours: SharedArrayReference | None = None
    windows: dict[str, tuple[float, float]] = field(default_factory=dict)


class SharedVolume:
    """A volume in memory that both processes see.

    Attributes:
        light: All but the voxels.
        reference: How the other process finds it.
    """

    def __init__(self, reference: VolumeReference, *, owns: bool, voxels: SharedArray | None = None) -> None:
        """Find a volume's arrays.

        Args:
            reference: Where they are.
            owns: Whether this process removes them at the end (those that the other process handed over).
            voxels: The voxels, where this process made them itself.
        """
        take = SharedArray.adopt if owns else SharedArray.attach
        self.light = reference.light
        self.reference = reference
        self._voxels = take(reference.voxels) if voxels is None else voxels
        self._padding = None if reference.padding is None else take(reference.padding)
        self._colours = None if reference.colours is None else take(reference.colours)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A duplicated layer shares the voxels of the first."""
        return self

    @property
    def voxels(self) -> NDArray[np.float32]:
        """(channel, x, y, z)."""
        return unstore(self._voxels.array, self.reference.storage, leading=1)

    @property
    def padding(self) -> NDArray[np.bool_] | None:
        """(x, y, z) True where the scanner wrote padding; None if nowhere."""
        return None if self._padding is None else unstore(self._padding.array, self.reference.storage)

    @property
    def colours(self) -> NDArray[np.uint8] | None:
        """(x, y, z, 3) to show; None for grey images."""
        return None if self._colours is None else unstore(self._colours.array, self.reference.storage)


def describe_volume(volume: LightVolume) -> str:
    """Say in one line what a volume is: plane, size, spacing, tilt."""
    x, y, z = volume.shape
    affine = Affine(volume.affine)
    if not volume.has_orientation:
        return f"{x} × {y} pixels" + (f", {z} frames" if z > 1 else "")
    spacing = " × ".join(f"{length:.2g}" for length in affine.spacing)
    tilt = affine.tilt(volume.slice_axis)
    text = f"{slice_views(volume)[0].plane}, {x} × {y} × {z} voxels of {spacing} mm"
    return text + (f", gantry tilt {tilt:.1f}°" if tilt > _TILT_SHOWN else "")


def store_shape(shape: tuple[int, ...], storage: tuple[int, int, int]) -> tuple[int, ...]:
    """Give the shape in memory of an (x, y, z) array."""
    return tuple(shape[axis] for axis in storage)


def unstore(array: NDArray[Any], storage: tuple[int, int, int], leading: int = 0) -> NDArray[Any]:
    """View an array as (x, y, z) that memory holds in another order.

    Args:
        array: Leading axes, then the three of `storage`, then any others.
        storage: Volume axes in the order of memory.
        leading: Number of axes before them.
    """
    places = [leading + storage.index(axis) for axis in range(3)]
    others = range(leading + 3, array.ndim)
    return array.transpose(*range(leading), *places, *others)
