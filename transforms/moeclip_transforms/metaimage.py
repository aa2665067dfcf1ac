"""Headers of MetaImage files (.mha, .mhd), checked before a byte of voxels is read.

The format: https://itk.org/Wiki/ITK/MetaIO/Documentation. World coordinates are LPS+, in mm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeclip_transforms.errors import InputError
from moeclip_transforms.geometry import RAS_FROM_LPS, Affine
from moeclip_transforms.grid_file import Encoding, GridHeader, check_sizes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_LONGEST_HEADER = 1 << 16
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip
_COLOURS = (3, 4)
_AXES_IN_SPACE = 3
_TO = {"R": (1.0, 0.0, 0.0), "L": (-1.0, 0.0, 0.0), "A": (0.0, 1.0, 0.0), "P": (0.0, -1.0, 0.0), "I": (0.0, 0.0, 1.0),
       "S": (0.0, 0.0, -1.0)}  # fmt: skip
"""Where an axis points in LPS+, by the letter of the side it comes from."""


def read_metaimage_header(path: Path) -> GridHeader:
    """Read and check the header of a MetaImage.

    Raises:
        InputError: When it is none, contradicts itself, or names data elsewhere than beside it.
        OSError: When it cannot be opened.
    """
    fields, end = _fields(path)
    n_axes = _integers(fields, "NDims", path)[0]
    sizes = _integers(fields, "DimSize", path)
    if len(sizes) != n_axes:
        raise InputError(
            f'"{path.name}" has {n_axes} axes (NDims) but {len(sizes)} sizes (DimSize); correct its header.'
        )
    check_sizes(sizes, path)
    channels = _integers(fields, "ElementNumberOfChannels", path, default="1")[0]
    dtype = _dtype(fields, path)
    stored = sizes if channels == 1 else (channels, *sizes)
    check_sizes(stored, path)
    domain = tuple(range(len(stored) - n_axes, len(stored)))[:_AXES_IN_SPACE]
    other = _other_axis(stored, domain, path)
    affine, has_orientation = _affine(fields, n_axes, path)
    encoding = _encoding(fields)
    is_local = fields["elementdatafile"].upper() == "LOCAL"
    start = _integers(fields, "HeaderSize", path, default="0")[0]
    packed = _integers(fields, "CompressedDataSize", path, default="0")[0]
    return GridHeader(
        path,
        stored,
        domain,
        other,
        is_colour=channels in _COLOURS and dtype.itemsize == 1,
        dtype=dtype,
        affine=affine,
        has_orientation=has_orientation,
        has_spacing=n_axes >= _AXES_IN_SPACE and ("elementspacing" in fields or "elementsize" in fields),
        encoding=encoding,
        data_name="" if is_local else fields["elementdatafile"],
        data_start=end if is_local and start == 0 else start,
        data_size=packed if encoding is Encoding.ZLIB and packed > 0 else None,
    )


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The header's fields by their names in lower case, and where it ends."""
    with path.open("rb") as file:
        head = file.read(_LONGEST_HEADER)
    fields: dict[str, str] = {}
    place = 0
    while b"\n" in head[place:] or (place < len(head) and len(head) < _LONGEST_HEADER):
        line, newline, _ = head[place:].partition(b"\n")
        place += len(line) + len(newline)
        try:
            name, equals, value = line.decode("utf-8").partition("=")
        except UnicodeDecodeError:
            break
        if not equals:
            if name.strip():
                break
            continue
        fields[name.strip().lower()] = value.strip()
        if name.strip().lower() == "elementdatafile":  # the last one, by definition
            return fields, place
    raise InputError(
        f'"{path.name}" is not a readable MetaImage: its header is damaged or has no "ElementDataFile"; check that it '
        "was copied whole."
    )


def _integers(fields: dict[str, str], name: str, path: Path, default: str = "") -> tuple[int, ...]:
    text = fields.get(name.lower(), default)
    try:
        numbers = tuple(int(part) for part in text.split()[:99])
    except ValueError:
        numbers = ()
    if not numbers:
        raise InputError(f'"{path.name}" has "{text[:80]}" for {name}; expected whole numbers: correct its header.')
    return numbers


def _numbers(fields: dict[str, str], names: tuple[str, ...], count: int, path: Path) -> NDArray[np.float64] | None:
    """The numbers under the first of several names that is there; None where none is."""
    name = next((name for name in names if name.lower() in fields), None)
    if name is None:
        return None
    text = fields[name.lower()]
    try:
        numbers = np.array([float(part) for part in text.split()])
    except ValueError:
        numbers = np.empty(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise InputError(
            f'"{path.name}" has "{text[:80]}" for {name}; expected {count} finite numbers: correct its header.'
        )
    return numbers


def _dtype(fields: dict[str, str], path: Path) -> np.dtype[np.generic]:
    text = fields.get("elementtype", "")
    kind = _TYPES.get(text.upper().removesuffix("_ARRAY"))
    if kind is None:
        raise InputError(
            f'"{path.name}" has "{text[:80]}" for ElementType; expected MET_SHORT, MET_FLOAT or the like: convert it.'
        )
    is_big = _is_true(fields, "binarydatabyteordermsb") or _is_true(fields, "elementbyteordermsb")
    return np.dtype(f"{'>' if is_big else '<'}{kind}")


def _other_axis(stored: tuple[int, ...], domain: tuple[int, ...], path: Path) -> int | None:
    others = [axis for axis in range(len(stored)) if axis not in domain and stored[axis] > 1]
    if len(others) > 1:
        raise InputError(
            f'"{path.name}" has the size {"×".join(map(str, stored))}: both several values per voxel and time points; '
            "split it into one image per time point."
        )
    return others[0] if others else next((axis for axis in range(len(stored)) if axis not in domain), None)


def _affine(fields: dict[str, str], n_axes: int, path: Path) -> tuple[Affine, bool]:
    """Voxel to world, and whether it says where the patient is."""
    spacing = _numbers(fields, ("ElementSpacing", "ElementSize"), n_axes, path)
    rows = _numbers(fields, ("TransformMatrix", "Rotation", "Orientation"), n_axes * n_axes, path)
    origin = _numbers(fields, ("Offset", "Position", "Origin"), n_axes, path)
    letters = fields.get("anatomicalorientation", "")
    step = np.ones(_AXES_IN_SPACE)
    if spacing is not None:
        step[: min(n_axes, 3)] = spacing[:3]
    if n_axes < _AXES_IN_SPACE or "?" in letters:
        return _checked(np.diag([*np.abs(step), 1.0]), path), False
    if rows is not None:
        directions = rows.reshape(n_axes, n_axes)[:3, :3].T  # each row is the direction of one axis
    elif len(letters) == _AXES_IN_SPACE and set(letters) <= set(_TO):
        directions = np.array([_TO[letter] for letter in letters]).T
    else:
        return _checked(np.diag([*np.abs(step), 1.0]), path), False
    lps = np.eye(4)
    lps[:3, :3] = directions * step
    lps[:3, 3] = 0.0 if origin is None else origin[:3]
    return _checked(RAS_FROM_LPS @ lps, path), True


def _checked(matrix: NDArray[np.float64], path: Path) -> Affine:
    try:
        return Affine(matrix)
    except InputError as error:
        raise InputError(f'"{path.name}" cannot be placed in space: {error}') from error


def _encoding(fields: dict[str, str]) -> Encoding:
    if "binarydata" in fields and not _is_true(fields, "binarydata"):
        return Encoding.TEXT
    return Encoding.ZLIB if _is_true(fields, "compresseddata") else Encoding.RAW


def _is_true(fields: dict[str, str], name: str) -> bool:
    return fields.get(name, "").lower() in {"true", "t", "1", "yes"}
