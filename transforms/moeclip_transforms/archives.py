"""Zip archives unpacked safely: nothing outside the folder, nothing larger than allowed."""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from typing import IO

_CHUNK = 1 << 20
_ENCRYPTED = 0x1
_WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[1-9¹²³]) *(\..*)?", re.IGNORECASE)
"""File names that Windows keeps for devices, with any suffix."""


@dataclass(frozen=True)
class ArchiveLimits:
    """What a zip archive may hold.

    Attributes:
        max_bytes: Largest sum of the unpacked files' sizes.
        max_ratio: Largest ratio of unpacked to packed size of the whole (checked above 16 MiB).
        max_members: Largest number of files.
    """

    max_bytes: int = 64 * 2**30
    max_ratio: float = 250.0
    max_members: int = 1_000_000


DEFAULT_LIMITS = ArchiveLimits()
_RATIO_CHECKED_ABOVE = 16 * 2**20


def unpack(archive: Path, folder: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> None:
    """Unpack a zip archive into a folder.

    Declared sizes are checked before anything is written, real ones while writing. Links and special files are
    refused; names keep their folders but lose what file systems do not take.

    Args:
        archive: The zip file.
        folder: An existing folder.
        limits: What it may hold.

    Raises:
        InputError: When the archive is damaged, encrypted, nested, too large, or names a place outside the folder.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            _check(archive, members, limits)
            left = limits.max_bytes
            for number, member in enumerate(members):
                target = _target(folder, member.filename, number)
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as source, target.open("xb") as sink:
                    left -= _copy(archive, source, sink, left)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        msg = f'"{archive.name}" is not a readable zip archive ({error}); check that it was copied whole.'
        raise InputError(msg) from error
    except OSError as error:
        msg = (
            f'"{archive.name}" cannot be unpacked ({error.strerror or error}); '
            f"check its permissions and the free space for temporary files."
        )
        raise InputError(msg) from error


def _check(archive: Path, members: list[zipfile.ZipInfo], limits: ArchiveLimits) -> None:
    if len(members) > limits.max_members:
        msg = (
            f'"{archive.name}" holds {len(members)} files; at most {limits.max_members} are unpacked: '
            f"unpack it yourself if you trust it."
        )
        raise InputError(msg)
    total = sum(member.file_size for member in members)
    packed = max(1, archive.stat().st_size)
    if total > limits.max_bytes:
        msg = (
            f'"{archive.name}" unpacks to {total} bytes; at most {limits.max_bytes} are allowed: '
            f"unpack it yourself if you trust it."
        )
        raise InputError(msg)
    if total > _RATIO_CHECKED_ABOVE and total / packed > limits.max_ratio:
        msg = (
            f'"{archive.name}" unpacks to {total / packed:.0f} times its size, as zip bombs do; at most '
            f"{limits.max_ratio:.0f} times is allowed: unpack it yourself if you trust it."
        )
        raise InputError(msg)
    for member in members:
        _check_member(archive, member)


def _check_member(archive: Path, member: zipfile.ZipInfo) -> None:
    name = member.filename
    mode = member.external_attr >> 16
    if member.flag_bits & _ENCRYPTED:
        msg = f'"{archive.name}" is encrypted; unpack it with its password and give the folder.'
        raise InputError(msg)
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        msg = f'"{archive.name}" holds a link or special file; expected plain files only.'
        raise InputError(msg)
    windows = PureWindowsPath(name)
    if PurePosixPath(name).is_absolute() or windows.drive or windows.root or ".." in windows.parts:
        msg = f'"{archive.name}" names a place outside itself; it is not unpacked.'
        raise InputError(msg)
    if name.lower().endswith(".zip"):
        msg = f'"{archive.name}" holds another zip archive; unpack the outer one and give the folder.'
        raise InputError(msg)


def _target(folder: Path, name: str, number: int) -> Path:
    """Where a member goes: its own folders and name, made safe; a name taken already gets a folder of its own."""
    parts = [_safe_part(part) for part in PureWindowsPath(name).parts]
    target = folder.joinpath(*parts)
    return folder / f"member-{number}" / parts[-1] if target.exists() else target


def _safe_part(part: str) -> str:
    """A file or folder name that every file system takes: at most 100 characters, the end (suffix) kept."""
    kept = "".join(character if character.isalnum() or character in "._- +()" else "_" for character in part)
    kept = kept[-100:].rstrip(". ") or "_"
    return f"_{kept}" if _WINDOWS_DEVICE.fullmatch(kept) else kept


def _copy(archive: Path, source: IO[bytes], sink: IO[bytes], left: int) -> int:
    """Copy, counting real bytes: declared sizes may lie."""
    written = 0
    while chunk := source.read(_CHUNK):
        written += len(chunk)
        if written > left:
            msg = f'"{archive.name}" unpacks to more than it declares; it is not unpacked further.'
            raise InputError(msg)
        sink.write(chunk)
    return written
