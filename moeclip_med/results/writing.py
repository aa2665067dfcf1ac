"""All results of one volume, written together or not at all."""

from __future__ import annotations

import errno
import shutil
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

from moeclip_med.results.formats import DICOM_FORMATS, RESULT_NAMES, ResultFormat
from moeclip_med.results.notes import result_notes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import TypeAlias

    from moeclip_med.scoring.anomaly import AnomalyVolume

    Writer: TypeAlias = Callable[[AnomalyVolume, Path, tuple[str, ...]], None]

__all__ = ["result_notes", "write_results"]

_WRITERS: dict[ResultFormat, tuple[str, str]] = {
    ResultFormat.NIFTI: ("nifti", "write_scores"),
    ResultFormat.RAW: ("nifti", "write_raw"),
    ResultFormat.ROUTING: ("nifti", "write_routing"),
    ResultFormat.CSV: ("tables", "write_csv"),
    ResultFormat.JSON: ("tables", "write_json"),
    ResultFormat.RUN: ("run_record", "write_run_record"),
    ResultFormat.REPORT: ("report", "write_report"),
}
"""Module and function for each format; the DICOM ones are written together, by `results.dicom`."""


def write_results(anomaly: AnomalyVolume, folder: Path, formats: Collection[ResultFormat | str]) -> dict[str, Path]:
    """Write results of one volume into a folder, all of them or none.

    Everything is written into a temporary folder beside `folder` first and renamed at the end, so that
    whoever sees a result sees a whole one. Results of an earlier run in `folder` are replaced, all of them:
    files of two runs are never mixed. Files of other names stay untouched.

    Args:
        anomaly: The scored volume.
        folder: Where the files belong; made if missing.
        formats: What to write. `sr` brings `seg` along, whose segments it cites. `seg` is left out when there
            is no finding (`result_notes` says so).

    Returns:
        The path of every file (for `sc`: folder) written, by the name of its format.

    Raises:
        InputError: Where the folder cannot be written, the disk is full, or a format does not suit the input.
    """
    folder = Path(folder)
    wanted = _expand(formats)
    notes = result_notes(anomaly, wanted)
    if ResultFormat.SEG in wanted and not anomaly.findings:
        wanted.remove(ResultFormat.SEG)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent) as partial:
            new, old = Path(partial, "new"), Path(partial, "old")
            new.mkdir()
            old.mkdir()
            _write_all(anomaly, new, wanted, notes)
            _put_in_place(new, old, folder)
    except OSError as error:
        raise InputError(_explain(error, folder)) from error
    return {fmt.value: folder / RESULT_NAMES[fmt] for fmt in wanted}


def _expand(formats: Collection[ResultFormat | str]) -> list[ResultFormat]:
    """The formats in their fixed order, without repeats, with what they need."""
    unknown = [fmt for fmt in formats if fmt not in RESULT_NAMES]
    if unknown or not formats:
        what = f'"{unknown[0]}" is no result format' if unknown else "No result format was named"
        msg = f"{what}; choose from {', '.join(ResultFormat)}."
        raise InputError(msg)
    wanted = {ResultFormat(fmt) for fmt in formats}
    if ResultFormat.SR in wanted:
        wanted.add(ResultFormat.SEG)
    return [fmt for fmt in ResultFormat if fmt in wanted]


def _write_all(anomaly: AnomalyVolume, folder: Path, formats: list[ResultFormat], notes: tuple[str, ...]) -> None:
    dicom_formats = [fmt for fmt in formats if fmt in DICOM_FORMATS]
    if dicom_formats:
        from moeclip_med.results.dicom.writing import write_dicom

        write_dicom(anomaly, folder, dicom_formats)
    for fmt in formats:
        if fmt not in DICOM_FORMATS:
            _writer(fmt)(anomaly, folder / RESULT_NAMES[fmt], notes)


def _writer(fmt: ResultFormat) -> Writer:
    """The function that writes one format; imported only now because each brings its own libraries."""
    module, function = _WRITERS[fmt]
    writer: Writer = getattr(import_module(f"moeclip_med.results.{module}"), function)
    return writer


def _put_in_place(new: Path, old: Path, folder: Path) -> None:
    """Move everything in `new` into `folder`; earlier results go to `old`, and come back on failure."""
    if not folder.exists():
        new.rename(folder)
        return
    moved: list[tuple[Path, Path]] = []
    moves = [(folder / name, old / name) for name in RESULT_NAMES.values() if (folder / name).exists()]
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
