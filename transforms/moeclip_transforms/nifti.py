"""NIfTI files (.nii, .nii.gz, .hdr/.img): 3-D, 4-D and colour, any orientation."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_transforms.assemble import make_volume
from moeclip_transforms.errors import InputError
from moeclip_transforms.geometry import Affine
from moeclip_transforms.hashing import hash_files
from moeclip_transforms.intensity import finite_range
from moeclip_transforms.naming import OWN_NAME, OWN_RESULT, reason, stable_uid
from moeclip_transforms.volume import FileFormat, ImageKind, Series, SourceRef

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeclip_transforms.volume import Volume

_MM_PER_UNIT = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
_DIMENSIONS = (2, 3, 4)
_CT_AIR = -900.0
_READ_ERRORS = (OSError, EOFError, ValueError, zlib.error, TypeError, ArithmeticError, KeyError, IndexError)


def scan_nifti(path: Path) -> Series:
    """Describe a NIfTI file from its header.

    Raises:
        InputError: When the header cannot be read, or the file is not a volume.
    """
    image = _load(path)
    shape = tuple(int(size) for size in image.shape)
    channels = 3 if image.get_data_dtype().fields else 1
    if len(shape) not in _DIMENSIONS or min(shape) < 1:
        msg = (
            f'"{path.name}" has the shape {"×".join(map(str, shape))}; '
            f"expected a volume of 2 to 4 dimensions, none of them 0."
        )
        raise InputError(msg)
    x, y, z, time = (*shape, 1, 1)[:4]
    return Series(
        uid=stable_uid(path),
        format=FileFormat.NIFTI,
        files=(path,),
        modality="",
        kind=ImageKind.MR if channels == 1 else ImageKind.PLAIN,
        study_uid="",
        shape=(x, y, z, time),
        channels=channels,
        skip_reason=OWN_RESULT if _is_own_result(image.header) else "",
    )


def read_nifti(series: Series, *, time_point: int = 0) -> Volume:
    """Read one time point of a NIfTI file on its own grid.

    World coordinates come from the sform, else the qform (as nibabel chooses), in mm. Where the header has
    neither, the volume has no orientation.

    Raises:
        InputError: When the data cannot be read or the header contradicts itself.
    """
    path = series.files[0]
    image = _load(path)
    array = _voxels(image, series, time_point)
    header = image.header
    scale = _mm_per_unit(header) or 1.0
    has_orientation = bool(int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0)
    notes = _header_notes(header, series, scale)
    if not _mm_per_unit(header):
        notes.append(f"The unit of length (xyzt_units {int(header['xyzt_units'])}) does not exist; taken for mm.")
    affine = np.asarray(image.affine, dtype=np.float64)
    if not has_orientation:
        zooms = [abs(float(zoom)) or 1.0 for zoom in (*header.get_zooms(), 1.0, 1.0)[:3]]
        affine = np.diag([*zooms, 1.0])
    affine = np.diag([scale, scale, scale, 1.0]) @ affine
    lowest, _ = finite_range(array)
    if series.kind is ImageKind.MR and lowest <= _CT_AIR:
        notes.append(
            f"The lowest value is {lowest:g}, as in CT; NIfTI does not tell the modality, "
            f'so this is taken for MR: choose the preset "{ImageKind.CT_SOFT_TISSUE}" or '
            f'"{ImageKind.CT_BRAIN}" if it is a CT.'
        )
    return make_volume(
        array,
        affine,
        series,
        slice_axis=_slice_axis(header, affine, path) if has_orientation else 2,
        display_range=(0.0, 255.0) if series.is_colour else None,
        has_orientation=has_orientation,
        source=SourceRef(series, hash_files(series.files), time_point, nifti_code=_space_code(header)),
        notes=tuple(notes),
    )


def likely_slice_axis(affine: NDArray[np.float64]) -> int:
    """The axis along which a volume was probably acquired: the coarsest, or axial when all are alike."""
    checked = Affine(affine)
    spacing = np.asarray(checked.spacing)
    coarsest = int(spacing.argmax())
    if spacing[coarsest] > 1.05 * np.sort(spacing)[1]:
        return coarsest
    return next(axis for axis, code in enumerate(checked.axis_codes) if code in "SI")


def _load(path: Path) -> Any:  # noqa: ANN401  nibabel is partly untyped
    import nibabel

    try:
        image = nibabel.load(path)
    except Exception as error:  # nibabel lets through whatever its parsers raise, those of XML extensions too
        msg = f'"{path.name}" is not a readable NIfTI file ({reason(error)}); check that it was copied whole.'
        raise InputError(msg) from error
    if not isinstance(image, nibabel.Nifti1Pair):
        msg = f'"{path.name}" is of the type {type(image).__name__}, not a NIfTI volume; convert it to .nii.gz.'
        raise InputError(msg)
    return image


def _mm_per_unit(header: Any) -> float:  # noqa: ANN401
    """How many mm the header's unit of length has; 0 where its code stands for none."""
    try:
        return _MM_PER_UNIT[header.get_xyzt_units()[0]]
    except KeyError:
        return 0.0


def _is_own_result(header: Any) -> bool:  # noqa: ANN401
    """Whether `moeclip-med` wrote this file: a map is not an image to be scored in its turn."""
    written_by = bytes(header["descrip"]) if "descrip" in header else b""
    return written_by.startswith(f"{OWN_NAME} ".encode())


def _voxels(image: Any, series: Series, time_point: int) -> NDArray[np.float32]:  # noqa: ANN401
    """(channel, x, y, z) float32 after scl_slope and scl_inter."""
    path, n_time = series.files[0], series.shape[3]
    if not 0 <= time_point < n_time:
        msg = f'"{path.name}" has {n_time} time points, numbered 0 to {n_time - 1}; {time_point} is none of them.'
        raise InputError(msg)
    try:
        if series.is_colour:
            stored = np.asarray(image.dataobj)
            stored = stored[..., time_point] if len(image.shape) == max(_DIMENSIONS) else stored
            array = np.stack([stored[name] for name in "RGB"]).astype(np.float32)
            return array.reshape(3, *series.shape[:3])
        if len(image.shape) == max(_DIMENSIONS):
            data = np.asarray(image.dataobj[..., time_point])
            if np.iscomplexobj(data):
                data = np.abs(data)
            return np.asarray(data, dtype=np.float32)[None]
        if np.issubdtype(image.get_data_dtype(), np.complexfloating):
            magnitude: NDArray[np.float32] = np.abs(np.asarray(image.dataobj)).astype(np.float32)
            return magnitude.reshape(1, *series.shape[:3])
        values: NDArray[np.float32] = image.get_fdata(caching="unchanged", dtype=np.float32)
        return values.reshape(1, *series.shape[:3])
    except _READ_ERRORS as error:
        voxels = Path(image.file_map["image"].filename or path)
        if voxels != path and not voxels.exists():
            msg = (
                f'"{path.name}" is only a header: its voxels belong into "{voxels.name}" beside it, which is missing; '
                "bring it."
            )
            raise InputError(msg) from error
        msg = (
            f'The voxels of "{path.name}" cannot be read ({reason(error)}); '
            f"the file is truncated or damaged: copy it again."
        )
        raise InputError(msg) from error


def _header_notes(header: Any, series: Series, scale: float) -> list[str]:  # noqa: ANN401
    notes = []
    sform, sform_code = header.get_sform(coded=True)
    try:
        qform, qform_code = header.get_qform(coded=True)
    except ValueError:  # nibabel refuses quaternions that are none
        notes.append("The qform is damaged; the sform is used.")
        return notes
    if not sform_code and not qform_code:
        notes.append("The NIfTI header holds no orientation (sform and qform codes are 0): shown as stored.")
    if sform_code and qform_code:
        corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
        corners[:, :3] *= np.array(series.shape[:3]) - 1
        distance = float(np.abs(corners @ (sform - qform).T).max())
        if distance > 0.5 * float(np.linalg.norm(sform[:3, :3], axis=0).min()):
            notes.append(f"The sform and the qform differ by up to {distance:.1f} mm; the sform is used.")
    if scale != 1.0:
        notes.append(f"The header's lengths were converted to mm (×{scale:g}).")
    return notes


def _space_code(header: Any) -> int:  # noqa: ANN401
    """Return the code of the coordinate system that the affine is given in: the sform's, else the qform's."""
    return int(header["sform_code"]) or int(header["qform_code"])


def _slice_axis(header: Any, affine: NDArray[np.float64], path: Path) -> int:  # noqa: ANN401
    axis = header.get_dim_info()[2]
    if axis is not None:
        return int(axis)
    try:
        return likely_slice_axis(affine)
    except InputError as error:
        msg = f'"{path.name}" cannot be placed in space: {error}'
        raise InputError(msg) from error
