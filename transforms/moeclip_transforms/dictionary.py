"""The transforms of `moeclip_transforms.array` for dictionaries, named as MONAI names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import MapTransform

from moeclip_transforms.array import CropForegroundSquare, SliceAlongPlane, WindowIntensity
from moeclip_transforms.volume import Plane

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from monai.config.type_definitions import KeysCollection
    from monai.data.meta_tensor import MetaTensor

    from moeclip_transforms.volume import ImageType


class SliceAlongPlaned(MapTransform, InvertibleTransform):
    """Dictionary version of `SliceAlongPlane`.

    Args:
        keys: Keys of the images.
        plane: AUTO for the acquired plane, or one of the three.
        allow_missing_keys: Whether a key may be missing.
    """

    backend = SliceAlongPlane.backend

    def __init__(
        self, keys: KeysCollection, plane: Plane | str = Plane.AUTO, *, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = SliceAlongPlane(plane)

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        """Cut the images into slices."""
        return {**data, **{key: self.transform(data[key]) for key in self.key_iterator(data)}}

    def inverse(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        """Put the slices back."""
        return {**data, **{key: self.transform.inverse(data[key]) for key in self.key_iterator(data)}}


class CropForegroundSquared(MapTransform, InvertibleTransform):
    """Dictionary version of `CropForegroundSquare`.

    Args:
        keys: Keys of the images.
        image_type: The image type; None takes what the reader found in the header.
        allow_missing_keys: Whether a key may be missing.
    """

    backend = CropForegroundSquare.backend

    def __init__(
        self, keys: KeysCollection, image_type: ImageType | str | None = None, *, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = CropForegroundSquare(image_type)

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        """Crop the images."""
        return {**data, **{key: self.transform(data[key]) for key in self.key_iterator(data)}}

    def inverse(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        """Bring the images back to their size; what was cropped away is 0."""
        return {**data, **{key: self.transform.inverse(data[key]) for key in self.key_iterator(data)}}


class WindowIntensityd(MapTransform):
    """Dictionary version of `WindowIntensity`.

    Args:
        keys: Keys of the images.
        image_type: The image type; None takes what the reader found in the header.
        allow_missing_keys: Whether a key may be missing.
    """

    backend = WindowIntensity.backend

    def __init__(
        self, keys: KeysCollection, image_type: ImageType | str | None = None, *, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = WindowIntensity(image_type)

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        """Window the images."""
        return {**data, **{key: self.transform(data[key]) for key in self.key_iterator(data)}}


SliceAlongPlaneD = SliceAlongPlaneDict = SliceAlongPlaned
CropForegroundSquareD = CropForegroundSquareDict = CropForegroundSquared
WindowIntensityD = WindowIntensityDict = WindowIntensityd
