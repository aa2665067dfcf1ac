"""A volume whose voxels lie in shared memory, so that the viewer needs neither torch nor MONAI."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from moeclip_transforms import slice_views
from moeclip_transforms.volume import Volume

from napari_moeclip.shared import SharedArray

_TILT_SHOWN = 0.1
"""Degrees; less is not worth a word."""
_SAME_MM = 0.01

if TYPE_CHECKING:
    from moeclip_transforms import FrameGeometry, Series
    from moeclip_transforms.geometry import Affine
    from moeclip_transforms.volume import Grid, SourceRef
    from numpy.typing import NDArray

    from napari_moeclip.shared import SharedArrayReference


@dataclass(frozen=True)
class VolumeFacts:
    """What is quick to send of a `Volume`: where it lies and what it came from. A `Grid`.

    Attributes:
        shape: (x, y, z).
        affine: Voxel to world, mm, RAS+.
        source: Where it came from, without the headers.
        slice_axis: The volume axis along which it was acquired.
        has_orientation: Whether the affine says where the patient is.
        has_voxel_size: Whether the spacing is in mm although there is no orientation.
        is_regular: Whether the affine puts every slice in its place.
        frame_geometry: For DICOM with orientation, the place of each slice.
        display_range: Lowest and highest value of images stored ready for display, or None.
        notes: What the reader had to say.
    """

    shape: tuple[int, int, int]
    affine: Affine
    source: SourceRef
    slice_axis: int = 2
    has_orientation: bool = True
    has_voxel_size: bool = False
    is_regular: bool = True
    frame_geometry: tuple[FrameGeometry, ...] = ()
    display_range: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    @property
    def has_spacing(self) -> bool:
        """Whether the size of a voxel is known in mm."""
        return self.has_orientation or self.has_voxel_size

    @property
    def series(self) -> Series:
        """What the headers said."""
        return self.source.series

    @classmethod
    def of(cls, volume: Volume) -> Self:
        """Describe a volume without its voxels, its padding mask and its files' headers."""
        facts = {name: getattr(volume, name) for name in _SHARED_FACTS}
        return cls(volume.shape, **facts | {"source": replace(volume.source, headers=())})


_SHARED_FACTS = tuple(one.name for one in fields(VolumeFacts) if one.name != "shape")


@dataclass(frozen=True)
class VolumeReference:
    """What the other process needs to find a volume.

    Attributes:
        light: All that is quick to send.
        storage: The volume axes in the order in which memory holds them, slowest first.
        voxels: (channel, *storage) float32.
        padding: (*storage) bool, or None.
        colours: (*storage, 3) uint8, to show; None for grey images.
        headers: (byte,) uint8, `source.headers` in a form that `pickle` reads; None where there are none.
        windows: (low, high) for each image type with a window of its own, by its name; in stored values.
    """

    light: VolumeFacts
    storage: tuple[int, int, int]
    voxels: SharedArrayReference
    padding: SharedArrayReference | None = None
    colours: SharedArrayReference | None = None
    headers: SharedArrayReference | None = None
    windows: dict[str, tuple[float, float]] = field(default_factory=dict)


class SharedVolume:
    """A volume in memory that both processes see.

    Attributes:
        light: All that is quick to send.
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
        self._headers = None if reference.headers is None else take(reference.headers)

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

    def full(self) -> Volume:
        """Return the volume as readers make it; voxels are not copied. Imports torch."""
        from torch import from_numpy

        facts = {name: getattr(self.light, name) for name in _SHARED_FACTS}
        if self._headers is not None:
            headers = pickle.loads(self._headers.array.data)  # noqa: S301 - `sharing` wrote them
            facts["source"] = replace(self.light.source, headers=headers)
        return Volume(from_numpy(self.voxels), padding_mask=self.padding, **facts)


def describe_volume(volume: VolumeFacts) -> str:
    """Say in one line what a volume is: plane, size, spacing, tilt."""
    x, y, z = volume.shape
    affine = volume.affine
    if not volume.has_orientation:
        return f"{x} × {y} pixels" + (f", {z} frames" if z > 1 else "")
    spacing = " × ".join(f"{length:.2g}" for length in affine.spacing)
    tilt = affine.tilt(volume.slice_axis)
    text = f"{slice_views(volume)[0].plane}, {x} × {y} × {z} voxels of {spacing} mm"
    return text + (f", gantry tilt {tilt:.1f}°" if tilt > _TILT_SHOWN else "")


def same_grid(one: Grid, other: Grid) -> bool:
    """Whether the voxels of two volumes lie at the same places: affines differ by 0.01 mm at most."""
    return one.shape == other.shape and np.allclose(one.affine.matrix, other.affine.matrix, atol=_SAME_MM)


def store_shape(shape: tuple[int, ...], storage: tuple[int, int, int]) -> tuple[int, ...]:
    """Return the shape in memory of an (x, y, z) array."""
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
