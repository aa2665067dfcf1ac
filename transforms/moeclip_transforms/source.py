"""A path made readable: what it holds, and each series of it as a volume."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from moeclip_transforms.archives import DEFAULT_LIMITS, ArchiveLimits, unpack
from moeclip_transforms.dicom_file import KeptFiles
from moeclip_transforms.discovery import Findings, scan, with_unique_uids
from moeclip_transforms.errors import InputError
from moeclip_transforms.folder_walk import Skipped, iter_files
from moeclip_transforms.label_maps import set_aside_label_maps
from moeclip_transforms.memory import check_memory
from moeclip_transforms.naming import reason
from moeclip_transforms.readers import reader_named
from moeclip_transforms.volume import FileFormat

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from moeclip_transforms.dicom_values import Allocate
    from moeclip_transforms.volume import Series, Volume

_EXPECTED = "expected DICOM, NIfTI, .mha, .nrrd, PNG, JPEG, TIFF or BMP files"
_MOST_LISTED = 20


class ImageSource:
    """A context manager over the images under a path: a file, a folder of any depth, a zip or tar archive, a DICOMDIR.

    Only headers are read until `read` is called. Archives, the given one and those in a given folder, are unpacked to
    a temporary folder that is removed at the end.

    Attributes:
        path: The path.
        series: What it holds, sorted by study and identifier; with what is not worth scoring (`skip_reason`).
        unreadable: Files that look like images and cannot be read, each with a sentence why.
        excluded: Files that can be read but belong to no series (a DICOMDIR, say), each with a sentence why.

    Raises:
        InputError: When the path does not exist, cannot be opened, or holds nothing that is an image.
    """

    def __init__(self, path: Path | str, *, limits: ArchiveLimits = DEFAULT_LIMITS, follow_links: bool = False) -> None:
        self.path = Path(path)
        self._follow_links = follow_links
        self._limits = limits
        self._cleanup = ExitStack()
        self._kept = KeptFiles()
        self._cleanup.callback(self._kept.clear)
        try:
            found = self._scan()
            is_alone = self.path.is_file() and len(found.series) == 1
            self.series: tuple[Series, ...] = found.series if is_alone else set_aside_label_maps(found.series)
            self.unreadable: tuple[tuple[Path, str], ...] = found.unreadable
            self.excluded: tuple[tuple[Path, str], ...] = found.excluded
            self._check_not_empty(found)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was unpacked; its series can no longer be read."""
        self._cleanup.close()

    def choose(self, uid: str | None = None) -> tuple[Series, ...]:
        """Return the series with an identifier, or all that are worth scoring.

        Args:
            uid: `Series.uid`; or what stands before "#" in it, for all stacks of one DICOM series.

        Raises:
            InputError: When there is none; the message lists what there is, and why it is skipped.
        """
        if uid is None:
            chosen = tuple(found for found in self.series if not found.skip_reason)
            wanted = "worth scoring"
        else:
            exact = tuple(found for found in self.series if found.uid == uid)
            chosen = exact or tuple(found for found in self.series if found.uid.startswith(f"{uid}#"))
            wanted = f'named "{uid}"'
        if not chosen and uid is None and len(self.series) == 1:
            raise InputError(f'"{self.path}" holds nothing to score: it is {self.series[0].skip_reason}.')
        if not chosen:
            raise InputError(f'"{self.path}" holds no series {wanted}; it holds: {_listed(self.series)}.')
        return chosen

    def read(self, series: Series, *, time_point: int = 0, allocate: Allocate | None = None) -> Volume:
        """Read one of its series.

        Args:
            series: One of `self.series`.
            time_point: Zero-based time point of a 4-D series.
            allocate: Makes the array that DICOM is decoded into; see `read_series`.

        Raises:
            InputError: When it cannot be read or its geometry makes no sense.
        """
        return read_series(series, time_point=time_point, allocate=allocate, kept=self._kept)

    def _scan(self) -> Findings:
        if not self.path.exists():
            raise InputError(f'"{self.path}" does not exist; check the path.')
        if self.path.is_dir():
            skipped = Skipped()
            found = self._scan_with_archives(iter_files(self.path, skipped, follow_links=self._follow_links))
            return replace(found, unreadable=found.unreadable + skipped.sentences(self.path))
        if not self.path.is_file():
            raise InputError(f'"{self.path}" is a device or pipe; give a file or folder.')
        found = self._scan_with_archives([self.path])
        if found.directories:
            from moeclip_transforms.dicomdir import listed_files

            present, missing = listed_files(self.path, follow_links=self._follow_links)
            found = self._scan_with_archives(present)
            return replace(found, unreadable=missing + found.unreadable)
        if self.path in [path for path, _ in found.unreadable] and not found.series:
            raise InputError(found.unreadable[0][1])
        return found

    def _scan_with_archives(self, paths: Iterable[Path]) -> Findings:
        found = scan(paths, kept=self._kept)
        for archive in found.archives:
            try:
                inner = self._scan_archive(archive)
            except Exception as error:  # noqa: BLE001  whatever one archive does, it costs that archive alone
                why = str(error) if isinstance(error, InputError) else f'"{archive.name}" is damaged ({reason(error)}).'
                found = replace(found, unreadable=(*found.unreadable, (archive, why)))
                continue
            found = replace(
                found,
                series=found.series + inner.series,
                unreadable=found.unreadable + inner.unreadable,
                excluded=found.excluded + inner.excluded,
                n_other=found.n_other + inner.n_other,
            )
        return replace(found, series=tuple(with_unique_uids(found.series)))

    def _scan_archive(self, archive: Path) -> Findings:
        folder = Path(self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="moeclip-med-")))
        unpack(archive, folder, self._limits)
        found = scan(iter_files(folder), kept=self._kept)
        if found == Findings():
            return replace(found, excluded=((archive, f'"{archive.name}" holds no files.'),))
        nested = tuple(
            (inner, f'"{inner.name}" in "{archive.name}" is another archive; unpack it and give the folder.')
            for inner in found.archives
        )
        return replace(found, unreadable=found.unreadable + nested)

    def _check_not_empty(self, found: Findings) -> None:
        if found.series:
            return
        if len(found.unreadable) == 1:
            raise InputError(found.unreadable[0][1])
        if found.unreadable:
            raise InputError(
                f'None of the {len(found.unreadable)} image files in "{self.path}" can be read; '
                f"the first: {found.unreadable[0][1]}"
            )
        if found.excluded:
            raise InputError(found.excluded[0][1])
        if found.n_other:
            is_single = self.path.is_file() and not found.archives
            what = "is not an image" if is_single else f"holds {found.n_other} other files but no image"
            raise InputError(f'"{self.path}" {what}; {_EXPECTED}.')
        raise InputError(f'"{self.path}" holds no files; {_EXPECTED}.')


def open_source(path: Path | str, *, limits: ArchiveLimits = DEFAULT_LIMITS, follow_links: bool = False) -> ImageSource:
    """Look at what a path holds; use it in a `with` statement.

    Args:
        path: A file, folder, zip archive or DICOMDIR.
        limits: What a zip archive may hold.
        follow_links: Whether links to files outside a given folder are followed.

    Raises:
        InputError: When there is nothing to read.
    """
    return ImageSource(path, limits=limits, follow_links=follow_links)


def read_volume(path: Path | str, *, series: str | None = None, time_point: int = 0) -> Volume:
    """Read the one series that a path holds, or the one named.

    Args:
        path: A file, folder, zip archive or DICOMDIR.
        series: Its identifier (`Series.uid`); without one, what is not worth scoring is ignored.
        time_point: Zero-based time point of a 4-D series.

    Raises:
        InputError: When there is not exactly one; the message lists what there is.
    """
    with open_source(path) as source:
        chosen = source.choose(series)
        if len(chosen) > 1:
            listed = _listed(chosen)
            raise InputError(
                f'"{source.path}" holds {len(chosen)} series where one is expected; name one of: {listed}.'
            )
        return source.read(chosen[0], time_point=time_point)


def read_series(
    series: Series, *, time_point: int = 0, allocate: Allocate | None = None, kept: KeptFiles | None = None
) -> Volume:
    """Read a series whose files are still where the scan found them.

    Args:
        series: What to read.
        time_point: Zero-based time point of a 4-D series.
        allocate: From a shape (channel, slice, row, column) to an array of float32 zeros that DICOM is decoded into, in
            shared memory for example; NumPy's own if None. Other formats come in arrays of their libraries.
        kept: The bytes of DICOM files that the scan kept.

    Raises:
        InputError: When it cannot be read or its geometry makes no sense.
    """
    check_memory(series)
    if series.format is FileFormat.DICOM:
        from moeclip_transforms.dicom import read_dicom

        return read_dicom(series, time_point=time_point, allocate=allocate, kept=kept)
    with np.errstate(over="ignore"):  # what no 32-bit number holds becomes infinite, and is counted as such
        return reader_named(series.reader or series.format.value).read(series, time_point=time_point)


def _listed(series: tuple[Series, ...]) -> str:
    more = f"; and {len(series) - _MOST_LISTED} more" if len(series) > _MOST_LISTED else ""
    return "; ".join(_words(one) for one in series[:_MOST_LISTED]) + more


def _words(series: Series) -> str:
    x, y, z, _ = series.shape
    skipped = f", {series.skip_reason}" if series.skip_reason else ""
    return f"{series.uid} ({series.modality or series.format}, {x}×{y}×{z}{skipped})"
