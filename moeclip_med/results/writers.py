"""Who writes which result: the built-in formats and those of other packages, found by entry point.

A package adds one by an entry point in the group "moeclip_med.results" that names a `ResultWriter`; its name is that
of the format, for `--results` and `write_results`. DICOM objects, which cite one another, are written together by
`results.dicom`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from moeclip_transforms.errors import InputError
from moeclip_transforms.plugins import load, registered

from moeclip_med.results.formats import RESULT_NAMES, ResultFormat

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from moeclip_med.scoring.anomaly import AnomalyVolume

GROUP = "moeclip_med.results"


@dataclass(frozen=True)
class ResultWriter:
    """Writes one format.

    Attributes:
        file_name: What the file (or folder) is called inside a result folder.
        write: Takes the scored volume, the path to write, and the notes that have to be said beside it; raises
            `InputError` where the format does not suit the volume.
    """

    file_name: str
    write: Callable[[AnomalyVolume, Path, tuple[str, ...]], None]


def known_formats() -> tuple[str, ...]:
    """Return the names of all formats: the built-in ones in their order, then those of other packages."""
    built_in = [fmt.value for fmt in ResultFormat]
    return (*built_in, *sorted(registered(GROUP).keys() - set(built_in)))


def writer_named(name: str) -> ResultWriter:
    """Return the writer of a format that is not a DICOM object.

    Raises:
        InputError: When there is none, or it is no `ResultWriter` with a file name of its own.
    """
    found: Any = load(GROUP, name)
    if not isinstance(found, ResultWriter):
        raise InputError(
            f'The result "{name}" is a {type(found).__name__}; expected a moeclip_med.results.writers.ResultWriter.'
        )
    is_own = name in RESULT_NAMES or found.file_name not in RESULT_NAMES.values()
    if PurePath(found.file_name).name != found.file_name or not is_own:
        raise InputError(
            f'The result "{name}" is to be called "{found.file_name}"; expected a plain file name that is not taken.'
        )
    return found


def file_name(name: str) -> str:
    """Return what the file (for `sc`: folder) of a format is called.

    Raises:
        InputError: When there is no such format.
    """
    return RESULT_NAMES[ResultFormat(name)] if name in RESULT_NAMES else writer_named(name).file_name
