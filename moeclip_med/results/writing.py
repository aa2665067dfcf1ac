"""The results of one volume, put in place together; a format that fails costs itself alone."""

from __future__ import annotations

import errno
import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

from moeclip_med.results.attempts import attempt
from moeclip_med.results.formats import (
    ACQUIRED_NAME,
    AS_FOUND_NAMES,
    DICOM_FORMATS,
    NEED_FINDINGS,
    RESULT_NAMES,
    DicomOptions,
    ResultFormat,
)
from moeclip_med.results.notes import result_notes
from moeclip_med.results.writers import file_name, known_formats, writer_named
from moeclip_med.scoring.review import Site, put_site

if TYPE_CHECKING:
    from collections.abc import Collection

    from moeclip_med.scoring.anomaly import AnomalyVolume

__all__ = ["WrittenResults", "result_notes", "write_results"]

_HOLD_NOTES = (ResultFormat.REPORT, ResultFormat.JSON, ResultFormat.RUN)
"""Written behind the others, so that they can say which of those failed."""


@dataclass(frozen=True)
class WrittenResults:
    """What was written of one volume.

    Attributes:
        files: The path of every file (for `sc`: folder) written, by the name of its format.
        failed: The formats that could not be written for this volume, each with the reason in one sentence.
        header_notes: What the DICOM results hold otherwise than the source's header, one sentence each.
    """

    files: dict[str, Path]
    failed: dict[str, str]
    header_notes: tuple[str, ...] = ()


def write_results(
    anomaly: AnomalyVolume,
    folder: Path,
    formats: Collection[str],
    options: DicomOptions = DicomOptions(),  # noqa: B008 - a frozen value
    *,
    replaces: bool = True,
) -> WrittenResults:
    """Write results of one volume into a folder, whole and at once.

    Everything is written into a temporary folder beside `folder` first and renamed at the end, so that
    whoever sees a result sees a whole one. Results of another run in `folder` are replaced, all of them, or refused:
    files of two runs are never mixed. Files of other names stay untouched.

    A format that fails costs itself alone: the others are written, and say which one is missing and why.

    Args:
        anomaly: The scored volume.
        folder: Where the files belong; made if missing.
        formats: What to write: `ResultFormat`, or a format that another package registers. `sr` brings `seg` along,
            whose segments it cites, and of a reviewed run the report and segments before the review. `seg` and
            `rtstruct` are skipped when there is no finding (`result_notes` says so).
        options: What the user chose about DICOM results.
        replaces: Whether results of another run are replaced.

    Returns:
        The files, and the formats that could not be written.

    Raises:
        InputError: Where the folder cannot be written, the disk is full, every format failed, or the folder holds
            results that are not to be replaced.
    """
    folder = Path(folder)
    if (site := options.finding_site) is not None:
        anomaly = put_site(anomaly, Site(site.meaning, site.value, site.scheme))
    asked = _expand(formats)
    wanted = [fmt for fmt in asked if anomaly.findings or fmt not in NEED_FINDINGS]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent) as scratch:
            new, old = Path(scratch, "new"), Path(scratch, "old")
            new.mkdir()
            old.mkdir()
            notes = result_notes(anomaly, asked, options)
            failed, header_notes = _write_all(anomaly, new, wanted, options, notes)
            if failed and len(failed) == len(wanted):
                raise InputError(next(iter(failed.values())))
            _put_in_place(new, old, folder, replaces=replaces)
    except OSError as error:
        raise InputError(_explain(error, folder)) from error
    files = {str(fmt): folder / file_name(fmt) for fmt in wanted if fmt not in failed}
    return WrittenResults(files, failed, header_notes)


def _expand(formats: Collection[str]) -> list[str]:
    """The formats in their fixed order, without repeats, with what they need."""
    unknown = [fmt for fmt in formats if fmt not in known_formats()]
    if unknown or not formats:
        what = f'"{unknown[0]}" is no result format' if unknown else "No result format was named"
        raise InputError(f"{what}; choose from {', '.join(known_formats())}.")
    wanted = {*formats, ResultFormat.SEG} if ResultFormat.SR in formats else set(formats)
    return [ResultFormat(fmt) if fmt in RESULT_NAMES else fmt for fmt in known_formats() if fmt in wanted]


def _write_all(
    anomaly: AnomalyVolume, folder: Path, formats: list[str], options: DicomOptions, notes: tuple[str, ...]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Write the formats, those that hold notes last; return the ones that failed with the reason, and further notes."""
    failed: dict[str, str] = {}
    header_notes: tuple[str, ...] = ()
    dicom_formats = [ResultFormat(fmt) for fmt in formats if fmt in DICOM_FORMATS]
    if dicom_formats:
        from moeclip_med.results.dicom.dicom_results import write_dicom

        outcome = write_dicom(anomaly, folder, dicom_formats, options)
        failed.update((str(fmt), reason) for fmt, reason in outcome.failed.items())
        header_notes = outcome.notes
    for fmt in sorted(set(formats) - DICOM_FORMATS, key=lambda fmt: (fmt in _HOLD_NOTES, formats.index(fmt))):
        said = (*notes, *header_notes, *dict.fromkeys(failed.values()))
        name = file_name(fmt)
        reason = attempt(partial(_write, fmt, anomaly, said), folder / name, name)
        if reason:
            failed[fmt] = reason
    return failed, header_notes


def _write(fmt: str, anomaly: AnomalyVolume, notes: tuple[str, ...], path: Path) -> None:
    writer_named(fmt).write(anomaly, path, notes)


def _put_in_place(new: Path, old: Path, folder: Path, *, replaces: bool) -> None:
    """Move everything in `new` into `folder`; earlier results go to `old`, and come back on failure."""
    if not folder.exists():
        new.rename(folder)
        return
    moved: list[tuple[Path, Path]] = []
    names = {*RESULT_NAMES.values(), *AS_FOUND_NAMES.values(), ACQUIRED_NAME}
    replaced = names | {path.name for path in new.iterdir()}
    moves = [(folder / name, old / name) for name in sorted(replaced) if (folder / name).exists()]
    if moves and not replaces:
        raise InputError(
            f'"{folder}" holds results of another run, written while this one went on, and they stay; name another '
            "folder and score again, or add --overwrite."
        )
    moves += [(path, folder / path.name) for path in sorted(new.iterdir())]
    try:
        for source, target in moves:
            source.rename(target)
            moved.append((source, target))
    except OSError:
        for source, target in reversed(moved):
            shutil.move(target, source)
        raise


def _explain(error: OSError, folder: Path) -> str:
    """One sentence for what the operating system refused."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"{folder}: the disk is full, nothing was written; free some space or choose another folder."
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"{folder}: there is no permission to write, nothing was written; choose another folder."
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        return f"{folder}: a file is in the way of this output folder; choose another folder."
    return f"{folder}: the results could not be written ({error.strerror or error}); choose another folder."
