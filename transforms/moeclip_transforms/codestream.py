"""What size a compressed frame says it has, read before a decoder claims memory for it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pydicom.encaps import generate_frames

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom import Dataset

_START_OF_IMAGE = b"\xff\xd8"
_JPEG_2000 = b"\xff\x4f\xff\x51"
_JPEG_2000_BOX = b"\x00\x00\x00\x0cjP  "
_FRAME_MARKERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
_MARKER = 0xFF
_SEGMENT_BYTES = 9


def frame_sizes(dataset: Dataset, count: int) -> Iterator[tuple[int, int] | None]:
    """The (rows, columns) that each compressed frame declares; None where the stream does not say.

    Args:
        dataset: With encapsulated pixel data.
        count: Number of frames.
    """
    for frame in generate_frames(dataset.PixelData, number_of_frames=count):
        yield declared_size(frame)


def declared_size(stream: bytes) -> tuple[int, int] | None:
    """The (rows, columns) in the header of a JPEG, JPEG-LS (ISO 10918-1, 14495-1) or JPEG 2000 (15444-1) stream."""
    if stream.startswith(_START_OF_IMAGE):
        return _jpeg_size(stream)
    if stream.startswith(_JPEG_2000_BOX):
        stream = stream[max(0, stream.find(_JPEG_2000)) :]
    if stream.startswith(_JPEG_2000):
        return _jpeg_2000_size(stream)
    return None


def _jpeg_size(stream: bytes) -> tuple[int, int] | None:
    place = len(_START_OF_IMAGE)
    while place + _SEGMENT_BYTES <= len(stream) and stream[place] == _MARKER:
        marker = stream[place + 1]
        if marker == _MARKER:  # a fill byte
            place += 1
            continue
        length, _, rows, columns = struct.unpack_from(">HBHH", stream, place + 2)
        if marker in _FRAME_MARKERS:
            return rows, columns
        place += 2 + length
    return None


def _jpeg_2000_size(stream: bytes) -> tuple[int, int] | None:
    try:
        right, bottom, left, top = struct.unpack_from(">IIII", stream, 8)
    except struct.error:
        return None
    return bottom - top, right - left
