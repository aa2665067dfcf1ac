"""Headers of NRRD files (.nrrd, .nhdr), checked before a byte of voxels is read.

The format: https://teem.sourceforge.net/nrrd/format.html. `pynrrd` reads its grammar; what it says is checked here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_transforms.errors import InputError
from moeclip_transforms.geometry import Affine
from moeclip_transforms.grid_file import Encoding, GridHeader, check_sizes
from moeclip_transforms.library_warnings import warnings_raised
from moeclip_transforms.naming import reason

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_LONGEST_HEADER = 1 << 20
_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_ENCODINGS = {
    "raw": Encoding.RAW, "gz": Encoding.GZIP, "gzip": Encoding.GZIP, "bz2": Encoding.BZIP2, "bzip2": Encoding.BZIP2,
    "txt": Encoding.TEXT, "text": Encoding.TEXT, "ascii": Encoding.TEXT, "hex": Encoding.HEX,
}  # fmt: skip
_SIGNS = {"right": 1.0, "left": -1.0, "anterior": 1.0, "posterior": -1.0, "superior": 1.0, "inferior": -1.0}
_AXIS_OF_WORD = {"right": 0, "left": 0, "anterior": 1, "posterior": 1, "superior": 2, "inferior": 2}
_SHORT_SPACES = {
    "ras": "right-anterior-superior", "las": "left-anterior-superior", "lps": "left-posterior-superior",
    "rast": "right-anterior-superior-time", "last": "left-anterior-superior-time",
    "lpst": "left-posterior-superior-time",
}  # fmt: skip
_MM_PER_UNIT = {
    "": 1.0, "mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "millimetre": 1.0, "millimetres": 1.0,
    "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3, "micrometers": 1e-3,
    "micrometre": 1e-3, "micrometres": 1e-3, "nm": 1e-6, "nanometer": 1e-6, "nanometers": 1e-6, "cm": 10.0,
    "centimeter": 10.0, "centimeters": 10.0, "m": 1e3, "meter": 1e3, "meters": 1e3, "metre": 1e3, "metres": 1e3,
}  # fmt: skip
_COLOUR_KINDS = {"rgb-color", "3-color", "rgba-color", "4-color"}
_DOMAIN_KINDS = {"domain", "space"}
_SPATIAL_KINDS = {"domain", "space", "???", "none", ""}
_COLOURS = (3, 4)
_AXES_IN_SPACE = 3


def read_nrrd_header(path: Path) -> GridHeader:
    """Read and check the header of an NRRD file.

    Raises:
        InputError: When it is none, contradicts itself, or names data elsewhere than beside it.
        OSError: When it cannot be opened.
    """
    fields, end = _fields(path)
    sizes = tuple(int(size) for size in fields["sizes"])
    check_sizes(sizes, path)
    n_axes = len(sizes)
    if fields["dimension"] != n_axes:
        raise InputError(
            f'"{path.name}" has {fields["dimension"]} axes (dimension) but {n_axes} sizes; correct its header.'
        )
    vectors = _directions(fields, n_axes, path)
    kinds = [kind.lower() for kind in fields.get("kinds", [])] or [""] * n_axes
    if len(kinds) != n_axes:
        raise InputError(f'"{path.name}" has {n_axes} axes but {len(kinds)} kinds; correct its header.')
    domain, other = _axes(sizes, kinds, vectors, path)
    dtype = _dtype(fields, path)
    affine, has_orientation, has_spacing, notes = _placed(fields, domain, vectors, path)
    name = _data_name(fields)
    return GridHeader(
        path,
        sizes,
        domain,
        other,
        is_colour=other is not None and _is_colour(kinds[other], sizes[other], dtype),
        dtype=dtype,
        affine=affine,
        has_orientation=has_orientation,
        has_spacing=has_spacing and len(domain) == _AXES_IN_SPACE,
        encoding=_encoding(fields, path),
        data_name=name,
        data_start=_skipped(fields, 0 if name else end, path),
        notes=notes,
    )


def _fields(path: Path) -> tuple[dict[str, Any], int]:
    """The fields as `pynrrd` reads them, and where the header ends."""
    from nrrd.errors import NRRDError
    from nrrd.reader import read_header

    with path.open("rb") as file:
        head = file.read(_LONGEST_HEADER)
    if re.search(rb"^data ?file: *LIST", head, re.IGNORECASE | re.MULTILINE):
        raise InputError(
            f'"{path.name}" names a list of data files; expected the name of one file beside it: convert the image '
            "to one file (.nrrd, .mha, .nii.gz)."
        )
    ends = [(head.find(mark), len(mark)) for mark in (b"\n\n", b"\r\n\r\n") if mark in head]
    end, length = min(ends, default=(len(head), 0))
    why = ""
    fields: dict[str, Any] = {}
    try:
        with warnings_raised():
            fields = dict(read_header(head[:end].decode("utf-8").splitlines()))
    except (NRRDError, ValueError, TypeError, LookupError, ArithmeticError, Warning, StopIteration) as error:
        why = reason(error)
    missing = sorted({"dimension", "type", "encoding", "sizes"} - fields.keys())
    if not why and (missing or (not ends and len(head) == _LONGEST_HEADER)):
        why = f'it has no "{missing[0]}"' if missing else "its header has no end"
    if why:
        raise InputError(f'"{path.name}" is not a readable NRRD file ({why}); check that it was copied whole.')
    return fields, end + length


def _data_name(fields: dict[str, Any]) -> str:
    name: str = fields.get("data file", fields.get("datafile", ""))
    return name


def _encoding(fields: dict[str, Any], path: Path) -> Encoding:
    encoding = _ENCODINGS.get(fields["encoding"].lower())
    if encoding is None:
        raise InputError(
            f'"{path.name}" has the encoding "{fields["encoding"][:40]}"; expected raw, gzip, bzip2, text or hex.'
        )
    return encoding


def _dtype(fields: dict[str, Any], path: Path) -> np.dtype[np.generic]:
    kind = next((kind for kind, names in _TYPES.items() if fields["type"].lower() in names), None)
    endian = fields.get("endian", "little" if kind in ("i1", "u1") else "")
    is_text = fields["encoding"].lower() in ("txt", "text", "ascii")
    if kind is None or (endian not in ("little", "big") and not is_text):
        raise InputError(
            f'"{path.name}" has the type "{fields["type"][:40]}" and the byte order "{endian[:20]}"; expected numbers, '
            "little or big: convert it."
        )
    return np.dtype(f"{'>' if endian == 'big' else '<'}{kind}")


def _skipped(fields: dict[str, Any], start: int, path: Path) -> int:
    """Where the voxels start; -1 counts from the end of the file (byte skip of raw data)."""
    lines = int(fields.get("line skip", fields.get("lineskip", 0)))
    count = int(fields.get("byte skip", fields.get("byteskip", 0)))
    if lines or count < -1:
        raise InputError(
            f'"{path.name}" skips {lines} lines and {count} bytes before its voxels; expected 0 lines: convert it.'
        )
    return -1 if count == -1 else start + count


def _directions(fields: dict[str, Any], n_axes: int, path: Path) -> NDArray[np.float64] | None:
    """(axis, 3) vectors in the header's space; NaN for axes that are not in space; None where it has none."""
    vectors = fields.get("space directions")
    if vectors is None:
        return None
    rows = [np.full(_AXES_IN_SPACE, np.nan) if row is None else np.asarray(row, dtype=np.float64) for row in vectors]
    if len(rows) != n_axes or any(row.ndim != 1 or len(row) not in (2, 3, 4) for row in rows):
        raise InputError(
            f'"{path.name}" has {len(rows)} space directions for {n_axes} axes; expected vectors of 3 numbers each.'
        )
    if any(np.isnan(row).any() and not np.isnan(row).all() for row in rows):
        raise InputError(
            f'"{path.name}" has a space direction that is partly NaN; expected 3 numbers, or none: correct its header.'
        )
    return np.array([np.pad(row, (0, 1))[:_AXES_IN_SPACE] for row in rows])


def _axes(
    sizes: tuple[int, ...], kinds: list[str], vectors: NDArray[np.float64] | None, path: Path
) -> tuple[tuple[int, ...], int | None]:
    """Which axes are space, and which one is not."""
    n_axes = len(sizes)
    if vectors is not None and np.isnan(vectors).any():
        spatial = [axis for axis in range(n_axes) if np.isfinite(vectors[axis]).all()]
        said = [axis for axis in range(n_axes) if kinds[axis] in _DOMAIN_KINDS]
        if len(spatial) < _AXES_IN_SPACE <= len(said):  # a direction is missing, not an axis: else slices become times
            spatial = said
    else:
        spatial = [axis for axis in range(n_axes) if kinds[axis] in _SPATIAL_KINDS]
    if len(spatial) > _AXES_IN_SPACE:  # nothing tells them apart: the last one is time, as for ITK
        spatial = spatial[:_AXES_IN_SPACE]
    others = [axis for axis in range(n_axes) if axis not in spatial]
    if not 2 <= len(spatial) <= _AXES_IN_SPACE or len(others) > 1:  # noqa: PLR2004
        raise InputError(
            f'"{path.name}" has {len(spatial)} axes in space and {len(others)} others '
            f"({' '.join(kinds)}); expected 2 or 3 in space and one other: convert it."
        )
    return tuple(spatial), others[0] if others else None


def _is_colour(kind: str, size: int, dtype: np.dtype[np.generic]) -> bool:
    """Whether an axis is colours: it says so, or holds 3 or 4 bytes that nothing else explains."""
    return size in _COLOURS and (kind in _COLOUR_KINDS or (kind in ("vector", "") and dtype == np.uint8))


def _placed(
    fields: dict[str, Any], domain: tuple[int, ...], vectors: NDArray[np.float64] | None, path: Path
) -> tuple[Affine, bool, bool, tuple[str, ...]]:
    """Voxel to world; whether it tells the patient's position, and the voxels' size; and what is to be said of it."""
    scale, unit_notes = _mm_per_unit(fields, path)
    if vectors is None or np.isnan(vectors[list(domain)]).any():
        if vectors is None:
            spacings = np.asarray(fields.get("spacings", []), dtype=np.float64)
            given = np.array([spacings[axis] if axis < len(spacings) else np.nan for axis in domain])
        else:
            given = np.linalg.norm(vectors[list(domain)], axis=1)
            unit_notes += ("The header gives an axis in space no direction (none or NaN): shown as stored.",)
        steps = np.ones(_AXES_IN_SPACE)
        steps[: len(domain)] = np.where(np.isfinite(given) & (given > 0), given * scale, 1.0)
        return _checked(np.diag([*steps, 1.0]), path), False, bool(np.isfinite(given).all()), unit_notes
    columns = np.eye(_AXES_IN_SPACE)
    columns[:, : len(domain)] = vectors[list(domain)].T * scale
    space = fields.get("space", "").lower()
    words = _SHORT_SPACES.get(space, space).split("-")[:_AXES_IN_SPACE]
    is_anatomical = [_AXIS_OF_WORD.get(word) for word in words] == [0, 1, 2] and len(domain) == _AXES_IN_SPACE
    if not is_anatomical:
        steps = np.linalg.norm(columns, axis=0)
        return _checked(np.diag([*np.where(steps > 0, steps, np.nan), 1.0]), path), False, True, unit_notes
    origin = np.asarray(fields.get("space origin", np.zeros(3)), dtype=np.float64).ravel()
    matrix = np.eye(4)
    to_ras = np.array([_SIGNS[word] for word in words])
    matrix[:3, :3] = columns * to_ras[:, None]
    matrix[:3, 3] = np.resize(origin, _AXES_IN_SPACE) * scale * to_ras if origin.size else 0.0
    return _checked(matrix, path), True, True, unit_notes


def _mm_per_unit(fields: dict[str, Any], path: Path) -> tuple[float, tuple[str, ...]]:
    units = {str(unit).lower() for unit in (fields.get("space units") or fields.get("units") or []) if unit != "none"}
    units = {unit.strip('"') for unit in units} - {"???"} or {""}
    if len(units) > 1 or not units <= _MM_PER_UNIT.keys():
        msg = f'The unit of length of "{path.name}" ({", ".join(sorted(units))[:60]}) is not known; taken for mm.'
        return 1.0, (msg,)
    scale = _MM_PER_UNIT[units.pop()]
    return scale, () if scale == 1.0 else (f"The header's lengths were converted to mm (×{scale:g}).",)


def _checked(matrix: NDArray[np.float64], path: Path) -> Affine:
    try:
        return Affine(matrix)
    except InputError as error:
        raise InputError(f'"{path.name}" cannot be placed in space: {error}') from error
