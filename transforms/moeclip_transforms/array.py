"""Transforms of single images in MONAI's manner: channel first, `MetaTensor` in and out."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.croppad.array import CropForeground
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import Transform
from monai.utils.enums import TraceKeys, TransformBackends

from moeclip_transforms.conversion import IMAGE_TYPE_KEY, ORIENTATION_KEY, REGULAR_KEY, SLICE_AXIS_KEY
from moeclip_transforms.foreground import foreground_square
from moeclip_transforms.geometry import Affine
from moeclip_transforms.intensity import Window, fit_image_window
from moeclip_transforms.slice_axis import likely_slice_axis
from moeclip_transforms.slicing import SliceView, views_of
from moeclip_transforms.volume import ImageType, Plane

if TYPE_CHECKING:
    from torch import Tensor

WINDOW_KEY = "window"
"""Key in `MetaTensor.meta` under which the window fitted to the whole image is kept."""


class SliceAlongPlane(InvertibleTransform):
    """Turn (channel, x, y, z) into (channel, slice, row, column) as shown the radiological way; invertible.

    The affine follows, so that every pixel keeps its place in the world.

    Args:
        plane: AUTO for the acquired plane, or one of the three.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012  MONAI's interface

    def __init__(self, plane: Plane | str = Plane.AUTO) -> None:
        self.plane = Plane(plane)

    def __call__(self, img: MetaTensor) -> MetaTensor:
        """Cut an image into slices.

        Raises:
            InputError: When the image has no such plane.
            TypeError: The image has no affine.
        """
        _check_meta(img, self)
        view = self._view(img)
        meta_info = self.track_transform_meta(
            img,
            sp_size=(view.n_slices, view.rows, view.columns),
            affine=torch.from_numpy(view.to_volume()),
            extra_info={"view": astuple(view)[1:3]},
            transform_info=self.get_transform_info(),
        )
        return _with_meta(view.take(img.as_tensor(), range(view.n_slices)).movedim(0, 1), meta_info)

    def inverse(self, data: MetaTensor) -> MetaTensor:
        """Put the slices back to (channel, x, y, z)."""
        axes, flips = self.pop_transform(data)[TraceKeys.EXTRA_INFO]["view"]
        sizes = tuple(int(size) for size in data.shape[1:])
        view = SliceView("", tuple(axes), tuple(flips), (1.0, 1.0, 1.0), None, *sizes)
        shape = [sizes[view.axes.index(axis)] for axis in range(3)]
        volume = torch.empty((data.shape[0], *shape), dtype=data.dtype, device=data.device)
        for channel in range(data.shape[0]):
            view.put(data.as_tensor()[channel], range(view.n_slices), volume[channel])
        out = _with_meta(volume, data)
        out.affine = data.affine @ torch.from_numpy(np.linalg.inv(view.to_volume())).to(data.affine)
        return out

    def _view(self, img: MetaTensor) -> SliceView:
        affine = Affine(np.asarray(img.affine, dtype=np.float64))
        slice_axis = img.meta.get(SLICE_AXIS_KEY)
        has_orientation = bool(img.meta.get(ORIENTATION_KEY, True))
        _, x, y, z = img.shape
        likely = likely_slice_axis(affine, (x, y, z), has_orientation=has_orientation)
        return views_of(
            affine,
            (x, y, z),
            self.plane,
            slice_axis=likely if slice_axis is None else int(slice_axis),
            has_orientation=has_orientation,
            is_regular=bool(img.meta.get(REGULAR_KEY, True)),
        )[0]


class WindowIntensity(Transform):
    """Map stored values to [0, 1]; see `moeclip_transforms.fit_window`.

    Args:
        image_type: The image type; None takes what the reader found in the header, else "plain".
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012  MONAI's interface

    def __init__(self, image_type: ImageType | str | None = None) -> None:
        self.image_type = None if image_type is None else ImageType(image_type)

    def __call__(self, img: MetaTensor) -> MetaTensor:
        """Window an image; a window that an earlier transform fitted to the whole image is used.

        Raises:
            TypeError: The image has no metadata.
        """
        _check_meta(img, self)
        window = image_window(img, self.image_type)
        return _with_meta(window.apply(img.as_tensor()), img)


class CropForegroundSquare(CropForeground):
    """Crop (channel, slice, row, column) to the square, in mm, around the foreground of all slices; invertible.

    Where the square reaches outside, pixels are filled with what becomes 0 in the window. Comes before
    `WindowIntensity`, for which it keeps the window fitted to the whole image.

    Args:
        image_type: The image type; None takes what the reader found in the header, else "plain".
    """

    def __init__(self, image_type: ImageType | str | None = None) -> None:
        super().__init__()
        self.image_type = None if image_type is None else ImageType(image_type)

    def __call__(self, img: MetaTensor) -> MetaTensor:  # type: ignore[override]  # fewer arguments than MONAI's
        """Crop an image.

        Raises:
            TypeError: The image has no metadata.
        """
        _check_meta(img, self)
        window = image_window(img, self.image_type)
        start, stop = self.compute_bounding_box(img)
        out = cast("MetaTensor", self.crop_pad(img, start, stop, value=window.low))
        out.meta[WINDOW_KEY] = astuple(window)
        return out

    def compute_bounding_box(self, img: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """The first and last+1 (slice, row, column) of the square, which may reach outside."""
        image = cast("MetaTensor", img)
        spacing = Affine(np.asarray(image.affine)).spacing
        _, n_slices, rows, columns = img.shape
        view = SliceView("", (0, 1, 2), (False, False, False), spacing, None, n_slices, rows, columns)
        box = foreground_square(image.as_tensor(), view, image_window(image, self.image_type))
        return (
            np.array([0, box.row_start, box.column_start]),
            np.array([n_slices, box.row_stop, box.column_stop]),
        )


def image_window(img: MetaTensor, image_type: ImageType | None) -> Window:
    """The window kept in an image's metadata, else the one fitted to it."""
    kept = img.meta.get(WINDOW_KEY)
    if kept is not None:
        return Window(*kept)
    return fit_image_window(img, image_type or ImageType(img.meta.get(IMAGE_TYPE_KEY, ImageType.PLAIN)))


def _check_meta(img: object, transform: Transform) -> None:
    if not isinstance(img, MetaTensor):
        raise TypeError(
            f"{type(transform).__name__} takes a MetaTensor, not {type(img).__name__}: LoadImage returns one, "
            "MetaTensor(image, affine=affine) makes one."
        )


def _with_meta(values: Tensor, source: MetaTensor) -> MetaTensor:
    """Values with another image's affine, metadata and record of applied transforms."""
    image: Any = MetaTensor(values)
    out: MetaTensor = image.copy_meta_from(source)
    return out
