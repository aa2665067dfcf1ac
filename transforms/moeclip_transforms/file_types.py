"""What a file is: told by its first bytes, and by its suffix where bytes alone cannot."""

from __future__ import annotations

import stat
from enum import Enum, auto
from pathlib import PurePath
from typing import TYPE_CHECKING

from moeclip_transforms.archives import ARCHIVE_SUFFIXES
from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


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


HEAD_BYTES = 4096
"""So many bytes of a file tell what it is."""
_IMAGE_MARKS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")
_NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz")
_VOXEL_SUFFIXES = (".img", ".img.gz")
_ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_OTHER_FORMATS: dict[str, tuple[str, ...]] = {
    "MINC": (".mnc", ".mnc.gz"),
    "FreeSurfer's MGH": (".mgh", ".mgz"),
    "Philips PAR/REC": (".rec",),
    "AFNI's BRIK": (".brik", ".brik.gz"),
    "microscopy": (".czi", ".nd2", ".lif", ".svs", ".ndpi", ".mrxs"),
    "video": (".mp4", ".avi", ".mov", ".mkv", ".wmv", ".webm", ".mpg", ".mpeg"),
    "WebP, GIF, HEIF, AVIF, JPEG XL or JPEG 2000": (
        ".webp",
        ".gif",
        ".heic",
        ".heif",
        ".avif",
        ".jxl",
        ".jp2",
        ".j2k",
        ".jph",
        ".jpx",
    ),
}
"""Images that nobody here reads, and that a person would miss if nothing were said of them."""
_PACKERS = (".bz2", ".xz", ".zst", ".lz4", ".z")
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
_TAR_MARK, _TAR_PLACE = b"ustar", 257


def is_regular(path: Path) -> bool:
    """Return whether it is a file, or a link to one: never a pipe or device, whose opening may hang."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def is_named_as_image(name: str) -> bool:
    """Return whether a file's name ends as that of an image or archive does."""
    return name.lower().endswith(_ANY_SUFFIX)


def is_named_as_whole_image(name: str) -> bool:
    """Return whether an empty file of this name is missed: named as an image, or as DICOM files are, by bare numbers.

    Voxels beside a header are missed by their header; hidden files, such as .gitkeep, by nobody.
    """
    suffix = PurePath(name).suffix
    is_bare = not suffix or suffix[1:].isdecimal()
    is_part = name.lower().endswith((*_VOXEL_SUFFIXES, *_DATA_SUFFIXES))
    return not name.startswith(".") and not is_part and (is_bare or is_named_as_image(name))


def other_format(name: str) -> str:
    """Return what a file's name says of an image that is not read, and what to do with it; "" for other files."""
    lower = name.lower()
    if lower.startswith("._"):  # what macOS keeps beside a file on foreign disks
        return ""
    stem, dot, last = lower.rpartition(".")
    if last in {"7z", "rar"} or (f"{dot}{last}" in _PACKERS and is_named_as_image(stem)):
        return "packed in a way that is not read; unpack it"
    which = next((format_ for format_, suffixes in _OTHER_FORMATS.items() if lower.endswith(suffixes)), "")
    return which and f"{which}, which is not read; convert it to NIfTI, PNG or TIFF"


def file_type(path: Path) -> FileType:
    """Tell what a file is by its first bytes, and by its suffix where bytes alone cannot.

    Raises:
        OSError: When it cannot be opened.
    """
    with path.open("rb") as file:
        return type_of(path, file.read(HEAD_BYTES))


def type_of(path: Path, head: bytes) -> FileType:
    """Tell what a file is, whose first `HEAD_BYTES` bytes were read already."""
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


def nifti_header_of(path: Path) -> Path | None:
    """Return the header beside a file that holds the voxels of a NIfTI or Analyze pair; None for any other file."""
    ending = next((end for end in _VOXEL_SUFFIXES if path.name.lower().endswith(end)), None)
    if ending is None:
        return None
    stem, header = path.name[: -len(ending)], ".HDR" if path.name[-len(ending) :].isupper() else ".hdr"
    beside = (path.with_name(f"{stem}{header}{packed}") for packed in ("", ".gz"))
    return next((candidate for candidate in beside if is_regular(candidate)), None)


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
            if is_regular(candidate) and read_header(candidate).data_name == path.name:
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
