"""ITK files (.mha, .mhd, .nrrd, .nhdr) through SimpleITK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_transforms.assemble import make_volume
from moeclip_transforms.errors import InputError
from moeclip_transforms.geometry import Affine
from moeclip_transforms.hashing import hash_files
from moeclip_transforms.naming import stable_uid
from moeclip_transforms.nifti import likely_slice_axis
from moeclip_transforms.volume import FileFormat, ImageKind, Series, SourceRef

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from moeclip_transforms.volume import Volume

_DIMENSIONS = (2, 3, 4)


def scan_itk(path: Path) -> Series:
    """Describe an ITK file from its header.

    Raises:
        InputError: When the header cannot be read, or the file is not a volume.
    """
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path) from error
    size, channels = reader.GetSize(), reader.GetNumberOfComponents()
    if len(size) not in _DIMENSIONS or min(size) < 1 or channels not in (1, 3):
        msg = (
            f'"{path.name}" has the size {"×".join(map(str, size))} with {channels} values per voxel; '
            f"expected 2 to 4 dimensions and 1 or 3 values."
        )
        raise InputError(msg)
    x, y, z, time = (*size, 1, 1)[:4]
    return Series(
        uid=stable_uid(path),
        format=FileFormat.ITK,
        files=(path,),
        modality="",
        kind=ImageKind.MR if channels == 1 and z > 1 else ImageKind.PLAIN,
        study_uid="",
        shape=(x, y, z, time),
        channels=channels,
    )


def read_itk(series: Series, *, time_point: int = 0) -> Volume:
    """Read one time point of an ITK file on its own grid.

    Raises:
        InputError: When the data cannot be read.
    """
    import SimpleITK

    path, n_time = series.files[0], series.shape[3]
    if not 0 <= time_point < n_time:
        msg = f'"{path.name}" has {n_time} time points, numbered 0 to {n_time - 1}; {time_point} is none of them.'
        raise InputError(msg)
    try:
        image = _reader(path).Execute()
    except RuntimeError as error:
        raise _unreadable(path) from error
    stored = SimpleITK.GetArrayViewFromImage(image)  # (time, z, y, x, channel), each where it exists
    if image.GetDimension() == max(_DIMENSIONS):
        stored = stored[time_point]
    if series.channels == 1:
        stored = stored[..., None]
    array = stored.reshape(*series.shape[2::-1], series.channels).astype(np.float32)
    affine = _affine(image)
    is_spatial = image.GetDimension() > min(_DIMENSIONS)
    return make_volume(
        array.transpose(3, 2, 1, 0),
        affine,
        series,
        slice_axis=likely_slice_axis(affine) if is_spatial else 2,
        display_range=(0.0, 255.0) if series.is_colour and stored.dtype == np.uint8 else None,
        has_orientation=is_spatial,
        source=SourceRef(series, hash_files(series.files), time_point),
    )


def _affine(image: Any) -> NDArray[np.float64]:  # noqa: ANN401  SimpleITK is untyped
    """4x4 RAS+ matrix; ITK's own frame is LPS+. Flat images keep their spacing only."""
    dimension = image.GetDimension()
    spacing = np.ones(3)
    spacing[: min(dimension, 3)] = image.GetSpacing()[:3]
    if dimension == min(_DIMENSIONS):
        return np.diag([*spacing, 1.0])
    direction = np.array(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    lps = np.eye(4)
    lps[:3, :3] = direction * spacing
    lps[:3, 3] = image.GetOrigin()[:3]
    return Affine.from_lps(lps).matrix


def _reader(path: Path) -> Any:  # noqa: ANN401  SimpleITK is untyped
    import SimpleITK

    toolkit: Any = SimpleITK
    toolkit.ProcessObject.SetGlobalWarningDisplay(False)  # noqa: FBT003  its only argument
    reader = toolkit.ImageFileReader()
    reader.SetFileName(str(path))
    return reader


def _unreadable(path: Path) -> InputError:
    return InputError(
        f'"{path.name}" cannot be read by SimpleITK; check that it was copied whole, with its data file beside it.'
    )
