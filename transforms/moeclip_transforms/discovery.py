"""What a path holds, from headers alone: files found, told apart by their first bytes, grouped into series."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_transforms.archives import ARCHIVE_SUFFIXES
from moeclip_transforms.errors import InputError
from moeclip_transforms.naming import reason
from moeclip_transforms.readers import reader_for, reader_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from moeclip_transforms.dicom_file import BoundedFile, KeptFiles
    from moeclip_transforms.dicom_scan import ScannedFile
    from moeclip_transforms.readers import FileReader
    from moeclip_transforms.volume import Series


class FileType(Enum):
    """What the first bytes of a file say."""

    DICOM = auto()
    DICOM_WITHOUT_PREFIX = auto()
    NIFTI = auto()
    ITK = auto()
    IMAGE = auto()
    ARCHIVE = auto()
    EMPTY = auto()
    POINTER = auto()
    UNKNOWN = auto()


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


_IMAGE_MARKS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")
_NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz")
_VOXEL_SUFFIXES = (".img", ".img.gz")
_ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_OTHER_FORMATS = {
    "MINC": (".mnc", ".mnc.gz"),
    "FreeSurfer's MGH": (".mgh", ".mgz"),
    "Philips PAR/REC": (".rec",),
    "AFNI's BRIK": (".brik", ".brik.gz"),
    "microscopy": (".czi", ".nd2", ".lif", ".svs", ".ndpi", ".mrxs"),
    "video": (".mp4", ".avi", ".mov", ".mkv", ".wmv"),
    "WebP, GIF, HEIF or JPEG 2000": (".webp", ".gif", ".heic", ".heif", ".jp2", ".j2k"),
}
"""Images that nobody here reads, and that a person would miss if nothing were said of them."""
_ANY_SUFFIX = (
    *_NIFTI_SUFFIXES,
    *_VOXEL_SUFFIXES,
    *_ITK_SUFFIXES,
    *_IMAGE_SUFFIXES,
    *_DICOM_SUFFIXES,
    *ARCHIVE_SUFFIXES,
    ".raw",
)
_POINTERS = (b"version https://git-lfs.github.com/spec/", b"/annex/objects/")
_DETACHED, _DATA_SUFFIXES = (".mhd", ".nhdr"), (".raw", ".zraw", ".raw.gz")
_MOST_HEADERS = 200
_PARTS = (".img", ".raw", ".zraw", ".json", ".bval", ".bvec", ".txt", ".csv")
_HEAD_BYTES = 4096
_TAR_MARK, _TAR_PLACE = b"ustar", 257


@dataclass
class Skipped:
    """What a walk through a folder excluded.

    Attributes:
        links: Links that lead out of the folder; they could name any file of the machine.
        folders: Folders that cannot be listed, each with the reason.
    """

    links: list[Path] = field(default_factory=list)
    folders: list[tuple[Path, str]] = field(default_factory=list)

    def sentences(self, root: Path) -> tuple[tuple[Path, str], ...]:
        """Say it, each with the path it is about; all links in one sentence."""
        said = [(path, f'The folder "{path.name}" cannot be listed ({why}).') for path, why in self.folders]
        if self.links:
            more = f" and {len(self.links) - 1} more are links" if len(self.links) > 1 else " is a link"
            first = self.links[0]
            said.append(
                (
                    first,
                    f'"{first.name}"{more} out of "{root.name}", not followed without --follow-links.',
                )
            )
        return tuple(said)


def is_named_as_image(name: str) -> bool:
    """Return whether a file's name ends as that of an image or archive does."""
    return name.lower().endswith(_ANY_SUFFIX)


def iter_files(root: Path, skipped: Skipped | None = None, *, follow_links: bool = False) -> Iterator[Path]:
    """The regular files under a folder, in a fixed order; devices and pipes are left alone.

    A link to a folder inside is not followed: what it reaches is found anyway. A link that leads nowhere and is named
    as an image is given too, so that `scan` reports it.

    Args:
        root: The folder.
        skipped: Told what is skipped.
        follow_links: Whether links out of the folder are followed, each folder once.
    """
    skipped = skipped or Skipped()
    real_root = root.resolve()
    entered: set[tuple[int, int]] = set()
    waiting = [root]
    while waiting:  # os.walk calls itself once per level before Python 3.12, which a deep tree makes an end of
        folder = waiting.pop()
        try:
            facts = folder.stat()
            if (facts.st_dev, facts.st_ino) in entered:
                continue
            entered.add((facts.st_dev, facts.st_ino))
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            skipped.folders.append((folder, error.strerror or type(error).__name__))
            continue
        folders = []
        for entry in listed:
            path = Path(entry.path)
            leads_out = entry.is_symlink() and _exists(path) and not path.resolve().is_relative_to(real_root)
            if leads_out and not follow_links:
                skipped.links.append(path)
            elif _is_folder(entry):
                if leads_out or not entry.is_symlink():
                    folders.append(path)
            elif _is_regular(path) or (entry.is_symlink() and is_named_as_image(path.name) and not _exists(path)):
                yield path
        waiting += reversed(folders)


def other_format(name: str) -> str:
    """Return the image format that a file's name stands for, of those that are not read; "" for other files."""
    lower = name.lower()
    if lower.startswith("._"):  # what macOS keeps beside a file on foreign disks
        return ""
    return next((format_ for format_, suffixes in _OTHER_FORMATS.items() if lower.endswith(suffixes)), "")


def file_type(path: Path) -> FileType:
    """Tell what a file is by its first bytes, and by its suffix where bytes alone cannot.

    Raises:
        OSError: When it cannot be opened.
    """
    with path.open("rb") as file:
        return _type_of(path, file.read(_HEAD_BYTES))


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
        kind = _type_of(path, stored.peek(_HEAD_BYTES)[:_HEAD_BYTES])
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
        found.excluded.append((path, f'"{path.name}" is {which}, which is not read; convert it to NIfTI, PNG or TIFF.'))
    elif kind is FileType.EMPTY and not path.name.lower().endswith(_PARTS):
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


def _type_of(path: Path, head: bytes) -> FileType:
    from moeclip_transforms.dicom_file import GZIP_MARK, gzip_head

    name = path.name.lower()
    inner = gzip_head(head) if head.startswith(GZIP_MARK) and not name.endswith(_NIFTI_SUFFIXES) else head
    checks = (
        (not head, FileType.EMPTY),
        (name.startswith("._"), FileType.UNKNOWN),  # what macOS keeps beside a file on foreign disks
        (head.startswith(_POINTERS) and name.endswith(_ANY_SUFFIX), FileType.POINTER),
        (inner[128:132] == b"DICM", FileType.DICOM),
        (name.endswith(_NIFTI_SUFFIXES) or nifti_header_of(path) is not None, FileType.NIFTI),
        (name.endswith(_ITK_SUFFIXES), FileType.ITK),
        (name.endswith(_IMAGE_SUFFIXES) or head.startswith(_IMAGE_MARKS), FileType.IMAGE),
        (name.endswith(ARCHIVE_SUFFIXES) or head.startswith(_ZIP_MARKS), FileType.ARCHIVE),
        (inner[_TAR_PLACE : _TAR_PLACE + len(_TAR_MARK)] == _TAR_MARK, FileType.ARCHIVE),
        (name.endswith(_DICOM_SUFFIXES) or _starts_like_dicom(inner), FileType.DICOM_WITHOUT_PREFIX),
    )
    return next((kind for applies, kind in checks if applies), FileType.UNKNOWN)


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


def _exists(path: Path) -> bool:
    """Whether a link leads anywhere that may be looked at."""
    try:
        return path.exists()
    except OSError:
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _is_regular(path: Path) -> bool:
    """Whether it is a file, or a link to one: never a pipe or device, whose opening may hang."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def nifti_header_of(path: Path) -> Path | None:
    """Return the header beside a file that holds the voxels of a NIfTI or Analyze pair; None for any other file."""
    ending = next((end for end in _VOXEL_SUFFIXES if path.name.lower().endswith(end)), None)
    if ending is None:
        return None
    stem, header = path.name[: -len(ending)], ".HDR" if path.name[-len(ending) :].isupper() else ".hdr"
    beside = (path.with_name(f"{stem}{header}{packed}") for packed in ("", ".gz"))
    return next((candidate for candidate in beside if _is_regular(candidate)), None)


def header_of(path: Path) -> Path | None:
    """Return the header that a file holds the voxels for: of a NIfTI or Analyze pair, MetaImage or NRRD.

    A header of the same stem is looked at, and for files named as raw data every one in the folder.
    """
    from moeclip_transforms.itk import read_header

    if header := nifti_header_of(path):
        return header
    stems = [path.name[:place] for place, letter in enumerate(path.name) if letter == "." and place]
    beside = [path.with_name(f"{stem}{ending}") for stem in stems for ending in _DETACHED]
    if path.name.lower().endswith(_DATA_SUFFIXES):
        beside += sorted(other for other in path.parent.iterdir() if other.suffix.lower() in _DETACHED)[:_MOST_HEADERS]
    for candidate in beside:
        try:
            if _is_regular(candidate) and read_header(candidate).data_name == path.name:
                return candidate
        except InputError:
            continue
    return None


def _starts_like_dicom(head: bytes) -> bool:
    """Whether it starts as a DICOM data set without preamble does: group 0002 or 0008, then a VR or a small length."""
    group, element = head[:2], head[2:4]
    if group in (b"\x08\x00", b"\x02\x00") and element[1:] == b"\x00":
        return head[4:6].isalpha() or head[6:8] == b"\x00\x00"
    return group in (b"\x00\x08", b"\x00\x02") and element[:1] == b"\x00" and head[4:6].isalpha()


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
