"""Readers of files that are a series each: NIfTI, ITK, photographs, and what other packages register.

A package adds one by an entry point in the group "moeclip_med.readers" that names a `FileReader`. DICOM, whose series
consist of many files, is read by this package itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from moeclip_transforms.errors import InputError
from moeclip_transforms.plugins import load, registered

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from moeclip_transforms.volume import Series, Volume

GROUP = "moeclip_med.readers"


class ReadsVolume(Protocol):
    """How a reader reads one time point of a series that it described."""

    def __call__(self, series: Series, *, time_point: int = 0) -> Volume:
        """Read it, without opening a file again later.

        Raises:
            InputError: When it cannot be read.
        """
        ...


@dataclass(frozen=True)
class FileReader:
    """Reads one format.

    Attributes:
        suffixes: How the names of its files end, in lower case; content decides first for the built-in formats.
        scan: Describes a file from its header; raises `InputError` when it cannot be read. The series names the
            reader in `Series.reader`.
        read: Reads a series that `scan` described.
    """

    suffixes: tuple[str, ...]
    scan: Callable[[Path], Series]
    read: ReadsVolume


def reader_named(name: str) -> FileReader:
    """Return a reader by the name it is registered under.

    Raises:
        InputError: When there is none, or it is no `FileReader`.
    """
    found: Any = load(GROUP, name)
    if not isinstance(found, FileReader):
        raise InputError(
            f'The reader "{name}" is a {type(found).__name__}; expected a moeclip_transforms.readers.FileReader.'
        )
    return found


def reader_for(path: Path, built_in: frozenset[str]) -> FileReader | None:
    """Return the reader of another package that a file's name belongs to, or None.

    Args:
        path: The file.
        built_in: The names of readers that have been asked already.
    """
    name = path.name.lower()
    for known in sorted(registered(GROUP).keys() - built_in):
        reader = reader_named(known)
        if name.endswith(reader.suffixes):
            return reader
    return None
