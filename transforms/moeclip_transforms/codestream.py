"""The compressed frames of a file, and what size each says it has, read before a decoder claims memory for it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.encaps import generate_fragments, parse_basic_offsets
from pydicom.filebase import DicomBytesIO

if TYPE_CHECKING:
    from pydicom import Dataset

_START_OF_IMAGE = b"\xff\xd8"
_JPEG_2000 = b"\xff\x4f\xff\x51"
_STREAM_STARTS = (_START_OF_IMAGE, _JPEG_2000, b"\x00\x00\x00\x0cjP  ")
_FRAME_MARKERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_MARKER = 0xFF
_SEGMENT_BYTES = 10
_MOST_STARTS = 64
"""Where something else stands before the image, so many places are looked at that may be its start."""


@dataclass(frozen=True)
class StreamSize:
    """What a compressed stream declares.

    Attributes:
        rows: Rows.
        columns: Columns.
        components: Values per pixel.
    """

    rows: int
    columns: int
    components: int


def compressed_frames(dataset: Dataset) -> list[bytes]:
    """Return the frames that encapsulated pixel data hold, however many the header declares (PS3.5 A.4).

    A frame begins with each fragment that begins a JPEG, JPEG-LS or JPEG 2000 stream; where none does, as in RLE, each
    fragment is a frame. Offset tables are not used: they are optional, and wrong ones are common.

    Args:
        dataset: With encapsulated pixel data.
    """
    buffer = DicomBytesIO(dataset.PixelData)
    parse_basic_offsets(buffer)  # passes over the table
    fragments = list(generate_fragments(buffer))
    starts = [index for index, fragment in enumerate(fragments) if fragment.startswith(_STREAM_STARTS)]
    if not starts:
        return fragments
    ends = [*starts[1:], len(fragments)]
    return [b"".join(fragments[start:end]) for start, end in zip([0, *starts[1:]], ends, strict=True)]


def declared_size(stream: bytes) -> StreamSize | None:
    """The size in the header of a JPEG, JPEG-LS (ISO 10918-1, 14495-1) or JPEG 2000 (15444-1) stream.

    Decoders look for the image behind whatever stands before it, a file's boxes or junk; so does this.
    """
    place = stream.find(_START_OF_IMAGE)
    box = stream.find(_JPEG_2000)
    if box >= 0 and not 0 <= place < box:
        return _jpeg_2000_size(stream, box)
    for _ in range(_MOST_STARTS):
        if place < 0:
            break
        size = _jpeg_size(stream, place + len(_START_OF_IMAGE))
        if size is not None:
            return size
        place = stream.find(_START_OF_IMAGE, place + 1)
    return None


def _jpeg_size(stream: bytes, place: int) -> StreamSize | None:
    while place + _SEGMENT_BYTES <= len(stream) and stream[place] == _MARKER:
        marker = stream[place + 1]
        if marker == _MARKER:  # a fill byte
            place += 1
            continue
        if marker in _WITHOUT_LENGTH:
            place += 2
            continue
        length, _, rows, columns, components = struct.unpack_from(">HBHHB", stream, place + 2)
        if marker in _FRAME_MARKERS:
            return StreamSize(rows, columns, components)
        place += 2 + length
    return None


def _jpeg_2000_size(stream: bytes, place: int) -> StreamSize | None:
    try:
        right, bottom, left, top = struct.unpack_from(">IIII", stream, place + 8)
        (components,) = struct.unpack_from(">H", stream, place + 40)
    except struct.error:
        return None
    return StreamSize(bottom - top, right - left, components)
