"""A multipart answer (RFC 2046, 5.1) written to files as it comes: nothing is held in memory or encoded anew."""

from __future__ import annotations

from email.message import Message
from typing import TYPE_CHECKING

from moeclip_med.batch.pacs.http import IncompleteError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

_LONGEST_HEAD = 1 << 14
_LONGEST_BOUNDARY = 70
"""Characters (RFC 2046, 5.1.1)."""


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary that a Content-Type names; None if it is no multipart type."""
    header = Message()
    header["Content-Type"] = content_type.partition("\r")[0].partition("\n")[0]
    boundary = header.get_boundary()
    is_multipart = header.get_content_maintype() == "multipart" and boundary
    return boundary.encode("ascii", "replace")[:_LONGEST_BOUNDARY] if is_multipart and boundary else None


def save_parts(pieces: Iterable[bytes], boundary: bytes, folder: Path) -> Iterator[Path]:
    """Write each part to a file of the folder, named by its number: a name from outside never becomes a path.

    Some servers, Orthanc among them, send without a length and close the connection at the end. A line that is cut
    looks the same, so only the closing boundary counts as the end.

    Args:
        pieces: The answer as it comes.
        boundary: What stands between parts.
        folder: An existing folder.

    Yields:
        The file of each part, once it is whole.

    Raises:
        IncompleteError: If the answer ends before its closing boundary, or a part has no head.
    """
    delimiter = b"\r\n--" + boundary
    keep = len(delimiter) - 1
    buffer = bytearray(b"\r\n")  # the first delimiter may stand at the very start
    number, sink, is_head = 0, None, False
    path = folder
    try:
        for piece in pieces:
            buffer += piece
            while True:
                if is_head:
                    if buffer[:2] == b"--":
                        return
                    end = buffer.find(b"\r\n\r\n")
                    if end < 0:
                        _check_head(buffer)
                        break
                    del buffer[: end + 4]
                    path = folder / f"{number:06d}.dcm"
                    number, sink, is_head = number + 1, path.open("xb"), False
                end = buffer.find(delimiter)
                _write(sink, buffer[: end if end >= 0 else max(0, len(buffer) - keep)])
                if end < 0:
                    del buffer[: max(0, len(buffer) - keep)]
                    break
                del buffer[: end + len(delimiter)]
                is_head = True
                if sink is not None:
                    sink.close()
                    sink = None
                    yield path
    finally:
        if sink is not None:
            sink.close()
    raise IncompleteError("the answer ends before its closing boundary")


def _write(sink: BinaryIO | None, content: bytearray) -> None:
    if sink is not None:
        sink.write(content)


def _check_head(buffer: bytearray) -> None:
    if len(buffer) > _LONGEST_HEAD:
        raise IncompleteError("a part of the answer has no end of its head")
