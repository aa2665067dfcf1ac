"""What a path holds, from headers alone: files found, told apart by their first bytes, grouped into series."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError
from moeclip_transforms.file_types import HEAD_BYTES, FileType, is_named_as_whole_image, other_format, type_of
from moeclip_transforms.naming import reason
from moeclip_transforms.readers import reader_for, reader_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from moeclip_transforms.dicom_file import BoundedFile, KeptFiles
    from moeclip_transforms.dicom_scan import ScannedFile
    from moeclip_transforms.readers import FileReader
    from moeclip_transforms.volume import Series


_READER_NAMES = {FileType.NIFTI: "nifti", FileType.ITK: "itk", FileType.IMAGE: "image"}


@dataclass(frozen=True)
class Findings:
    """What a scan found.

    Attributes:
        series: The series, sorted by study, identifier and first file.
        unreadable: Files that look like images and cannot be read, each with the reason.
        excluded: Files that can be read and belong to no series, each with the reason.
        archives: Archives, which the caller may unpack and scan.
        directories: DICOMDIR files, whose lists the caller may follow.
        n_other: Number of files that are no images at all.
    """

    series: tuple[Series, ...] = ()
    unreadable: tuple[tuple[Path, str], ...] = ()
    excluded: tuple[tuple[Path, str], ...] = ()
    archives: tuple[Path, ...] = ()
    directories: tuple[Path, ...] = ()
    n_other: int = 0


def scan(paths: Iterable[Path], *, kept: KeptFiles | None = None) -> Findings:
    """Read the headers of files and group them into series; each DICOM file is opened once.

    Args:
        paths: Regular files, in the order in which they shall be looked at.
        kept: Where the bytes of small DICOM files are kept for reading, as long as there is room.
    """
    from moeclip_transforms.dicom_scan import group_series
    from moeclip_transforms.library_warnings import quietly

    found = _Found()
    with quietly():
        for path in paths:
            try:
                _look_at(path, found, kept)
            except Exception as error:  # noqa: BLE001 - whatever one file does, it costs that file alone
                found.unreadable.append((path, _sentence(path, error)))
        series = found.series + group_series(found.dicom)
    ordered = sorted(series, key=lambda one: (one.study_uid, _natural(one.uid), str(one.files[0])))
    return Findings(
        tuple(with_unique_uids(ordered)),
        tuple(found.unreadable),
        tuple(found.excluded),
        tuple(found.archives),
        tuple(found.directories),
        found.n_other,
    )


@dataclass
class _Found:
    """What a scan has found so far."""

    dicom: list[ScannedFile] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    excluded: list[tuple[Path, str]] = field(default_factory=list)
    archives: list[Path] = field(default_factory=list)
    directories: list[Path] = field(default_factory=list)
    pairs: set[frozenset[Path]] = field(default_factory=set)
    n_other: int = 0


def _look_at(path: Path, found: _Found, kept: KeptFiles | None) -> None:
    from moeclip_transforms.dicom_file import BoundedFile

    with BoundedFile(path) as stored:
        kind = type_of(path, stored.peek(HEAD_BYTES)[:HEAD_BYTES])
        if kind in (FileType.DICOM, FileType.DICOM_WITHOUT_PREFIX):
            _look_at_dicom(path, stored, found, kept, force=kind is FileType.DICOM_WITHOUT_PREFIX)
            return
    if kind is FileType.ARCHIVE:
        found.archives.append(path)
    elif kind is FileType.POINTER:
        found.unreadable.append((path, _pointer_sentence(path)))
    elif reader := reader_of(path, kind):
        series = reader.scan(path)
        if frozenset(series.files) not in found.pairs:  # both files of a pair lead to the same series
            found.pairs.add(frozenset(series.files))
            found.series.append(series)
    elif kind is FileType.UNKNOWN and (which := other_format(path.name)):
        found.excluded.append((path, f'"{path.name}" is {which}.'))
    elif kind is FileType.EMPTY and is_named_as_whole_image(path.name):
        found.unreadable.append((path, f'"{path.name}" is empty (0 bytes).'))
    else:
        found.n_other += 1


def reader_of(path: Path, kind: FileType) -> FileReader | None:
    """Return the reader of a file that is a series by itself; None for what nobody reads."""
    if kind in _READER_NAMES:
        return reader_named(_READER_NAMES[kind])
    return reader_for(path, frozenset(_READER_NAMES.values())) if kind is FileType.UNKNOWN else None


def _look_at_dicom(path: Path, stored: BoundedFile, found: _Found, kept: KeptFiles | None, *, force: bool) -> None:
    from moeclip_transforms.dicom_file import KeptFile, as_dicom
    from moeclip_transforms.dicom_scan import DirectoryError, NoSeriesError, scan_dicom

    content = stored.read() if kept is not None and stored.size <= kept.bytes_left else None
    try:
        scanned = scan_dicom(as_dicom(path, stored if content is None else KeptFile(content)), force=force)
    except DirectoryError as error:
        found.directories.append(path)
        found.excluded.append((path, str(error)))
    except NoSeriesError as error:
        found.excluded.append((path, str(error)))
    else:
        found.dicom.append(scanned)
        if kept is not None and content is not None and scanned.frames[0].rows:
            kept.keep(path, content)


def _natural(uid: str) -> tuple[str, int]:
    """An identifier to sort by: "#10" comes behind "#9"."""
    stem, mark, part = uid.rpartition("#")
    return (stem, int(part)) if mark and part.isdigit() else (uid, 0)


def with_unique_uids(series: Iterable[Series]) -> Iterator[Series]:
    """Append "#2", "#3", ... to the identifier of series that share one (files of one name, copies in an archive)."""
    from dataclasses import replace

    seen: dict[str, int] = {}
    for found in series:
        count = seen[found.uid] = seen.get(found.uid, 0) + 1
        yield found if count == 1 else replace(found, uid=f"{found.uid}#{count}")


def _pointer_sentence(path: Path) -> str:
    with path.open("rb") as file:
        is_annex = file.read(1) == b"/"
    what, command = ("git-annex", "git annex get") if is_annex else ("Git LFS", "git lfs pull")
    return f'"{path.name}" is only a pointer of {what}, not the image itself; run "{command}" where it came from.'


def _sentence(path: Path, error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    if path.is_symlink() and not path.exists():
        return f'"{path.name}" is a link to a file that is not there; bring the file (with DataLad: "datalad get").'
    return f'"{path.name}" cannot be opened ({reason(error)}).'
