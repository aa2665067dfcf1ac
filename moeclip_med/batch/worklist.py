"""The results of a batch as a worklist: what there is to read, its image, and what was decided of it."""

from __future__ import annotations

import csv
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

from moeclip_med.batch.catalogue import Catalogue
from moeclip_med.batch.output import CATALOGUE_NAME, PRIVATE_NAME
from moeclip_med.batch.records import SeriesState
from moeclip_med.batch.study_files import open_study
from moeclip_med.results.formats import RESULT_NAMES, ResultFormat
from moeclip_med.results.run_record import read_record
from moeclip_med.scoring.review import Decision
from moeclip_med.scoring.review_file import read_decisions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moeclip_transforms import Volume

TRIAGE_NAME, FINDINGS_NAME = "triage.csv", "findings.csv"
OPEN, BEGUN, UNREADABLE = "open", "begun", "unreadable"
"""Decisions of a series beside "accepted" (at least one finding, and all are decided) and "rejected" (all are)."""


@dataclass(frozen=True)
class WorklistItem:
    """A series that was scored.

    Attributes:
        study: The study's pseudonym.
        series: The series' pseudonym.
        modality: DICOM modality, or "".
        score: Its highest score.
        findings: Number of findings.
        decision: What was decided of them: "open", "begun", "accepted", "rejected", or "unreadable".
        folder: Its results, relative to the output folder.
    """

    study: str
    series: str
    modality: str
    score: float
    findings: int
    decision: str
    folder: str


def read_worklist(output: Path) -> tuple[WorklistItem, ...]:
    """Read what a batch scored, the highest score first.

    Args:
        output: The output folder of a batch.

    Raises:
        InputError: When it holds no triage list, or nothing was scored.
    """
    rows = [row for row in _read(output / TRIAGE_NAME) if row["state"] == SeriesState.DONE.value and row["folder"]]
    if not rows:
        raise InputError(
            f'"{output.name}" lists no scored series; wait for the batch to score one, or choose another folder.'
        )
    return tuple(
        WorklistItem(
            row["study"],
            row["series"],
            row["modality"],
            float(row["score"] or 0),
            int(row["findings"] or 0),
            series_decision(output / row["folder"], int(row["findings"] or 0)),
            row["folder"],
        )
        for row in rows
    )


@contextmanager
def read_image(output: Path, item: WorklistItem) -> Iterator[Volume]:
    """Read the image that a series of a worklist was scored from; files that were unpacked go at the end.

    Raises:
        InputError: When the image is not where the batch read it, or the owner's part of the folder is missing.
    """
    private = output / PRIVATE_NAME / CATALOGUE_NAME
    if not private.is_file():
        raise InputError(f'"{output.name}" lacks the list of its sources ({PRIVATE_NAME}), so open the image first.')
    catalogue = Catalogue(private, read_only=True)
    try:
        files, (uid, _) = catalogue.files_of(item.study), catalogue.detail(item.series)
    finally:
        catalogue.close()
    if not files or not all(stamp.path.is_file() for stamp in files):
        raise InputError(
            f"The image of series {item.series} is no longer where the batch read it; open it from its new place."
        )
    with open_study(files, output) as study:
        series = next((one for one in study.series if one.uid == uid), None)
        if series is None:
            raise InputError(f"The files of series {item.series} hold another series now; score the archive again.")
        known = read_record(output / item.folder / RESULT_NAMES[ResultFormat.RUN]).input
        volume = study.read(series, time_point=known.time_point)
        if volume.source.sha256 != known.sha256:
            raise InputError(
                f"The image of series {item.series} has changed since it was scored; score the archive again."
            )
        yield volume


def series_decision(folder: Path, findings: int) -> str:
    """Say what was decided of a series' findings as a whole.

    Args:
        folder: The folder of its results.
        findings: How many findings the model listed.
    """
    try:
        decided = [one for one in read_decisions(folder).values() if one is not Decision.OPEN]
    except InputError:
        return UNREADABLE
    if not decided:
        return OPEN
    if len(decided) < findings:
        return BEGUN
    return (Decision.ACCEPTED if Decision.ACCEPTED in decided else Decision.REJECTED).value


def finding_decisions(folder: Path) -> dict[int, str]:
    """Return the decision on each finding of a series, by its rank.

    Args:
        folder: The folder of its results, with the `findings.csv` that the batch wrote.

    Returns:
        The decision on each finding; empty if the series was not read.
    """
    try:
        said = read_decisions(folder)
    except InputError:
        said = {}
    path = folder / FINDINGS_NAME
    if not said or not path.is_file():
        return {}
    ranks = {
        (int(row["peak_voxel_x"]), int(row["peak_voxel_y"]), int(row["peak_voxel_z"])): int(row["rank"])
        for row in _read(path)
    }
    return {rank: said.get(voxel, Decision.OPEN).value for voxel, rank in ranks.items()}


def write_decisions(output: Path, item: WorklistItem) -> str:
    """Write what was decided of a series into `triage.csv` and `findings.csv`; the other lists follow with the batch.

    Args:
        output: The output folder.
        item: The series; its review lies in its folder.

    Returns:
        The decision of the series as a whole.

    Raises:
        InputError: When a list cannot be read or written.
    """
    whole, each = series_decision(output / item.folder, item.findings), finding_decisions(output / item.folder)
    for name in (TRIAGE_NAME, FINDINGS_NAME):
        path = output / name
        rows = _read(path)
        for row in rows:
            row.setdefault("decision", "")
            if (row["study"], row["series"]) == (item.study, item.series):
                row["decision"] = whole if name == TRIAGE_NAME else each.get(int(row["rank"]), "")
        _write(path, rows)
    return whole


def _read(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise InputError(
            f'"{path.parent.name}" holds no {path.name}, so it is no output of a batch; choose the folder of one.'
        ) from error
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path.name} cannot be read ({type(error).__name__}); run the batch again to write it anew."
        ) from error


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    draft = path.with_name(f".{path.name}.reading.partial")
    try:
        draft.touch(mode=0o600)
        with draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else [])
            writer.writeheader()
            writer.writerows(rows)
        draft.replace(path)
    except OSError as error:
        raise InputError(
            f"{path.name} could not be written ({error.strerror or error}); decisions are kept in {path.parent.name}."
        ) from error
    finally:
        draft.unlink(missing_ok=True)
