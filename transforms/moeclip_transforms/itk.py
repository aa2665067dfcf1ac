"""MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr) files, read without ITK.

ITK's own readers take names of data files as patterns and believe what headers say; ours check them first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeclip_transforms.assemble import make_volume
from moeclip_transforms.errors import InputError
from moeclip_transforms.naming import reason, stable_uid
from moeclip_transforms.readers import FileReader
from moeclip_transforms.slice_axis import check_is_image, likely_slice_axis
from moeclip_transforms.volume import FileFormat, ImageType, Series, SourceRef

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from moeclip_transforms.grid_file import GridHeader
    from moeclip_transforms.volume import Volume

_OPAQUE = 4


def scan_itk(path: Path) -> Series:
    """Describe a MetaImage or NRRD file from its header.

    Raises:
        InputError: When the header cannot be read, or the file is not a volume.
    """
    header = read_header(path)
    x, y, z = header.shape
    check_is_image(header.shape, path.name)
    return Series(
        uid=stable_uid(path),
        format=FileFormat.ITK,
        files=header.files,
        modality="",
        image_type=ImageType.PLAIN if header.is_colour or (z == 1 and not header.has_orientation) else ImageType.MR,
        study_uid="",
        shape=(x, y, z, 1 if header.is_colour else header.n_other),
        channels=3 if header.is_colour else 1,
    )


def read_itk(series: Series, *, time_point: int = 0) -> Volume:
    """Read one time point of a MetaImage or NRRD file on its own grid.

    Raises:
        InputError: When the data cannot be read.
    """
    from moeclip_transforms.grid_file import read_values

    path, n_time = series.files[0], series.shape[3]
    if not 0 <= time_point < n_time:
        raise InputError(
            f'"{path.name}" has {n_time} time points, numbered 0 to {n_time - 1}; {time_point} is none of them.'
        )
    header = read_header(path)
    try:
        stored, sha256 = read_values(header)
    except OSError as error:
        raise _cannot_open(path, error) from error
    notes = header.notes
    if not header.is_colour and header.other is not None and header.n_other > 1:
        notes += (f"Each voxel has {header.n_other} values that are no colours; they are taken for time points.",)
    return make_volume(
        _colours(stored) if header.is_colour else stored[time_point : time_point + 1].astype(np.float32),
        header.affine,
        series,
        slice_axis=likely_slice_axis(header.affine, header.shape, has_orientation=header.has_orientation),
        display_range=(0.0, 255.0) if header.is_colour and header.dtype == np.uint8 else None,
        has_orientation=header.has_orientation,
        has_voxel_size=header.has_spacing,
        source=SourceRef(series, sha256, time_point),
        notes=notes,
    )


def read_header(path: Path) -> GridHeader:
    """Read and check the header of a MetaImage or NRRD file.

    Raises:
        InputError: When it cannot be read.
    """
    from moeclip_transforms.metaimage import read_metaimage_header
    from moeclip_transforms.nrrd_file import read_nrrd_header

    try:
        with path.open("rb") as file:
            is_nrrd = file.read(4) == b"NRRD"
        if is_nrrd or path.suffix.lower() in (".nrrd", ".nhdr"):
            return read_nrrd_header(path)
        return read_metaimage_header(path)
    except OSError as error:
        raise _cannot_open(path, error) from error


def _cannot_open(path: Path, error: OSError) -> InputError:
    return InputError(f'"{path.name}" cannot be opened ({reason(error)}).')


def _colours(stored: NDArray[np.generic]) -> NDArray[np.float32]:
    """Red, green and blue as float32, transparency laid on black."""
    colours = stored[:3].astype(np.float32)
    if len(stored) == _OPAQUE:
        colours *= stored[3].astype(np.float32) / np.float32(np.iinfo(stored.dtype).max)  # type: ignore[type-var]
    return colours


READER = FileReader((".mha", ".mhd", ".nrrd", ".nhdr"), scan_itk, read_itk)
