"""DICOM headers without pixels: parsed within limits, and their attributes as plain values."""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import Tag

from moeclip_transforms.dicom_file import DICM_PLACE, TooMuchError, opened
from moeclip_transforms.errors import InputError
from moeclip_transforms.naming import reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydicom import Dataset
    from pydicom.dataset import FileDataset
    from pydicom.tag import BaseTag

    from moeclip_transforms.dicom_file import Stream

DAMAGED = (
    ArithmeticError, AttributeError, BytesLengthException, EOFError, LookupError, NotImplementedError, OSError,
    RecursionError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip
"""What pydicom may raise on a damaged header, found by reading damaged files."""

PIXEL_DATA = 0x7FE00010
PIXEL_TAGS = frozenset([0x7FE00008, 0x7FE00009, PIXEL_DATA])
"""Float, Double Float and (integer) Pixel Data."""

_TEXT_VRS = frozenset(["AS", "CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI"])
_ESCAPE = b"\x1b"
_MOST_ESCAPES = 1000
"""Changes of the character set in one value; pydicom takes 7 µs for each."""
_UNDEFINED = 0xFFFFFFFF
"""The length of a value that ends with a delimiter."""
_DIRECTORY_RECORDS = 0x00041220


@dataclass(frozen=True)
class Header:
    """A parsed header.

    Attributes:
        dataset: What was asked for.
        length: How many bytes stand before the pixels, or before the end where there are none.
        pixels_at: Where the value of the pixel data begins; None where there are no pixels.
        pixel_bytes: How many bytes it declares; None where it does not, as for compressed pixels.
        has_whole_numbers: Whether these pixels are whole numbers: Pixel Data (7FE0,0010), not one of the Float ones.
    """

    dataset: FileDataset
    length: int
    pixels_at: int | None
    pixel_bytes: int | None
    has_whole_numbers: bool


class _PixelsReached:
    """Stops pydicom at the pixels and remembers the place; also at the records of a DICOMDIR, unless all is wanted."""

    def __init__(self, stream: Stream, *, wants_all: bool) -> None:
        self._stream, self._wants_all = stream, wants_all
        self.place: int | None = None
        self.declared: int | None = None
        self.tag = 0

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:  # noqa: ARG002  pydicom's interface
        if tag not in PIXEL_TAGS:
            return tag == _DIRECTORY_RECORDS and not self._wants_all
        self.place, self.tag = self._stream.tell(), int(tag)
        self.declared = None if length == _UNDEFINED else length
        return True


def parse_header(
    path: Path, stream: Stream, *, keywords: Sequence[str | int] | None = None, force: bool = False
) -> Header:
    """Parse an open file up to its pixels.

    Args:
        path: Its name, for messages.
        stream: The file, at its beginning.
        keywords: The attributes wanted, by keyword or tag; None reads all.
        force: Read a file without the "DICM" prefix.

    Raises:
        InputError: When the file is not DICOM, its header is damaged or has more parts than any image needs.
    """
    reached = _PixelsReached(stream, wants_all=keywords is None)
    tags = None if keywords is None else [_tag(keyword) for keyword in keywords]
    try:
        with stream.header_budget():
            dataset = read_partial(stream, stop_when=reached, specific_tags=tags, force=force)  # type: ignore[arg-type]
    except InvalidDicomError as error:
        raise InputError(f'"{path.name}" is not a DICOM file; expected the prefix "DICM" at byte 128.') from error
    except (*DAMAGED, TooMuchError) as error:
        too_much = _too_much(error)
        if too_much is not None:
            raise InputError(f'"{path.name}" is not read: {too_much}.') from error
        raise InputError(
            f'The DICOM header of "{path.name}" is damaged ({reason(error)}); copy the file again.'
        ) from error
    return Header(dataset, stream.tell(), reached.place, reached.declared, reached.tag == PIXEL_DATA)


def _too_much(error: BaseException | None) -> TooMuchError | None:
    """What pydicom may have wrapped in an error of its own."""
    while error is not None and not isinstance(error, TooMuchError):
        error = error.__context__
    return error


def read_header(path: Path, *, keywords: Sequence[str | int] | None = None, force: bool = False) -> FileDataset:
    """Open a file and read its header.

    Args:
        path: The file; .gz and deflated files are unpacked.
        keywords: The attributes wanted, by keyword or tag; None reads all.
        force: Read a file without the "DICM" prefix.

    Raises:
        InputError: When the file cannot be opened, is not DICOM, or its header is damaged.
    """
    try:
        with opened(path) as file:
            return parse_header(path, file.stream, keywords=keywords, force=force).dataset
    except OSError as error:
        raise InputError(
            f'"{path.name}" cannot be opened ({error.strerror or type(error).__name__}); check its permissions.'
        ) from error


def encoded(stream: Stream, header: Header) -> bytes:
    """Return the bytes of a file up to its pixels: a DICOM file of its own, which holds the header."""
    stream.seek(0)
    content = stream.read(header.length)
    return content if content[DICM_PLACE] == b"DICM" else bytes(DICM_PLACE.start) + b"DICM" + content


def value_of(dataset: Dataset, keyword: str | int) -> Any:  # noqa: ANN401  the value of any attribute
    """An attribute's value; None where missing or where converting it fails."""
    tag = _tag(keyword)
    if tag not in dataset.keys():  # noqa: SIM118  far faster: no tag is made of it
        return None
    element = dataset.get_item(tag)
    stored = element.value if isinstance(element, RawDataElement) else None
    if isinstance(stored, bytes) and stored.count(_ESCAPE) > _MOST_ESCAPES:
        return None
    try:
        return dataset[tag].value
    except DAMAGED:
        return None


def text(dataset: Dataset, keyword: str | int) -> str:
    """An attribute as text, "" where missing or damaged; several values are joined by a backslash."""
    plain = _plain_text(dataset, keyword)
    if plain is not None:
        return plain
    value = value_of(dataset, keyword)
    if value is None:
        return ""
    if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue":
        return "\\".join(str(part) for part in value)
    return str(value).strip()


def words(dataset: Dataset, keyword: str) -> frozenset[str]:
    """The values of an attribute in capitals."""
    return frozenset(part.strip() for part in text(dataset, keyword).upper().split("\\"))


def numbers(dataset: Dataset, keyword: str | int, count: int) -> tuple[float, ...] | None:
    """An attribute as exactly `count` finite numbers, or None."""
    found = all_numbers(dataset, keyword)
    return found if len(found) == count else None


def all_numbers(dataset: Dataset, keyword: str | int) -> tuple[float, ...]:
    """An attribute as finite numbers, however many there are; empty where missing or damaged."""
    plain = _plain_text(dataset, keyword)
    value: Any = value_of(dataset, keyword) if plain is None else plain.split("\\") if plain else None
    if isinstance(value, str):
        value = [value] if value.strip() else None
    if value is None or isinstance(value, bytes):
        return ()
    parts = list(value) if hasattr(value, "__iter__") else [value]
    try:
        found = tuple(float(part) for part in parts)
    except DAMAGED:
        return ()
    return found if all(math.isfinite(part) for part in found) else ()


def number(dataset: Dataset, keyword: str | int) -> float | None:
    """An attribute as one finite number, or None."""
    found = all_numbers(dataset, keyword)
    return found[0] if len(found) == 1 else None


def items(dataset: Dataset, keyword: str | int) -> Sequence[Dataset]:
    """The items of a sequence; empty where missing or damaged."""
    return value_of(dataset, keyword) or ()


def first_item(dataset: Dataset, keyword: str | int) -> Dataset | None:
    """The first item of a sequence, or None."""
    found = items(dataset, keyword)
    return found[0] if found else None


def _plain_text(dataset: Dataset, keyword: str | int) -> str | None:
    """What stands in the file as plain text, else None; a scan has no time for pydicom's conversion."""
    element = dataset.get_item(tag) if (tag := _tag(keyword)) in dataset.keys() else None  # noqa: SIM118
    if not isinstance(element, RawDataElement) or element.VR not in _TEXT_VRS or element.value is None:
        return None
    if not element.value.isascii() or _ESCAPE in element.value:
        return None
    return element.value.decode("ascii").strip(" \0")


@cache
def _tag(keyword: str | int) -> BaseTag:
    return Tag(keyword)
