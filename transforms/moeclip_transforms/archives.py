"""Zip and tar archives unpacked safely: nothing outside the folder, nothing larger than allowed."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from moeclip_transforms.errors import InputError
from moeclip_transforms.isolation import CallLimits, call_foreign
from moeclip_transforms.naming import reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

_CHUNK = 1 << 20
_DEEPEST = 100
_SLOWEST, _LEAST_SECONDS, _MOST_MEMORY = 1e6, 600.0, 1 << 30
"""Packed bytes a second, and bytes of memory: a header of a tar archive may claim gigabytes."""
_ENCRYPTED = 0x1
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, struct.error, EOFError, LookupError, TypeError,
    AttributeError, ArithmeticError, ValueError, RuntimeError,
)  # fmt: skip
"""What the standard library raises on damaged archives, and on such as it cannot unpack."""
_OPENERS: dict[bytes, Any] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x5d\x00\x00": lzma.LZMAFile,
}
_WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[1-9¹²³]) *(\..*)?", re.IGNORECASE)
"""File names that Windows keeps for devices, with any suffix."""


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may hold.

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


@dataclass(frozen=True)
class _Member:
    """One file of an archive: what it says of itself, and how it is opened."""

    name: str
    size: int
    is_plain: bool
    is_encrypted: bool
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> None:
    """Unpack a zip or tar archive (plain, gzip, bzip2 or xz) into a folder.

    It is done in a process of its own, whose time and memory are limited. Sizes are checked before they are written, as
    declared and as they are. Links and special files are refused; names
    keep their folders but lose what file systems do not take.

    Args:
        archive: The archive.
        folder: An existing folder.
        limits: What it may hold.

    Raises:
        InputError: When the archive is damaged, encrypted, nested, too large, or names a place outside the folder.
    """
    seconds = _LEAST_SECONDS + archive.stat().st_size / _SLOWEST
    allowed = CallLimits(seconds, _MOST_MEMORY)
    call_foreign(_unpack, archive, folder, limits, what=f'"{archive.name}"', limits=allowed)


def _unpack(archive: Path, folder: Path, limits: ArchiveLimits) -> None:
    try:
        with archive.open("rb") as file:
            unpack_it = _unpack_zip if zipfile.is_zipfile(file) else _unpack_tar
            file.seek(0)
            unpack_it(archive, file, folder, limits)
    except _DAMAGED as error:
        if isinstance(error, InputError):
            raise
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise _damaged(archive, zipfile.BadZipFile("a place in it lies before its start")) from error
        if error.errno is None:  # of a decompressor
            raise _damaged(archive, error) from error
        raise InputError(
            f'"{archive.name}" cannot be unpacked ({error.strerror or error}); '
            f"check its permissions and the free space for temporary files."
        ) from error


def _damaged(archive: Path, error: Exception) -> InputError:
    return InputError(f'"{archive.name}" is not a readable archive ({reason(error)}); check that it was copied whole.')


def _unpack_zip(archive: Path, file: IO[bytes], folder: Path, limits: ArchiveLimits) -> None:
    """Unpack an archive with a table of contents: it is checked whole before anything is written."""
    with zipfile.ZipFile(file) as opened:
        members = [
            _Member(
                info.filename,
                info.file_size,
                is_plain=stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG),
                is_encrypted=bool(info.flag_bits & _ENCRYPTED),
                open=partial(opened.open, info),
            )
            for info in opened.infolist()
            if not info.filename.endswith("/")
        ]
        _check_totals(archive, folder, len(members), sum(member.size for member in members), limits)
        for member in members:
            _check_member(archive, member)
        left = limits.max_bytes
        for number, member in enumerate(members):
            left -= _unpack_member(archive, member, _target(folder, member.name, number), left)


def _unpack_tar(archive: Path, file: IO[bytes], folder: Path, limits: ArchiveLimits) -> None:
    """Unpack an archive that is read from its beginning to its end: checked as it comes."""
    total = number = 0
    head = file.read(len(max(_OPENERS, key=len)))
    file.seek(0)
    opener = next((opener for mark, opener in _OPENERS.items() if head.startswith(mark)), None)
    with ExitStack() as cleanup:
        stream = cleanup.enter_context(opener(file)) if opener else file
        opened = cleanup.enter_context(tarfile.open(fileobj=stream, mode="r|"))
        for info in opened:
            if info.isdir():
                continue
            number += 1
            member = _Member(
                info.name, info.size, info.isfile(), is_encrypted=False, open=partial(_open_tar_member, opened, info)
            )
            _check_totals(archive, folder, number, total + member.size, limits, written=total)
            _check_member(archive, member)
            total += _unpack_member(archive, member, _target(folder, member.name, number), limits.max_bytes - total)
        while opener and (rest := stream.read(_CHUNK)):  # to the end, where the checksum stands
            total += len(rest)
            _check_totals(archive, folder, number, total, limits, written=total)


def _open_tar_member(opened: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    found = opened.extractfile(info)
    assert found is not None  # noqa: S101  only links and special files have no content, and they are refused
    return found


def _check_totals(
    archive: Path, folder: Path, n_members: int, total: int, limits: ArchiveLimits, *, written: int = 0
) -> None:
    advice = "unpack it yourself if you trust it"
    if n_members > limits.max_members:
        raise InputError(
            f'"{archive.name}" holds {n_members} files; at most {limits.max_members} are unpacked: {advice}.'
        )
    packed = max(1, archive.stat().st_size)
    if total > limits.max_bytes:
        raise InputError(
            f'"{archive.name}" unpacks to more bytes than the {limits.max_bytes} that are allowed: {advice}.'
        )
    if total > _RATIO_CHECKED_ABOVE and total / packed > limits.max_ratio:
        raise InputError(
            f'"{archive.name}" unpacks to {total / packed:.0f} times its size, as zip bombs do; at most '
            f"{limits.max_ratio:.0f} times is allowed: {advice}."
        )
    free = shutil.disk_usage(folder).free
    if total - written > free:
        raise InputError(
            f'"{archive.name}" unpacks to {total} bytes, but the folder for temporary files has {free} bytes left; '
            f"free some space, let TMPDIR name a larger folder, or unpack it yourself."
        )


def _check_member(archive: Path, member: _Member) -> None:
    name = member.name
    if member.is_encrypted:
        raise InputError(f'"{archive.name}" is encrypted; unpack it with its password and give the folder.')
    if not member.is_plain:
        raise InputError(f'"{archive.name}" holds a link or special file; expected plain files only.')
    windows = PureWindowsPath(name)
    if len(windows.parts) > _DEEPEST:
        raise InputError(
            f'"{archive.name}" holds folders {len(windows.parts)} levels deep; at most {_DEEPEST} are unpacked.'
        )
    if PurePosixPath(name).is_absolute() or windows.drive or windows.root or ".." in windows.parts:
        raise InputError(f'"{archive.name}" names a place outside itself; it is not unpacked.')
    if name.lower().endswith(ARCHIVE_SUFFIXES):
        raise InputError(f'"{archive.name}" holds another archive; unpack the outer one and give the folder.')


def _unpack_member(archive: Path, member: _Member, target: Path, left: int) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    with member.open() as source, target.open("xb") as sink:
        return _copy(archive, source, sink, left)


def _target(folder: Path, name: str, number: int) -> Path:
    """Where a member goes: its own folders and name, made safe; a name taken already gets a folder of its own."""
    parts = [_safe_part(part) for part in PureWindowsPath(name).parts] or [f"member-{number}"]
    targets = (folder / f"member-{number}{'_' * tries}" / parts[-1] for tries in count())
    return next(target for target in chain([folder.joinpath(*parts)], targets) if _is_free(folder, target))


def _is_free(folder: Path, target: Path) -> bool:
    """Whether nothing is there, and what is above it below the folder are folders or nothing yet."""
    above = target.parents[: len(target.relative_to(folder).parts) - 1]
    return not target.exists() and all(place.is_dir() or not place.exists() for place in above)


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
            raise InputError(f'"{archive.name}" unpacks to more than it declares; it is not unpacked further.')
        sink.write(chunk)
    return written
