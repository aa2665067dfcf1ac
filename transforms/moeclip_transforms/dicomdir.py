"""DICOMDIR: the list of files on a DICOM medium (PS3.10 section 8, PS3.3 annex F)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeclip_transforms.dicom_header import DAMAGED, read_header
from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"


def is_dicomdir(path: Path) -> bool:
    """Whether a file with the "DICM" mark is a DICOMDIR, whatever its name."""
    try:
        meta = read_header(path, keywords=["SOPClassUID"]).file_meta
        return str(meta.get("MediaStorageSOPClassUID", "")) == MEDIA_STORAGE_DIRECTORY
    except (*DAMAGED, InputError):
        return False


def listed_files(dicomdir: Path) -> tuple[tuple[Path, ...], tuple[tuple[Path, str], ...]]:
    """The files that a DICOMDIR lists: those that are there, and those that are not, each with the reason.

    Only names inside the DICOMDIR's own folder are followed.

    Raises:
        InputError: When it is not a DICOMDIR, or damaged.
    """
    dataset = read_header(dicomdir, keywords=None)
    try:
        records = list(dataset.DirectoryRecordSequence)
        identifiers = [record.get("ReferencedFileID") for record in records]
    except DAMAGED as error:
        msg = f'"{dicomdir.name}" holds no readable directory records; give the folder instead.'
        raise InputError(msg) from error
    present: list[Path] = []
    missing: list[tuple[Path, str]] = []
    for identifier in identifiers:
        if not identifier:
            continue
        parts = [identifier] if isinstance(identifier, str) else [str(part) for part in identifier]
        path = dicomdir.parent.joinpath(*parts)
        if any(part in ("", "..") or "/" in part or ":" in part for part in parts):
            missing.append((path, f'"{dicomdir.name}" names a place outside its folder; it is not followed.'))
        elif not path.is_file():
            missing.append((path, f'"{"/".join(parts)}" is listed in "{dicomdir.name}" but missing.'))
        else:
            present.append(path)
    return tuple(present), tuple(missing)
