"""DICOMDIR: the list of files on a DICOM medium (PS3.10 section 8, PS3.3 annex F)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeclip_transforms.dicom_header import DAMAGED, items, read_header, value_of
from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"


def listed_files(
    dicomdir: Path, *, follow_links: bool = False
) -> tuple[tuple[Path, ...], tuple[tuple[Path, str], ...]]:
    """The files that a DICOMDIR lists: those that are there, and those that are not, each with the reason.

    Copies of media often have names in lower case, or a suffix behind them: such files are found, too. Only names
    inside the DICOMDIR's own folder are followed.

    Args:
        dicomdir: The DICOMDIR.
        follow_links: Whether links out of its folder are followed.

    Raises:
        InputError: When it is not a DICOMDIR, or damaged.
    """
    dataset = read_header(dicomdir)
    try:
        identifiers = [value_of(record, "ReferencedFileID") for record in items(dataset, "DirectoryRecordSequence")]
    except DAMAGED as error:
        raise InputError(f'"{dicomdir.name}" holds no readable directory records; give the folder instead.') from error
    present: list[Path] = []
    missing: list[tuple[Path, str]] = []
    folders, root = _Folders(), dicomdir.parent.resolve()
    for identifier in identifiers:
        if not identifier:
            continue
        parts = [identifier] if isinstance(identifier, str) else [str(part) for part in identifier]
        named = dicomdir.parent.joinpath(*parts)
        if any(part in ("", "..") or "/" in part or ":" in part for part in parts):
            missing.append((named, f'"{dicomdir.name}" names a place outside its folder; it is not followed.'))
        elif (found := folders.find(dicomdir.parent, parts)) is None:
            missing.append((named, f'"{"/".join(parts)}" is listed in "{dicomdir.name}" but missing.'))
        elif not follow_links and not found.resolve().is_relative_to(root):
            missing.append(
                (named, f'"{found.name}" is a link out of the folder of "{dicomdir.name}"; --follow-links follows it.')
            )
        else:
            present.append(found)
    return tuple(dict.fromkeys(present)), tuple(missing)


class _Folders:
    """Finds files by names that may be written in another case, or without their suffix; lists each folder once."""

    def __init__(self) -> None:
        self._listed: dict[Path, dict[str, str]] = {}

    def find(self, folder: Path, parts: list[str]) -> Path | None:
        """The file that some parts of a path name, or None."""
        exact = folder.joinpath(*parts)
        if exact.is_file():
            return exact
        place = folder
        for part in parts:
            name = self._names(place).get(part.lower())
            if name is None:
                return None
            place = place / name
        return place if place.is_file() else None

    def _names(self, folder: Path) -> dict[str, str]:
        """The names in a folder by what a DICOMDIR may call them; a whole name counts before one without suffix."""
        if folder not in self._listed:
            try:
                names = sorted(path.name for path in folder.iterdir())
            except OSError:
                names = []
            without_suffix = {name.lower().rpartition(".")[0]: name for name in names if "." in name}
            self._listed[folder] = without_suffix | {name.lower(): name for name in names}
        return self._listed[folder]
