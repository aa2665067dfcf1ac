"""NIfTI and Analyze files (.nii, .hdr/.img, compressed or not): 3-D, 4-D and colour, any orientation."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_transforms.assemble import make_volume
from moeclip_transforms.data_files import damaged, file_beside, read_file, unpacked_pieces
from moeclip_transforms.errors import InputError
from moeclip_transforms.hashing import hash_of_hashes
from moeclip_transforms.naming import OWN_RESULT, reason, stable_uid
from moeclip_transforms.nifti_header import HEADER_BYTES, NiftiHeader, parse_nifti_header
from moeclip_transforms.readers import FileReader
from moeclip_transforms.slice_axis import check_is_image, likely_slice_axis
from moeclip_transforms.volume import FileFormat, ImageType, Series, SourceRef

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from moeclip_transforms.volume import Volume

_GZIP = b"\x1f\x8b"
_HEAD_BYTES = 1 << 14
_HIGHEST_RATIO = 1100
_SUFFIXES = {".hdr": ".img", ".img": ".hdr"}


def scan_nifti(path: Path) -> Series:
    """Describe a NIfTI or Analyze file from its header; of a pair, either file may be given.

    Raises:
        InputError: When the header cannot be read, or the file is not a volume.
    """
    files = _pair(path)
    header = read_header(files[0])
    check_is_image(header.shape[:3], path.name)
    if header.is_single and len(files) > 1:
        files = files[:1]
    return Series(
        uid=stable_uid(path),
        format=FileFormat.NIFTI,
        files=files,
        modality="",
        image_type=ImageType.PLAIN if header.is_colour else ImageType.MR,
        study_uid="",
        shape=header.shape,
        channels=3 if header.is_colour else 1,
        skip_reason=OWN_RESULT if header.is_own_result else "",
    )


def read_header(path: Path) -> NiftiHeader:
    """Read and check a header, compressed or not.

    Raises:
        InputError: When it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise _cannot_open(path, error) from error
    return parse_nifti_header(_head(head, path), path)


def read_nifti(series: Series, *, time_point: int = 0) -> Volume:
    """Read one time point of a NIfTI or Analyze file on its own grid; each file is opened once.

    World coordinates come from the sform, else the qform, in mm. Where the header has neither, the volume has no
    orientation.

    Raises:
        InputError: When the data cannot be read or the header contradicts itself.
    """
    path, n_time = series.files[0], series.shape[3]
    if not 0 <= time_point < n_time:
        raise InputError(
            f'"{path.name}" has {n_time} time points, numbered 0 to {n_time - 1}; {time_point} is none of them.'
        )
    try:
        files = [read_file(file) for file in series.files]
    except OSError as error:
        raise _cannot_open(path, error) from error
    header = parse_nifti_header(_head(files[0].content, path), path)
    array = _values(header, _stored(header, files[-1].content, time_point, series.files[-1]))
    notes = header.notes
    if path.name.lower().endswith(".gz") != files[0].content.startswith(_GZIP):
        notes += (f'The suffix of "{path.name}" does not tell whether it is compressed; its content did.',)
    return make_volume(
        array,
        header.affine,
        series,
        slice_axis=likely_slice_axis(
            header.affine, series.shape[:3], told=header.told_slice_axis, has_orientation=header.has_orientation
        ),
        display_range=(0.0, 255.0) if series.is_colour else None,
        has_orientation=header.has_orientation,
        has_voxel_size=header.has_spacing,
        source=SourceRef(
            series, hash_of_hashes(file.sha256 for file in files), time_point, nifti_code=header.space_code
        ),
        notes=notes,
    )


def _pair(path: Path) -> tuple[Path, ...]:
    """The file, or header and voxels of a pair, whichever of them was given."""
    name = path.name.removesuffix(".gz") if path.name.lower().endswith(".gz") else path.name
    stem, suffix = name[:-4], name[-4:].lower()
    if suffix not in _SUFFIXES:
        return (path,)
    other = _SUFFIXES[suffix]
    spelled = other.upper() if name[-4:].isupper() else other
    names = [f"{stem}{spelled}", f"{stem}{spelled}.gz"]
    if name != path.name:
        names.reverse()
    found = next((candidate for candidate in names if path.with_name(candidate).exists()), names[0])
    if suffix == ".img":
        return (file_beside(path, found), path)
    return (path, file_beside(path, found))


def _head(content: bytes | bytearray, path: Path) -> bytes:
    """The first bytes of a file, unpacked."""
    if not content.startswith(_GZIP):
        return bytes(content[:HEADER_BYTES])
    head = b""
    try:
        rest = bytes(content[:_HEAD_BYTES])
        while len(head) < HEADER_BYTES and rest.startswith(_GZIP):  # several streams behind each other are one file
            stream = zlib.decompressobj(wbits=31)
            head += stream.decompress(rest, HEADER_BYTES - len(head))
            rest = stream.unused_data
    except zlib.error as error:
        raise damaged(path.name, reason(error)) from error
    if head.startswith(_GZIP):
        raise InputError(f'"{path.name}" is compressed twice; expected once: unpack it with gunzip.')
    return head


def _stored(header: NiftiHeader, content: bytearray, time_point: int, path: Path) -> NDArray[Any]:
    """(x, y, z) of one time point as stored."""
    count = math.prod(header.shape[:3])
    size = count * header.dtype.itemsize
    start, stop = header.start + time_point * size, header.start + header.shape[3] * size
    if content.startswith(_GZIP):
        content, start, stop = _unpacked(content, start, size, stop, path), 0, size
    if len(content) < stop:
        raise damaged(path.name, f"{stop} bytes expected, {len(content)} found")
    flat: NDArray[Any] = np.frombuffer(content, dtype=header.dtype, count=count, offset=start)
    return flat.reshape(header.shape[:3], order="F")


def _unpacked(packed: bytearray, start: int, size: int, stop: int, path: Path) -> bytearray:
    """Some bytes of a compressed file, all of which is unpacked as far as its header declares: so damage is found."""
    if stop > _HIGHEST_RATIO * (len(packed) + 100):
        raise damaged(path.name, f"{stop} bytes expected, more than {len(packed)} compressed ones can hold")
    out, place = bytearray(size), 0
    for piece in unpacked_pieces(packed, "gzip", path.name):
        first, last = max(place, start), min(place + len(piece), start + size)
        if first < last:
            out[first - start : last - start] = memoryview(piece)[first - place : last - place]
        if place > stop:  # a byte further than declared; at the end, asking for more compares the checksum
            break
        place += len(piece)
    if place < stop:
        raise damaged(path.name, f"{stop} bytes expected, {place} found")
    return out


def _values(header: NiftiHeader, stored: NDArray[Any]) -> NDArray[np.float32]:
    """(channel, x, y, z) float32 after slope and intercept."""
    if header.is_colour:
        return np.stack([stored[name] for name in "RGB"]).astype(np.float32)
    if np.iscomplexobj(stored):
        stored = np.abs(stored)
    if (header.slope, header.intercept) == (1.0, 0.0):
        return stored.astype(np.float32, copy=False)[None]
    values: NDArray[np.float32] = np.empty(stored.shape, dtype=np.float32, order="F")
    for index in range(stored.shape[2]):  # slice by slice: the product is formed in 64 bits
        with np.errstate(over="ignore"):
            values[..., index] = stored[..., index].astype(np.float64) * header.slope + header.intercept
    return values[None]


def _cannot_open(path: Path, error: OSError) -> InputError:
    return InputError(f'"{path.name}" cannot be opened ({reason(error)}).')


READER = FileReader((".nii", ".nii.gz", ".hdr", ".hdr.gz"), scan_nifti, read_nifti)
