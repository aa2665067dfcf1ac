"""A study's files as something to read series from."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from moeclip_transforms.modality import known_modality

from moeclip_med.batch.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moeclip_transforms import Series, Volume

    from moeclip_med.batch.records import FileStamp


class StudyFiles:
    """The files of a study as something to read series from, with notes that identify nobody."""

    def __init__(self, series: tuple[Series, ...], unreadable: tuple[tuple[Path, str], ...], redact: Redactor) -> None:
        self.series = series
        self.unreadable = unreadable
        self.redact = redact

    def read(self, series: Series, *, time_point: int = 0) -> Volume:
        """Read a series; its description and an undefined Modality stay behind, and its notes name no file."""
        from moeclip_transforms.source import read_series

        volume = read_series(series, time_point=time_point)
        notes = tuple(self.redact(note) for note in volume.notes)
        shown = replace(volume.series, description="", modality=known_modality(volume.series.modality))
        return replace(volume, notes=notes, source=replace(volume.source, series=shown))


@contextmanager
def open_study(files: tuple[FileStamp, ...], root: Path) -> Iterator[StudyFiles]:
    """Look at the headers of a study's files; a zip archive is unpacked until the end.

    Raises:
        InputError: When nothing in them can be read.
    """
    from moeclip_transforms.discovery import FileType, file_type, scan
    from moeclip_transforms.label_maps import set_aside_label_maps
    from moeclip_transforms.source import ImageSource

    paths = [stamp.path for stamp in files]
    if len(paths) == 1 and file_type(paths[0]) is FileType.ARCHIVE:
        with ImageSource(paths[0]) as source:
            inner = [path for series in source.series for path in series.files]
            inner += [path for path, _ in source.unreadable]
            redact = Redactor.for_files([*inner, paths[0]], _identifiers(source.series))
            yield StudyFiles(source.series, source.unreadable, redact)
        return
    found = scan(paths)
    redact = Redactor.for_files(paths, [str(root), *_identifiers(found.series)])
    yield StudyFiles(set_aside_label_maps(found.series), found.unreadable, redact)


def _identifiers(series: tuple[Series, ...]) -> list[str]:
    return [text for found in series for text in (found.uid, found.study_uid, found.description)]
