"""What the header of a MetaImage or NRRD file says, in one form for both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from moeclip_transforms.data_files import check_size, file_beside, read_file, unpack, unpacked_pieces
from moeclip_transforms.errors import InputError
from moeclip_transforms.hashing import hash_of_hashes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from moeclip_transforms.data_files import FileBytes
    from moeclip_transforms.geometry import Affine

LONGEST_AXIS = 1 << 31
MOST_AXES = 5


class Encoding(StrEnum):
    """How voxels are written."""

    RAW = "raw"
    ZLIB = "zlib"
    GZIP = "gzip"
    BZIP2 = "bzip2"
    TEXT = "text"
    HEX = "hex"


@dataclass(frozen=True)
class GridHeader:
    """A checked header.

    Attributes:
        path: The file it lies in.
        sizes: Voxels along each stored axis, fastest first.
        domain: The numbers of the (two or three) stored axes that are space, in the order x, y, z.
        other: The stored axis that is none: colours, time, gradients; None where there is none.
        is_colour: Whether that axis is red, green, blue (and opacity).
        dtype: The type of a stored value, with its byte order.
        affine: Voxel to world, mm, RAS+; spacing alone where there is no orientation.
        has_orientation: Whether the header says where the patient is.
        has_spacing: Whether it says how large a voxel is.
        encoding: How the voxels are written.
        data_name: The file of the voxels, beside the header; "" where they follow it.
        data_start: The first byte of the voxels in their file; negative: as many bytes from its end as they take.
        data_size: Length of the compressed voxels, where the header says so.
        notes: What a user has to know.
    """

    path: Path
    sizes: tuple[int, ...]
    domain: tuple[int, ...]
    other: int | None
    is_colour: bool
    dtype: np.dtype[np.generic]
    affine: Affine
    has_orientation: bool
    has_spacing: bool
    encoding: Encoding = Encoding.RAW
    data_name: str = ""
    data_start: int = 0
    data_size: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y, z."""
        x, y, z = (*(self.sizes[axis] for axis in self.domain), 1)[:3]
        return (x, y, z)

    @property
    def n_other(self) -> int:
        """Values per voxel."""
        return 1 if self.other is None else self.sizes[self.other]

    @property
    def n_bytes(self) -> int:
        """Bytes that the voxels take when unpacked."""
        return math.prod(self.sizes) * self.dtype.itemsize

    @property
    def files(self) -> tuple[Path, ...]:
        """The header and, where it is another one, the file of the voxels.

        Raises:
            InputError: When that file is missing or does not lie beside the header.
        """
        return (self.path, file_beside(self.path, self.data_name)) if self.data_name else (self.path,)


def check_sizes(sizes: tuple[int, ...], path: Path) -> None:
    """Refuse axes that no image has.

    Raises:
        InputError: When there are too many or too few, or one is empty or absurd.
    """
    if not 2 <= len(sizes) <= MOST_AXES or not all(1 <= size <= LONGEST_AXIS for size in sizes):  # noqa: PLR2004
        raise InputError(
            f'"{path.name}" has the size {"×".join(map(str, sizes[:9])) or "of nothing"}; expected 2 to {MOST_AXES} '
            "axes, none of them empty: correct its header."
        )


def read_values(header: GridHeader) -> tuple[NDArray[np.generic], str]:
    """Read the voxels that a header describes.

    Returns:
        (values per voxel, x, y, z) in the stored type, and the hash over the files.

    Raises:
        InputError: When the data are missing, damaged, or of another length than the header declares.
    """
    files = [read_file(path) for path in header.files]
    stored = _flat_values(header, files[-1]).reshape(header.sizes[::-1]).T  # its axes as in the header, fastest first
    if header.other is not None:
        stored = np.moveaxis(stored, header.other, 0)
    return stored.reshape(header.n_other, *header.shape), hash_of_hashes(file.sha256 for file in files)


def value_pieces(header: GridHeader) -> Iterator[NDArray[np.generic]]:
    """The values piece by piece, as they are stored, and no more than the header declares: for a look at them.

    Raises:
        InputError: When the data are missing or damaged.
        OSError: When they cannot be opened.
    """
    if header.encoding in (Encoding.RAW, Encoding.TEXT, Encoding.HEX):  # as large as the file at most
        yield read_values(header)[0]
        return
    file, left, rest = read_file(header.files[-1]), header.n_bytes, b""
    for piece in unpacked_pieces(_stored(header, file), header.encoding, header.data_name or header.path.name):
        content = rest + piece[: left - len(rest)]
        whole = len(content) // header.dtype.itemsize * header.dtype.itemsize
        yield np.frombuffer(content[:whole], dtype=header.dtype)
        rest, left = content[whole:], left - whole
        if left <= 0:
            return


def _stored(header: GridHeader, file: FileBytes) -> memoryview:
    """The bytes of the voxels, still encoded."""
    start = header.data_start if header.data_start >= 0 else len(file.content) - header.n_bytes
    if not 0 <= start <= len(file.content):
        check_size(len(file.content), header.n_bytes, header.data_name or header.path.name)
    stop = len(file.content) if header.data_size is None else start + header.data_size
    return memoryview(file.content)[start:stop]


def _flat_values(header: GridHeader, file: FileBytes) -> NDArray[np.generic]:
    name = header.data_name or header.path.name
    stored = _stored(header, file)
    if header.encoding in (Encoding.TEXT, Encoding.HEX):
        return _from_text(bytes(stored), header, name)
    if header.encoding is Encoding.RAW:
        check_size(len(stored), header.n_bytes, name)
        return np.frombuffer(stored, dtype=header.dtype)
    return np.frombuffer(unpack(stored, header.encoding, header.n_bytes, name), dtype=header.dtype)


def _from_text(stored: bytes, header: GridHeader, name: str) -> NDArray[np.generic]:
    try:
        if header.encoding is Encoding.HEX:
            content = bytearray.fromhex(stored.decode("ascii"))
            check_size(len(content), header.n_bytes, name)
            return np.frombuffer(content, dtype=header.dtype)
        numbers: NDArray[np.generic] = np.array(stored.split(), dtype=np.float64)
    except ValueError as error:
        raise InputError(
            f'The voxels of "{name}" are written as text, and some are no numbers; it is damaged: copy it again.'
        ) from error
    check_size(len(numbers) * header.dtype.itemsize, header.n_bytes, name)
    return numbers
