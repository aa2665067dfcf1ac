"""What a path holds, from headers alone: files found, told apart by their first bytes, grouped into series."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from moeclip_transforms.volume import Series


class FileType(Enum):
    """What the first bytes of a file say."""

    DICOM = auto()
    DICOM_WITHOUT_MARK = auto()
    NIFTI = auto()
    ITK = auto()
    IMAGE = auto()
    ZIP = auto()
    EMPTY = auto()
    UNKNOWN = auto()


@dataclass(frozen=True)
class Findings:
    """What a scan found.

    Attributes:
        series: The series, sorted by study, identifier and first file.
        unreadable: Files that look like images and cannot be read, each with the reason.
        archives: Zip files, which the caller may unpack and scan.
        n_other: Number of files that are no images at all.
    """

    series: tuple[Series, ...] = ()
    unreadable: tuple[tuple[Path, str], ...] = ()
    archives: tuple[Path, ...] = ()
    n_other: int = 0


_IMAGE_MARKS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")
_NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr")
_ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_PARTS = (".img", ".raw", ".zraw", ".json", ".bval", ".bvec", ".txt", ".csv")
_HEAD_BYTES = 132


def iter_files(root: Path) -> Iterator[Path]:
    """The regular files under a folder, in a fixed order; links to folders, devices and pipes are not followed.

    A folder that cannot be listed is passed over; `scan` reports it.
    """
    for folder, folders, names in os.walk(root, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if _is_regular(path):
                yield path


def file_type(path: Path) -> FileType:
    """Tell what a file is by its first bytes, and by its suffix where bytes alone cannot.

    Raises:
        OSError: When it cannot be opened.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    name = path.name.lower()
    checks = (
        (not head, FileType.EMPTY),
        (head[128:132] == b"DICM", FileType.DICOM),
        (name.endswith(_NIFTI_SUFFIXES), FileType.NIFTI),
        (name.endswith(_ITK_SUFFIXES), FileType.ITK),
        (name.endswith(_IMAGE_SUFFIXES) or head.startswith(_IMAGE_MARKS), FileType.IMAGE),
        (name.endswith(".zip") or head.startswith(_ZIP_MARKS), FileType.ZIP),
        (name.endswith(_DICOM_SUFFIXES) or _starts_like_dicom(head), FileType.DICOM_WITHOUT_MARK),
    )
    return next((kind for applies, kind in checks if applies), FileType.UNKNOWN)


def scan(paths: Iterable[Path]) -> Findings:
    """Read the headers of files and group them into series.

    Args:
        paths: Regular files, in the order in which they shall be looked at.
    """
    from moeclip_transforms.dicom import ScannedFile, group_series, scan_dicom
    from moeclip_transforms.dicom_header import quietly

    dicom: list[ScannedFile] = []
    series: list[Series] = []
    unreadable: list[tuple[Path, str]] = []
    archives: list[Path] = []
    n_other = 0
    with quietly():
        for path in paths:
            try:
                kind = file_type(path)
                if kind in (FileType.DICOM, FileType.DICOM_WITHOUT_MARK):
                    if path.name.upper() != "DICOMDIR":  # what it lists is found without it
                        dicom.append(scan_dicom(path, force=kind is FileType.DICOM_WITHOUT_MARK))
                elif kind is FileType.ZIP:
                    archives.append(path)
                elif kind in (FileType.NIFTI, FileType.ITK, FileType.IMAGE):
                    series.append(_scan_file(path, kind))
                elif kind is FileType.EMPTY and not path.name.lower().endswith(_PARTS):
                    unreadable.append((path, f'"{path.name}" is empty (0 bytes).'))
                else:
                    n_other += 1
            except (InputError, OSError) as error:
                unreadable.append((path, _sentence(path, error)))
    series += group_series(dicom)
    ordered = sorted(series, key=lambda found: (found.study_uid, found.uid, str(found.files[0])))
    return Findings(tuple(_with_unique_uids(ordered)), tuple(unreadable), tuple(archives), n_other)


def _scan_file(path: Path, kind: FileType) -> Series:
    if kind is FileType.NIFTI:
        from moeclip_transforms.nifti import scan_nifti

        return scan_nifti(path)
    if kind is FileType.ITK:
        from moeclip_transforms.itk import scan_itk

        return scan_itk(path)
    from moeclip_transforms.images import scan_image

    return scan_image(path)


def _with_unique_uids(series: Iterable[Series]) -> Iterator[Series]:
    """Files of the same name in different folders get "#2", "#3", ... behind their identifier."""
    from dataclasses import replace

    seen: dict[str, int] = {}
    for found in series:
        count = seen[found.uid] = seen.get(found.uid, 0) + 1
        yield found if count == 1 else replace(found, uid=f"{found.uid}#{count}")


def _is_regular(path: Path) -> bool:
    """Whether it is a file, or a link to one: never a pipe or device, whose opening may hang."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _starts_like_dicom(head: bytes) -> bool:
    """Whether it starts as a DICOM data set without preamble does: group 0002 or 0008, then a VR or a small length."""
    group, element = head[:2], head[2:4]
    if group in (b"\x08\x00", b"\x02\x00") and element[1:] == b"\x00":
        return head[4:6].isalpha() or head[6:8] == b"\x00\x00"
    return group in (b"\x00\x08", b"\x00\x02") and element[:1] == b"\x00" and head[4:6].isalpha()


def _sentence(path: Path, error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return f'"{path.name}" cannot be opened ({reason}).'
