"""A volume of what a layer shows: its own where nothing was changed, else one made of its data and affine on screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from moeclip_transforms import Affine, FileFormat, ImageType, Series
from moeclip_transforms.errors import InputError
from moeclip_transforms.hashing import hash_array
from moeclip_transforms.volume import SourceRef

from napari_moeclip.guard import show_trace
from napari_moeclip.layers import LayerOrigin, origin_of
from napari_moeclip.placement import WORLD_AXES, Placement
from napari_moeclip.shared import SharedArray
from napari_moeclip.volumes import SharedVolume, VolumeFacts, VolumeReference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image
    from numpy.typing import NDArray

_AXES = (2, 1, 0)
_FLAT, _SPATIAL = 2, 3
_FOREIGN = "This image was not opened by MoECLIP-Med: its patient orientation is not known, shown as stored."
_CHANGED = "The layer was changed after it was opened; it was scored as it is on screen."


def leading_index(layer: Image, point: Sequence[float]) -> tuple[int, ...]:
    """Return which image of a time series is on screen: the index along a layer's axes before the last three.

    Args:
        layer: The layer.
        point: Where the viewer's sliders stand, in world coordinates.

    Raises:
        InputError: When the layer has nothing at the slider's time.
    """
    index = np.round(np.asarray(layer.world_to_data(point[-layer.ndim :])))
    shape = _full_data(layer).shape
    leading = tuple(int(value) for value in index[: max(0, layer.ndim - _SPATIAL)])
    for axis, (place, count) in enumerate(zip(leading, shape, strict=False)):
        if not 0 <= place < count:
            raise InputError(
                f'The slider of axis {axis} stands at {place + 1}, and "{layer.name}" has images 1 to {count} there; '
                f"move the slider to one of them."
            )
    return leading


def take_over(layer: Image, leading: tuple[int, ...]) -> LayerOrigin | str:
    """Return what a layer shows, or why it cannot be had: an exception in napari's worker would reach the user."""
    try:
        return volume_on_screen(layer, leading)
    except InputError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - lazy data may raise anything
        show_trace(error)
        return f"its data cannot be read ({type(error).__name__}); check the file or drive, and open it anew."


def volume_on_screen(layer: Image, leading: tuple[int, ...] = ()) -> LayerOrigin:
    """Return the volume that a layer shows, and how it lies in the viewer.

    A layer that this plugin opened keeps its volume while its data and place are those of the file. One that was
    cropped, projected, duplicated and painted, moved or given new data is taken as it is on screen; so is one of
    another plugin, whose patient orientation is not known. May take seconds for large or lazy data: call it in a
    thread.

    Args:
        layer: 2-D, 3-D or more, grey or RGB.
        leading: Which index to take along the axes before the last three.

    Raises:
        InputError: When memory is short.
    """
    origin = origin_of(layer)
    if origin is not None and origin.role == "image" and _shows_file(layer, origin):
        return origin
    return _adopt(layer, leading, origin)


def _full_data(layer: Image) -> Any:  # noqa: ANN401 - NumPy, dask, zarr, whatever napari shows
    return layer.data[0] if layer.multiscale else layer.data


def _shows_file(layer: Image, origin: LayerOrigin) -> bool:
    """Whether a layer's data and place are still those of its volume."""
    placement = origin.placement
    expected = origin.shown()
    if layer.multiscale or layer.ndim != placement.ndim or bool(layer.rgb) != (origin.volume.colours is not None):
        return False
    if not np.allclose(_to_world(layer, ()), placement.to_world(), atol=1e-3):
        return False
    data = layer.data
    if not isinstance(data, np.ndarray) or data.shape != expected.shape or data.dtype != expected.dtype:
        return False
    is_same = data.strides == expected.strides and data.ctypes.data == expected.ctypes.data
    return is_same or all(np.array_equal(a, b, equal_nan=True) for a, b in zip(data, expected, strict=True))


def _to_world(layer: Image, leading: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the 4x4 matrix from a layer's index along its last three axes to the world's last three coordinates."""
    matrix = np.eye(4)
    zero = np.zeros(layer.ndim)
    zero[: len(leading)] = leading
    spatial = min(layer.ndim, _SPATIAL)
    corner = np.asarray(layer.data_to_world(zero))[-spatial:]
    matrix[3 - spatial : 3, 3] = corner
    for axis in range(spatial):
        step = zero.copy()
        step[layer.ndim - spatial + axis] += 1
        moved = np.asarray(layer.data_to_world(step))[-spatial:] - corner
        matrix[3 - spatial : 3, 3 - spatial + axis] = moved
    return matrix


def _adopt(layer: Image, leading: tuple[int, ...], origin: LayerOrigin | None) -> LayerOrigin:
    data = _full_data(layer)
    pixels = data[leading] if leading else data
    is_flat = layer.ndim == _FLAT
    channels = 3 if layer.rgb else 1
    shape = (1, *pixels.shape[:2]) if is_flat else tuple(int(size) for size in pixels.shape[:3])
    voxels = SharedArray.create((channels, *shape), np.float32)
    for index in range(shape[0]):
        plane = np.asarray(pixels if is_flat else pixels[index])
        voxels.array[:, index] = np.moveaxis(plane[..., :3], -1, 0) if layer.rgb else plane
    affine, is_placed = _patient_affine(layer, leading, origin)
    slice_axis = 2 - origin.placement.slice_axis if origin is not None and is_placed else 2
    facts = VolumeFacts(
        shape=(shape[2], shape[1], shape[0]),
        affine=Affine(affine),
        source=SourceRef(_series(layer, shape, channels, origin), hash_array(voxels.array)),
        slice_axis=slice_axis,
        has_orientation=is_placed,
        notes=(_FOREIGN if origin is None else _CHANGED,),
        display_range=_display_range(np.dtype(data.dtype), is_rgb=layer.rgb),
    )
    volume = SharedVolume(VolumeReference(facts, _AXES, voxels.reference), owns=False, voxels=voxels)
    placement = Placement(
        axes=_AXES,
        flips=(False, False, False),
        scale=(1.0, 1.0, 1.0),
        translate=(0.0, 0.0, 0.0),
        ends=WORLD_AXES if is_placed else None,
        slice_axis=2 - slice_axis,
        is_flat=is_flat,
        leading=leading,
    )
    return LayerOrigin(volume, placement)


def _patient_affine(
    layer: Image, leading: tuple[int, ...], origin: LayerOrigin | None
) -> tuple[NDArray[np.float64], bool]:
    """Return the affine of an adopted volume's (x, y, z), and whether it is the patient's.

    The viewer's world is a patient's where this plugin opened the layer; where it cut a plane out, what lies before
    and behind is not known any more.
    """
    reverse = np.eye(4)[[2, 1, 0, 3]]
    to_world = _to_world(layer, leading) @ reverse
    if origin is not None and origin.placement.ends is not None and layer.ndim >= _SPATIAL:
        matrix = origin.world_to_patient() @ to_world
        if abs(np.linalg.det(matrix[:3, :3])) > 0:
            return matrix, True
    spacing = np.linalg.norm(to_world[:3, :3], axis=0)
    return np.diag([*np.where(spacing > 0, spacing, 1.0), 1.0]), False


def _series(layer: Image, shape: tuple[int, ...], channels: int, origin: LayerOrigin | None) -> Series:
    known = None if origin is None else origin.volume.light.series
    if known is not None:
        image_type = known.image_type if channels == known.channels else ImageType.PLAIN
    else:
        image_type = ImageType.ENDOSCOPY if layer.rgb else ImageType.PLAIN
    return Series(
        uid=layer.name,
        format=FileFormat.ARRAY,
        files=(),
        modality="" if known is None else known.modality,
        image_type=image_type,
        study_uid="",
        shape=(shape[2], shape[1], shape[0], 1),
        channels=channels,
        is_cine=known.is_cine if known is not None else bool(layer.rgb) and shape[0] > 1,
    )


def _display_range(dtype: np.dtype[Any], *, is_rgb: bool) -> tuple[float, float] | None:
    if dtype == np.uint8:
        return (0.0, 255.0)
    if dtype == np.bool_:
        return (0.0, 1.0)
    if not is_rgb:
        return None
    return (0.0, 1.0) if dtype.kind == "f" else (0.0, float(np.iinfo(dtype).max))
