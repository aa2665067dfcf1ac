"""One MONAI `Compose` per image type: from a path to slices in [0, 1]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai.transforms.compose import Compose
from monai.transforms.io.dictionary import LoadImaged

from moeclip_transforms.dictionary import CropForegroundSquared, SliceAlongPlaned, WindowIntensityd
from moeclip_transforms.monai_reader import SeriesReader
from moeclip_transforms.volume import Plane

if TYPE_CHECKING:
    from monai.config.type_definitions import KeysCollection

    from moeclip_transforms.volume import ImageType


def preset(
    image_type: ImageType | str | None = None,
    *,
    keys: KeysCollection = "image",
    plane: Plane | str = Plane.AUTO,
    allow_missing_keys: bool = False,
) -> Compose:
    """The transforms for an image type: load, cut into slices, crop to the foreground square, window.

    Scoring applies the same window and square slice by slice, without a second copy of the volume; this preset is
    for those who build their own MONAI pipelines. `Compose.inverse` brings a map back to the volume's grid.

    Args:
        image_type: The image type; None takes what the header says.
        keys: Keys under which the paths lie.
        plane: The plane of the slices.
        allow_missing_keys: Whether a key may be missing.

    Returns:
        A `Compose` that turns {key: path} into {key: (channel, slice, row, column) float32 in [0, 1]}.
    """
    return Compose(
        [
            LoadImaged(
                keys,
                reader=SeriesReader(),  # type: ignore[arg-type]  # MONAI documents instances, its types do not
                ensure_channel_first=True,
                allow_missing_keys=allow_missing_keys,
            ),
            SliceAlongPlaned(keys, plane, allow_missing_keys=allow_missing_keys),
            CropForegroundSquared(keys, image_type, allow_missing_keys=allow_missing_keys),
            WindowIntensityd(keys, image_type, allow_missing_keys=allow_missing_keys),
        ]
    )
