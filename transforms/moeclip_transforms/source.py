"""A path made readable: what it holds, and each series of it as a volume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

from moeclip_transforms.archives import ArchiveLimits
from moeclip_transforms.discovery import discover
from moeclip_transforms.errors import InputError
from moeclip_transforms.volume import FileFormat

if TYPE_CHECKING:
    from types import TracebackType

    from moeclip_transforms.volume import Series, Volume


class ImageSource:
    """The images under a path."""

    def __init__(self, path: Path | str, *, limits: ArchiveLimits | None = None) -> None:
        self.path = Path(path)
        self.limits = limits or ArchiveLimits()
        self.series, self.unreadable = discover(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was unpacked."""

    def read(self, series: Series, *, time_point: int = 0) -> Volume:
        """Read one of its series."""
        from moeclip_transforms.nifti import read_nifti

        if series.format is FileFormat.NIFTI:
            return read_nifti(series, time_point=time_point)
        raise InputError(f"{series.format} is not readable yet.")


def open_source(path: Path | str) -> ImageSource:
    """Open a path."""
    return ImageSource(path)


def read_volume(path: Path | str, *, series: str | None = None, time_point: int = 0) -> Volume:
    """Read the one series of a path."""
    with open_source(path) as source:
        wanted = [found for found in source.series if series is None or found.uid == series]
        if len(wanted) != 1:
            raise InputError(f'"{path}" holds {len(source.series)} series; name one of them.')
        return source.read(wanted[0], time_point=time_point)
