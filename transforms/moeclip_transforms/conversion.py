"""Volumes from arrays and images in memory, and back to MONAI's tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from moeclip_transforms.assemble import make_volume
from moeclip_transforms.errors import InputError
from moeclip_transforms.geometry import Affine
from moeclip_transforms.hashing import hash_array
from moeclip_transforms.slice_axis import likely_slice_axis
from moeclip_transforms.volume import FileFormat, ImageType, Series, SourceRef

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor
    from numpy.typing import ArrayLike, NDArray

    from moeclip_transforms.volume import Volume

DISPLAY_RANGE_KEY, IMAGE_TYPE_KEY, SLICE_AXIS_KEY = "display_range", "image_type", "slice_axis"
ORIENTATION_KEY, REGULAR_KEY, NOTES_KEY = "has_orientation", "is_regular", "notes"
"""Keys of `MetaTensor.meta` under which what a header says beyond MONAI's own keys is kept."""

_AXES_BY_NUMBER = {2: "xy", 3: "xyz", 4: "cxyz"}
_CHANNELS = (1, 3)
_NUMBERS = "biuf"
"""Kinds of NumPy's types that hold one real number each."""
_BYTE_RANGE = (0.0, 255.0)


class _Plain(NamedTuple):
    """An image taken apart: its values, the meaning of their axes, its affine and what its metadata say."""

    values: NDArray[Any]
    axes: str
    affine: Affine | None
    image_type: str | None = None
    slice_axis: int | None = None
    has_orientation: bool = True


def volume_from_array(
    array: object,
    affine: Affine | ArrayLike | None = None,
    *,
    image_type: ImageType | str | None = None,
    axes: str = "",
    slice_axis: int | None = None,
    name: str = "array",
) -> Volume:
    """Make a volume from an array or image in memory; see `Volume.from_array`."""
    plain = _take_apart(array, axes)
    if affine is not None:
        plain = plain._replace(affine=affine if isinstance(affine, Affine) else Affine(np.asarray(affine)))
    values = _channel_first(plain.values, plain.axes, name)
    known = ImageType(image_type or plain.image_type or ImageType.PLAIN)
    channels, x, y, z = values.shape
    series = Series(
        uid=name,
        format=FileFormat.ARRAY,
        files=(),
        modality="",
        image_type=known,
        study_uid="",
        shape=(x, y, z, 1),
        channels=channels,
    )
    has_orientation = plain.affine is not None and plain.has_orientation
    given = plain.affine or Affine(np.eye(4))
    return make_volume(
        values.astype(np.float32, copy=False),
        given,
        series,
        slice_axis=_slice_axis(slice_axis, plain, (x, y, z), has_orientation=has_orientation),
        source=SourceRef(series, hash_array(values)),
        display_range=_BYTE_RANGE if values.dtype == np.uint8 else None,
        has_orientation=has_orientation,
    )


def to_monai(volume: Volume) -> MetaTensor:
    """Return a volume as MONAI's tensor; see `Volume.to_monai`."""
    import torch
    from monai.data.meta_tensor import MetaTensor

    affine = torch.from_numpy(volume.affine.matrix.copy())
    return MetaTensor(volume.tensor, affine=affine, meta=metadata(volume))


def metadata(volume: Volume) -> dict[str, Any]:
    """Return what MONAI's tensor keeps beside the values and the affine."""
    meta: dict[str, Any] = {
        "original_affine": volume.affine.matrix.copy(),
        "spatial_shape": np.array(volume.shape),
        "space": "RAS",
        IMAGE_TYPE_KEY: str(volume.series.image_type),
        SLICE_AXIS_KEY: volume.slice_axis,
        ORIENTATION_KEY: volume.has_orientation,
        REGULAR_KEY: volume.is_regular,
        NOTES_KEY: "\n".join(volume.notes),
    }
    if volume.display_range is not None:
        meta[DISPLAY_RANGE_KEY] = volume.display_range
    return meta


def _take_apart(array: Any, axes: str) -> _Plain:  # noqa: ANN401  told apart by what it has
    if hasattr(array, "GetDirection"):
        return _from_simpleitk(array)
    if hasattr(array, "as_tensor") and hasattr(array, "affine"):
        return _from_monai(array, axes)
    values = np.asarray(array.detach().cpu().numpy() if hasattr(array, "detach") else array)
    return _Plain(values, axes or _AXES_BY_NUMBER.get(values.ndim, ""), None)


def _from_monai(image: Any, axes: str) -> _Plain:  # noqa: ANN401  MONAI is imported by those who use it only
    values = image.as_tensor().detach().cpu().numpy()
    matrix = np.asarray(image.affine, dtype=np.float64)
    is_lps = str(image.meta.get("space", "RAS")).endswith("LPS")
    slice_axis = image.meta.get(SLICE_AXIS_KEY)
    return _Plain(
        values,
        axes or {3: "cxy"}.get(values.ndim) or _AXES_BY_NUMBER.get(values.ndim, ""),
        Affine.from_lps(matrix) if is_lps else Affine(matrix),
        image.meta.get(IMAGE_TYPE_KEY),
        None if slice_axis is None else int(slice_axis),
        bool(image.meta.get(ORIENTATION_KEY, True)),
    )


def _from_simpleitk(image: Any) -> _Plain:  # noqa: ANN401  SimpleITK is untyped
    import SimpleITK

    dimension = int(image.GetDimension())
    values = SimpleITK.GetArrayFromImage(image)
    axes = "zyx"[3 - dimension :] + ("c" if image.GetNumberOfComponentsPerPixel() > 1 else "")
    return _Plain(values, axes, affine_of_simpleitk(image), has_orientation=dimension > 2)  # noqa: PLR2004


def affine_of_simpleitk(image: Any) -> Affine:  # noqa: ANN401  SimpleITK is untyped
    """Return where a SimpleITK image of 2 to 4 dimensions lies; ITK's own frame is LPS+."""
    dimension = int(image.GetDimension())
    n_space = min(dimension, 3)
    direction = np.array(image.GetDirection()).reshape(dimension, dimension)[:n_space, :n_space]
    lps = np.eye(4)
    lps[:n_space, :n_space] = direction * np.array(image.GetSpacing()[:n_space])
    lps[:n_space, 3] = image.GetOrigin()[:n_space]
    return Affine.from_lps(lps)


def _channel_first(values: NDArray[Any], axes: str, name: str) -> NDArray[Any]:
    """Return the values as (channel, x, y, z)."""
    if values.dtype.kind not in _NUMBERS:
        raise InputError(
            f'"{name}" holds values of the type {values.dtype}; expected real numbers: take the magnitude of complex '
            "values, and put colours on an axis of their own."
        )
    if len(axes) != values.ndim or len(set(axes)) != len(axes) or not {"x", "y"} <= set(axes) <= set("cxyz"):
        raise InputError(
            f'"{name}" has {values.ndim} axes, named "{axes}"; expected a letter of "cxyz" for each, x and y among '
            'them (a photograph of rows, columns and colours is "yxc").'
        )
    present = [axes.index(letter) for letter in "cxyz" if letter in axes]
    ordered = values.transpose(present)
    for place, letter in enumerate("cxyz"):
        if letter not in axes:
            ordered = np.expand_dims(ordered, place)
    if ordered.shape[0] not in _CHANNELS:
        raise InputError(f'"{name}" has {ordered.shape[0]} channels; expected 1 (grey) or 3 (colour).')
    return ordered


def _slice_axis(asked: int | None, plain: _Plain, shape: tuple[int, ...], *, has_orientation: bool) -> int:
    if asked is not None:
        if asked not in range(3):
            raise InputError(f"The slice axis is {asked}; expected 0, 1 or 2.")
        return asked
    if plain.slice_axis is not None:
        return plain.slice_axis
    return likely_slice_axis(plain.affine or Affine(np.eye(4)), shape, has_orientation=has_orientation)
