"""The bytes of one DICOM file: opened once, unpacked within limits, hashed as they are stored."""

from __future__ import annotations

import hashlib
import io
import struct
import threading
import time
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GZIP_MARK = b"\x1f\x8b"
DICM_PLACE = slice(128, 132)
DEFAULT_KEPT_BYTES = 64 * 2**20
"""How many bytes of files a scan keeps, so that reading need not open them again."""

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_EXPLICIT = b"1.2.840.10008.1.2.1".ljust(len(_DEFLATED), b"\0")
_RAW_DEFLATE, _GZIP = -zlib.MAX_WBITS, 16 + zlib.MAX_WBITS
_META_GROUP = b"\x02\x00"
_LONG_VRS = (b"OB", b"OW", b"UN", b"SQ", b"UT")
_HEAD_BYTES = 4096
_LARGE_READ = 65_536
_CHUNK = 1 << 18
_MAX_HEADER_BYTES = 64 * 2**20
_MAX_READS, _MAX_READS_UNPACKED, _BYTES_PER_READ = 2_000_000, 500_000, 4
"""Each data element and each item of a sequence takes one read or more. A compressed file may have as many as it has
bytes to tell apart, beyond a first half million."""
_MAX_SECONDS = 30.0
"""Of processor time for one header; 10 000 frames of an enhanced object take 3 s."""
_READS_BETWEEN_LOOKS = 1024
_ELEMENT_HEAD, _LARGEST_CHARACTER_SETS, _LARGEST_TEXT, _LARGEST_NUMBERS = 8, 1 << 10, 1 << 16, 1 << 20
"""Bytes: pydicom takes a minute to look at 4 MB of character sets, or of text with escapes."""
_CHARACTER_SET = 0x00080005
_TEXT_VRS = {"AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UI"}
_NUMBER_VRS = {"DS", "IS"}


class TooMuchError(InputError):
    """A file holds more than its limits allow; the message lacks the file's name."""


class _Counted:
    """A file object that bounds what parsing a header costs: it may hold millions of empty items, or endless texts."""

    size: int
    most_reads = _MAX_READS
    _reads_left: int | None = None
    _deadline: float | None = None
    _head = b""

    @contextmanager
    def header_budget(self) -> Iterator[None]:
        """Allow as many reads and as much time as a header may take.

        Raises:
            TooMuchError: When it takes more, or a text in it is longer than any.
        """
        self._reads_left, self._deadline, self._head = self.most_reads, None, b""
        try:
            yield
        finally:
            self._reads_left = None

    def _count(self, size: int | None) -> None:
        if self._reads_left is None:
            return
        self._reads_left -= 1
        if self._reads_left < 0:
            raise TooMuchError(
                f"its header has more than {self.most_reads} parts; it is damaged or no image: export it again"
            )
        if self._reads_left % _READS_BETWEEN_LOOKS == 0:
            self._look_at_clock()
        if size is not None and size > _LARGEST_CHARACTER_SETS and self._head:
            _check_length(self._head, size)

    def _look_at_clock(self) -> None:
        """The clock starts at the first look: asking for it costs as much as reading a small header."""
        now = time.thread_time()
        if self._deadline is None:
            self._deadline = now + _MAX_SECONDS
        if now > self._deadline:
            raise TooMuchError(
                f"its header takes longer than {_MAX_SECONDS:g} s to read; it is damaged or no image: export it again"
            )

    def _note(self, found: bytes, size: int | None) -> bytes:
        """Remember what may be the head of an element: its value is read next."""
        if size == _ELEMENT_HEAD:
            self._head = found
        return found


def _check_length(head: bytes, size: int) -> None:
    """Refuse a text or list of numbers that is longer than any.

    Args:
        head: The first 8 bytes of the element, which start with its tag.
        size: The length of its value.
    """
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    tags = (group << 16 | element for order in "<>" for group, element in [struct.unpack_from(f"{order}HH", head)])
    tag = next((tag for tag in tags if dictionary_has_tag(tag)), None)
    if tag is None:
        return
    kinds = set(dictionary_VR(tag).split(" or "))
    most = (
        _LARGEST_CHARACTER_SETS if tag == _CHARACTER_SET
        else _LARGEST_TEXT if kinds & _TEXT_VRS
        else _LARGEST_NUMBERS if kinds & _NUMBER_VRS
        else size
    )  # fmt: skip
    if size > most:
        raise TooMuchError(
            f"its element ({tag >> 16:04X},{tag & 0xFFFF:04X}) has {size} bytes, where {most} are expected at most; it "
            "is damaged: export it again"
        )


class BoundedFile(_Counted, io.BufferedReader):
    """A file that never tries to read beyond its end: a damaged length may claim gigabytes."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.size = self.seek(0, io.SEEK_END)
        self.seek(0)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes, all that is left for None or a negative number."""
        self._count(size)
        if size is not None and size > _LARGE_READ:
            size = min(size, max(0, self.size - self.tell()))
        return self._note(super().read(size), size)


class KeptFile(_Counted, io.BytesIO):
    """The same for a file whose bytes are in memory.

    Attributes:
        content: The bytes; `getbuffer` would copy them.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.content = content
        self.size = len(content)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes, all that is left for None or a negative number."""
        self._count(size)
        return self._note(super().read(size), size)


class UnpackedFile(_Counted):
    """A compressed file as what it unpacks to, unpacked only as far as it is read.

    Attributes:
        limit: How many bytes may be unpacked; a reader raises it when it knows what pixels there must be.
    """

    def __init__(self, head: bytes, packed: bytes, window_bits: int) -> None:
        self.limit = _MAX_HEADER_BYTES
        self._content = bytearray(head)
        self._packed = packed
        self.most_reads = min(_MAX_READS, _MAX_READS_UNPACKED + len(packed) // _BYTES_PER_READ)
        self._unpacker = zlib.decompressobj(window_bits)
        self._place = 0

    @property
    def n_unpacked(self) -> int:
        """How many bytes are unpacked so far."""
        return len(self._content)

    @property
    def size(self) -> int:  # type: ignore[override]
        """How many bytes there are; unpacks all, up to the limit."""
        self._unpack(self.limit)
        return len(self._content)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes, all that is left for None or a negative number."""
        self._count(size)
        end = self.limit + 1 if size is None or size < 0 else self._place + size
        self._unpack(end)
        found = bytes(self._content[self._place : end])
        self._place += len(found)
        return self._note(found, size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place; nothing is unpacked for it, but for a place told from the end."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place}.get(whence)
        self._place = max(0, (self.size if start is None else start) + offset)
        return self._place

    def tell(self) -> int:
        """The place."""
        return self._place

    def _unpack(self, end: int) -> None:
        while len(self._content) < end and not self._unpacker.eof and (self._packed or self._unpacker.unconsumed_tail):
            if len(self._content) >= self.limit:
                raise TooMuchError(
                    f"it unpacks to more than the {self.limit} bytes that its header explains; "
                    f"unpack it yourself if you trust it"
                )
            packed, self._packed = self._packed, b""
            part = self._unpacker.decompress(packed, min(_CHUNK, self.limit - len(self._content) or 1))
            self._packed = self._unpacker.unconsumed_tail
            self._content += part
            if not part and not self._packed:
                break


Stream = BoundedFile | KeptFile | UnpackedFile


@dataclass
class KeptFiles:
    """Bytes of files that were opened already, so that they need not be opened again; within a limit.

    Attributes:
        bytes_left: How many more bytes are kept.
    """

    bytes_left: int = DEFAULT_KEPT_BYTES
    _contents: dict[Path, bytes] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def keep(self, path: Path, content: bytes) -> None:
        """Keep a file's bytes."""
        with self._lock:
            self.bytes_left -= len(content)
            self._contents[path] = content

    def take(self, path: Path) -> bytes | None:
        """The bytes of a file, given away: they are kept no longer."""
        with self._lock:
            content = self._contents.pop(path, None)
            self.bytes_left += len(content or b"")
            return content

    def clear(self) -> None:
        """Keep nothing any longer."""
        with self._lock:
            self._contents.clear()
            self.bytes_left = 0


@dataclass
class DicomFile:
    """One opened DICOM file.

    Attributes:
        path: Where it lies.
        stream: What it holds, unpacked, at its beginning.
        stored: What it holds as stored: the same unless it is compressed as a whole.
    """

    path: Path
    stream: Stream
    stored: BoundedFile | KeptFile

    def sha256(self) -> str:
        """The SHA-256 of the bytes as stored; puts the stream back to its beginning."""
        if isinstance(self.stored, KeptFile):
            return hashlib.sha256(self.stored.content).hexdigest()
        self.stored.seek(0)
        digest = hashlib.file_digest(self.stored, "sha256").hexdigest()
        self.stored.seek(0)
        return digest

    def allow_pixels(self, n_bytes: int) -> None:
        """Let so many bytes of pixels be unpacked."""
        if isinstance(self.stream, UnpackedFile):
            self.stream.limit = self.stream.n_unpacked + n_bytes + _CHUNK


@contextmanager
def opened(path: Path, kept: KeptFiles | None = None) -> Iterator[DicomFile]:
    """Open a DICOM file, or take its bytes from where a scan kept them.

    Raises:
        OSError: When it cannot be opened.
    """
    content = kept.take(path) if kept else None
    with BoundedFile(path) if content is None else KeptFile(content) as stored:
        yield as_dicom(path, stored)


def as_dicom(path: Path, stored: BoundedFile | KeptFile) -> DicomFile:
    """A file that is open already, unpacked where it is a .gz file or has a deflated data set (PS3.5 A.5)."""
    head = stored.read(_HEAD_BYTES)
    stored.seek(0)
    if head.startswith(GZIP_MARK):
        unpacked = UnpackedFile(b"", stored.read(), _GZIP)
        try:
            inner = unpacked.read(_HEAD_BYTES)
        except zlib.error as error:
            raise InputError(f'"{path.name}" is a damaged .gz file ({error}); copy it again.') from error
        if _deflated_at(inner):
            raise InputError(f'"{path.name}" is compressed twice, as .gz and deflated; unpack it first.')
        unpacked.seek(0)
        stored.seek(0)
        return DicomFile(path, unpacked, stored)
    if start := _deflated_at(head):
        # The same file as if it had been written uncompressed: pydicom would unpack it without a limit.
        stored.seek(start)
        unpacked = UnpackedFile(head[:start].replace(_DEFLATED, _EXPLICIT), stored.read(), _RAW_DEFLATE)
        stored.seek(0)
        return DicomFile(path, unpacked, stored)
    return DicomFile(path, stored, stored)


def gzip_head(head: bytes) -> bytes:
    """What the first bytes of a .gz file unpack to; b"" where they are damaged."""
    try:
        return zlib.decompressobj(_GZIP).decompress(head, 512)
    except zlib.error:
        return b""


def _deflated_at(head: bytes) -> int:
    """Where the deflated data set begins, behind the file meta information; 0 where nothing is deflated."""
    if _DEFLATED not in head or head[DICM_PLACE] != b"DICM":
        return 0
    place, end, is_deflated = DICM_PLACE.stop, len(head), False
    while head[place : place + 2] == _META_GROUP and place + 12 <= end:
        is_long = head[place + 4 : place + 6] in _LONG_VRS
        (length,) = struct.unpack_from("<I", head, place + 8) if is_long else struct.unpack_from("<H", head, place + 6)
        start = place + (12 if is_long else 8)
        if head[place + 2 : place + 4] == b"\0\0" and length == 4:  # noqa: PLR2004  the group's length
            end = start + 4 + struct.unpack_from("<I", head, start)[0]
        if head[place + 2 : place + 4] == b"\x10\x00":
            is_deflated = head[start : start + length].rstrip(b"\0 ") == _DEFLATED
        place = start + length
    return place if is_deflated else 0
