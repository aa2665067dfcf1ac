"""A MONAI reader for all that this package reads."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.data.image_reader import ImageReader
from monai.utils.enums import MetaKeys

from moeclip_transforms.conversion import metadata
from moeclip_transforms.errors import InputError
from moeclip_transforms.same_grid import grid_distance
from moeclip_transforms.source import read_volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monai.config.type_definitions import PathLike
    from numpy.typing import NDArray

    from moeclip_transforms.volume import Volume


class SeriesReader(ImageReader):
    """Reads a file, folder, zip archive or DICOMDIR with its geometry checked, for `monai.transforms.LoadImage`.

    `LoadImage(reader=SeriesReader(), ensure_channel_first=True)` gives (channel, x, y, z) with a RAS+ affine. What
    the header says beyond that is in the image's `meta`: "image_type", "slice_axis", "has_orientation", "is_regular",
    "notes". Each note is a warning as well, since MONAI has no other place for it.

    Args:
        series: Identifier of the series to read where a path holds several.
        time_point: Zero-based time point of a 4-D series.
    """

    def __init__(self, series: str | None = None, time_point: int = 0) -> None:
        super().__init__()
        self.series = series
        self.time_point = time_point

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:  # noqa: ARG002  MONAI's interface
        """Say yes to every name: DICOM files have any, and contents decide."""
        return True

    def read(self, data: Sequence[PathLike] | PathLike, **_: object) -> Volume | list[Volume]:
        """Read one path, or several whose volumes become channels of one image.

        Raises:
            InputError: When a path cannot be read or does not hold exactly one series.
        """
        paths = [data] if isinstance(data, str | os.PathLike) else list(data)
        volumes = [read_volume(Path(path), series=self.series, time_point=self.time_point) for path in paths]
        return volumes[0] if len(volumes) == 1 else volumes

    def get_data(self, img: Volume | list[Volume]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """The array and the metadata of what `read` gave.

        Returns:
            (x, y, z) for one grey volume, else (channel, x, y, z); and the metadata, affine in RAS+.

        Raises:
            InputError: When several volumes do not lie on one grid.
        """
        volumes = img if isinstance(img, list) else [img]
        first = volumes[0]
        for volume in volumes[1:]:
            is_same = volume.shape == first.shape and grid_distance(first.affine, volume.affine, first.shape).is_same
            if not is_same:
                raise InputError("The volumes to stack as channels lie on different grids; expected one grid.")
        for note in dict.fromkeys(note for volume in volumes for note in volume.notes):
            warnings.warn(note, stacklevel=2)
        arrays = [volume.array for volume in volumes]
        array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        meta = metadata(first) | {MetaKeys.AFFINE: first.affine.matrix.copy()}
        if len(array) > 1:
            meta[MetaKeys.ORIGINAL_CHANNEL_DIM] = 0
            return array, meta
        meta[MetaKeys.ORIGINAL_CHANNEL_DIM] = float("nan")  # MONAI's mark for "no channel axis"
        return array[0], meta
