"""Headers of NIfTI-1, NIfTI-2 and Analyze files, read by nibabel, repaired where other tools agree how, and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_transforms.errors import InputError
from moeclip_transforms.geometry import Affine
from moeclip_transforms.naming import OWN_NAME, reason

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

HEADER_BYTES = 544
"""So much of a file holds the header of any of the three formats."""

_MM_PER_UNIT = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
_SIZES = {348: "<", 540: "<"}
_SINGLE_1, _SINGLE_2 = 352, 544
_NIFTI_2 = 540
_FARTHEST = 1 << 30
"""The last byte that voxels may start at: extensions before them are texts."""
_OVER_ONE = 1e-3
"""A quaternion whose vector part is longer than one by less than this (squared) was rounded, not damaged."""
_DIMENSIONS = (2, 3, 4)
_LABELS = 1002
"""NIFTI_INTENT_LABEL: every voxel is an index into a list of labels."""


@dataclass(frozen=True)
class NiftiHeader:
    """A checked header.

    Attributes:
        shape: (x, y, z, time), singletons added or taken away.
        dtype: The stored type, with its byte order; fields R, G, B for colours.
        slope: What stored values are multiplied by, and
        intercept: what is added then.
        start: The first byte of the voxels in their file.
        is_single: Whether the voxels follow the header in the same file.
        affine: Voxel to world, mm, RAS+; spacing alone where there is no orientation.
        has_orientation: Whether the header says where the patient is.
        has_spacing: Whether it says how large a voxel is.
        space_code: The code of the sform, else the qform that was used; 0 without orientation.
        told_slice_axis: The axis of slices that it names, or None.
        is_own_result: Whether this program wrote it.
        is_labels: Whether it says that its values are labels.
        notes: What was repaired, and what a user has to know.
    """

    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    slope: float
    intercept: float
    start: int
    is_single: bool
    affine: Affine
    has_orientation: bool
    has_spacing: bool
    space_code: int
    told_slice_axis: int | None
    is_own_result: bool
    is_labels: bool
    notes: tuple[str, ...]

    @property
    def is_colour(self) -> bool:
        """Whether its voxels have red, green and blue."""
        return self.dtype.fields is not None


def parse_nifti_header(block: bytes, path: Path) -> NiftiHeader:
    """Read a header from the first bytes of its file.

    Args:
        block: At least `HEADER_BYTES`, uncompressed, or the whole file where it is shorter.
        path: The file, for messages.

    Raises:
        InputError: When it is no such header, or contradicts itself.
    """
    header = _by_nibabel(block, path)
    notes: list[str] = []
    shape = _shape(header, path, notes)
    dtype = header.get_data_dtype()
    slope, intercept = header.get_slope_inter()
    if slope is None and np.isinf(header["scl_slope"]):  # 0 and NaN say on purpose that there is none
        notes.append("scl_slope is infinite, so values are taken as stored: they may have another unit.")
    is_nifti = "magic" in header
    is_single = is_nifti and bytes(header["magic"])[:2] == b"n+"
    scale = _mm_per_unit(header, notes) if is_nifti else 1.0
    steps, has_spacing = _pixdim(header, shape, notes)
    matrix, code = _matrix(header, shape, path, notes) if is_nifti else (None, 0)
    if not is_nifti:
        notes.append("This is an Analyze 7.5 file, which does not tell left from right: shown as stored.")
    affine = np.diag([*steps, 1.0]) if matrix is None else matrix
    if scale != 1.0:
        notes.append(f"The header's lengths were converted to mm (×{scale:g}).")
    return NiftiHeader(
        shape=shape,
        dtype=dtype,
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        start=_start(header, block, path, notes) if is_single else _offset(header, path),
        is_single=is_single,
        affine=_placed(np.diag([scale, scale, scale, 1.0]) @ affine, path),
        has_orientation=matrix is not None,
        has_spacing=matrix is not None or has_spacing,
        space_code=code,
        told_slice_axis=header.get_dim_info()[2] if is_nifti else None,
        is_own_result=bytes(header["descrip"]).startswith(f"{OWN_NAME} ".encode()),
        is_labels=is_nifti and int(header["intent_code"]) == _LABELS,
        notes=tuple(notes),
    )


def _by_nibabel(block: bytes, path: Path) -> Any:  # noqa: ANN401  nibabel is partly untyped
    import nibabel

    size = min(int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big")) if len(block) >= 4 else 0  # noqa: PLR2004
    kinds: Any = nibabel
    if size == _NIFTI_2:
        kind, length = kinds.nifti2.Nifti2PairHeader, 540
    elif block[344:347] in (b"n+1", b"ni1"):
        kind, length = kinds.nifti1.Nifti1PairHeader, 348
    else:
        kind, length = kinds.spm2analyze.Spm2AnalyzeHeader, 348
    try:
        if size not in _SIZES:
            raise ValueError(f"it declares a header of {size} bytes, not of 348 or 540")  # noqa: TRY301
        header = kind(block[:length], check=False)
        dtype = header.get_data_dtype()
        header.get_slope_inter()
        if dtype.fields is None and dtype.kind not in "iufc":
            raise ValueError(f"its datatype {int(header['datatype'])} is none of numbers or colours")  # noqa: TRY301
    except Exception as error:  # nibabel lets through whatever its parsers raise
        raise InputError(
            f'"{path.name}" is not a readable NIfTI file ({reason(error)}); check it with the program that wrote it.'
        ) from error
    return header


def _shape(header: Any, path: Path, notes: list[str]) -> tuple[int, int, int, int]:  # noqa: ANN401
    count = int(header["dim"][0])
    declared = tuple(int(size) for size in header["dim"][1 : 1 + max(0, count)])
    kept = declared
    while len(kept) > _DIMENSIONS[-1] and kept[-1] == 1:
        kept = kept[:-1]
    if len(kept) not in _DIMENSIONS or min(kept) < 1:
        raise InputError(
            f'"{path.name}" has the shape {"×".join(map(str, declared)) or "of no dimension"}; '
            f"expected a volume of 2 to 4 dimensions, none of them 0."
        )
    if kept != declared:
        notes.append(f"The shape {'×'.join(map(str, declared))} was taken for {'×'.join(map(str, kept))}.")
    x, y, z, time = (*kept, 1, 1)[:4]
    return (x, y, z, time)


def _pixdim(header: Any, shape: tuple[int, ...], notes: list[str]) -> tuple[NDArray[np.float64], bool]:  # noqa: ANN401
    """Spacing along x, y, z, and whether the header gives it; what is missing becomes 1."""
    stored = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    is_given = np.isfinite(stored) & (stored != 0)
    needed = np.array(shape[:3]) > 1
    if (needed & ~is_given).any():
        notes.append("The header gives no voxel size (pixdim 0) along some axes; it was taken for 1 there.")
    return np.where(is_given, np.abs(np.where(is_given, stored, 1.0)), 1.0), bool(is_given[needed].all())


def _matrix(
    header: Any,  # noqa: ANN401
    shape: tuple[int, ...],
    path: Path,
    notes: list[str],
) -> tuple[NDArray[np.float64] | None, int]:
    """The sform, else the qform, and its code; None where the header has neither."""
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    sform = header.get_sform() if sform_code > 0 else None
    qform = _qform(header, notes) if qform_code > 0 else None
    if sform is not None and not _is_usable(sform):
        if qform is None:
            _placed(sform, path)
        notes.append("The sform is damaged (it puts voxels on top of each other); the qform is used.")
        return qform, qform_code
    if sform is not None:
        _compare(sform, qform, shape, notes)
        return sform, sform_code
    if qform is not None:
        return qform, qform_code
    if qform_code > 0:
        raise InputError(
            f'"{path.name}" cannot be placed in space: its qform is damaged and it has no sform; correct its header.'
        )
    notes.append("The NIfTI header holds no orientation (sform and qform codes are 0): shown as stored.")
    return None, 0


def _qform(header: Any, notes: list[str]) -> NDArray[np.float64] | None:  # noqa: ANN401
    """The matrix of the quaternion, or None where it is none; one that is too long by rounding is shortened."""
    from nibabel import quaternions

    vector = np.array([float(header[f"quatern_{part}"]) for part in "bcd"])
    square = float(vector @ vector)
    offset = np.array([float(header[f"qoffset_{part}"]) for part in "xyz"])
    if not (np.isfinite(vector).all() and np.isfinite(offset).all()) or square > 1.0 + _OVER_ONE:
        return None
    if square > 1.0:
        notes.append(f"The qform's quaternion is too long by {square - 1.0:.1g} and was shortened to 1.")
        vector /= np.sqrt(square)
    real = np.sqrt(max(0.0, 1.0 - float(vector @ vector)))
    turn = np.asarray(quaternions.quat2mat([real, *vector]), dtype=np.float64)
    stored = np.asarray(header["pixdim"][:4], dtype=np.float64)
    steps = np.where(np.isfinite(stored[1:]) & (stored[1:] != 0), np.abs(stored[1:]), 1.0)
    steps[2] *= -1.0 if stored[0] < 0 else 1.0
    matrix = np.eye(4)
    matrix[:3, :3] = turn * steps
    matrix[:3, 3] = offset
    return matrix


def _compare(
    sform: NDArray[np.float64], qform: NDArray[np.float64] | None, shape: tuple[int, ...], notes: list[str]
) -> None:
    """Say where sform and qform are far apart."""
    if qform is None:
        return
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    corners[:, :3] *= np.array(shape[:3]) - 1
    distance = float(np.abs(corners @ (sform - qform).T).max())
    if distance > 0.5 * float(np.linalg.norm(sform[:3, :3], axis=0).min()):
        notes.append(f"The sform and the qform differ by up to {distance:.1f} mm; the sform is used.")


def _is_usable(matrix: NDArray[np.float64]) -> bool:
    try:
        Affine(matrix)
    except InputError:
        return False
    return True


def _placed(matrix: NDArray[np.float64], path: Path) -> Affine:
    try:
        return Affine(matrix)
    except InputError as error:
        raise InputError(f'"{path.name}" cannot be placed in space: {error}') from error


def _mm_per_unit(header: Any, notes: list[str]) -> float:  # noqa: ANN401
    try:
        return _MM_PER_UNIT[header.get_xyzt_units()[0]]
    except KeyError:
        code = int(header["xyzt_units"])
        notes.append(f"The unit of length (xyzt_units {code}) does not exist; taken for mm.")
        return 1.0


def _offset(header: Any, path: Path) -> int:  # noqa: ANN401
    stored = float(header["vox_offset"])
    if stored > _FARTHEST:
        raise InputError(
            f'"{path.name}" has its voxels from byte {stored:.4g} on (vox_offset), where {_FARTHEST} is the last '
            "expected; it is damaged: copy it again."
        )
    return int(stored) if stored > 0 else 0


def _start(header: Any, block: bytes, path: Path, notes: list[str]) -> int:  # noqa: ANN401
    """Where the voxels of a single file start: behind the header and its extensions."""
    lowest = _SINGLE_2 if int(header["sizeof_hdr"]) == _NIFTI_2 else _SINGLE_1
    offset = _offset(header, path)
    if offset >= lowest:
        return offset
    has_extensions = len(block) >= lowest and block[lowest - 4] != 0
    notes.append(
        f"The header says that voxels start at byte {offset}, inside itself; they were read from byte {lowest}"
        + (", although it may have extensions." if has_extensions else ".")
    )
    return lowest
