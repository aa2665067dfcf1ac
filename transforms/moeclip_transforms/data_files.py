"""Voxels as bytes: from a file beside its header, unpacked within bounds, hashed in the same pass."""

from __future__ import annotations

import bz2
import errno
import hashlib
import os
import re
import stat
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from moeclip_transforms.errors import InputError
from moeclip_transforms.naming import reason

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

_PLAIN_NAME = re.compile(r"[^/\\%\x00-\x1f:*?\"<>|]+")
_PIECE = 1 << 22
_ZEROS = 512
_HIGHEST_RATIO = 1100
"""Bytes that one byte of a deflate stream can stand for, at most 1032 (RFC 1951), with some to spare for its frame."""
_HIGHEST_BZIP2_RATIO = 50_000


@dataclass(frozen=True)
class FileBytes:
    """A file read once.

    Attributes:
        content: Its bytes.
        sha256: Their hash, in hexadecimal.
    """

    content: bytearray
    sha256: str


def read_file(path: Path) -> FileBytes:
    """Read a regular file whole; a pipe or device is refused, since opening it may wait for ever.

    Raises:
        InputError: When it is none.
        OSError: When it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise InputError(f'"{path.name}" is no regular file but a device, pipe or folder; give the file itself.')
        content = bytearray(facts.st_size)
        view, place = memoryview(content), 0
        while place < len(content) and (count := file.readinto(view[place : place + _PIECE])):
            place += count
        view.release()
        del content[place:]
    return FileBytes(content, hashlib.sha256(content).hexdigest())


def file_beside(header: Path, name: str) -> Path:
    """Return the data file that a header names: a plain name, of a regular file in the header's own folder.

    Raises:
        InputError: When the name leads elsewhere, is a pattern or list, or the file is missing.
    """
    if not _PLAIN_NAME.fullmatch(name) or name in {".", "..", "-"} or name != name.strip():
        shown = name if name.isprintable() else ascii(name)
        raise InputError(
            f'"{header.name}" names "{shown[:80]}" as its data file; expected the plain name of one file beside it: '
            "put the data there, or convert the image to one file (.nrrd, .mha, .nii.gz)."
        )
    path = header.with_name(name)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        what = "is missing" if error.errno in {errno.ENOENT, errno.ENOTDIR} else f"cannot be opened ({reason(error)})"
        raise InputError(
            f'"{header.name}" is only a header: its voxels belong in "{name}" beside it, which {what}; bring it.'
        ) from error
    if not stat.S_ISREG(mode) or path.resolve().parent != header.parent.resolve():
        raise InputError(
            f'"{header.name}" has "{name}" for its voxels, which is no regular file in the same folder (a link, pipe, '
            "device or folder): put the data file itself there."
        )
    return path


def unpack(packed: bytes | bytearray | memoryview, encoding: str, size: int, name: str) -> bytearray:
    """Unpack a compressed stream that must hold exactly so many bytes, with its checksum right.

    Args:
        packed: The stream.
        encoding: "gzip", "zlib" (either may be the other, as MetaIO allows) or "bzip2".
        size: How many bytes it must hold.
        name: The file, for messages.

    Raises:
        InputError: When it is damaged, cut short, or holds more or fewer bytes.
    """
    ratio = _HIGHEST_BZIP2_RATIO if encoding == "bzip2" else _HIGHEST_RATIO
    if size > ratio * (len(packed) + 100):
        raise damaged(name, f"{size} bytes expected, more than {len(packed)} compressed ones can hold")
    out, place = bytearray(size), 0
    for piece in unpacked_pieces(packed, encoding, name):
        if place + len(piece) > size:
            raise damaged(name, f"{size} bytes expected, more found")
        out[place : place + len(piece)] = piece
        place += len(piece)
    if place < size:
        raise damaged(name, f"{size} bytes expected, {place} found")
    return out


def unpacked_pieces(packed: bytes | bytearray | memoryview, encoding: str, name: str) -> Iterator[bytes]:
    """Unpack a compressed stream piece by piece, to its end, where its checksum is compared.

    Args:
        packed: The stream, or several behind each other; zeros may follow.
        encoding: "gzip", "zlib" or "bzip2".
        name: The file, for messages.

    Raises:
        InputError: When it is damaged or cut short, or something else follows it.
    """
    rest = memoryview(packed)
    is_first = True
    try:
        while rest and (is_first or any(rest[:_ZEROS])):
            stream: _Decompressor = bz2.BZ2Decompressor() if encoding == "bzip2" else zlib.decompressobj(wbits=47)
            used = yield from _member(stream, rest)
            rest, is_first = rest[used:], False
    except (zlib.error, OSError, EOFError, ValueError) as error:
        why = reason(error) if is_first else "something else follows the compressed data"
        raise damaged(name, why) from error


def damaged(name: str, why: str) -> InputError:
    """Return the error for voxels that cannot be read."""
    return InputError(
        f'The voxels of "{name}" cannot be read ({why}); the file is truncated or damaged: copy it again.'
    )


class _Decompressor(Protocol):
    """What the decompressors of `zlib` and `bz2` have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes: ...


def _member(stream: _Decompressor, rest: memoryview) -> Generator[bytes, None, int]:
    """Unpack one of several streams; returns how many bytes it took."""
    used = 0
    pending: bytes | memoryview = b""
    while not stream.eof:
        if not pending and getattr(stream, "needs_input", True):  # bz2 keeps its own input, zlib gives it back
            pending = rest[used : used + _PIECE]
            used += len(pending)
        is_last = not len(pending) and used == len(rest)
        piece = stream.decompress(pending, _PIECE)
        if is_last and not piece and not stream.eof:
            raise EOFError("it ends too early")
        pending = getattr(stream, "unconsumed_tail", b"")
        yield piece
    return used - len(stream.unused_data)


def check_size(found: int, expected: int, name: str) -> None:
    """Refuse raw data of another length than its header declares.

    Raises:
        InputError: When the lengths differ.
    """
    if found != expected:
        raise damaged(name, f"{expected} bytes expected from its header, {found} found")
