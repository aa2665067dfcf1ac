"""Pair DICOM series with the Segmentation or RT Structure Set that was drawn on them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_med.benchmark.datasets.case import Case, Fault, Problem
from moeclip_med.benchmark.datasets.dicom_truth import TRUTH_CLASSES
from moeclip_med.benchmark.datasets.scan import FolderScan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom import Dataset

_TAGS = (
    *("SOPClassUID", "SeriesInstanceUID", "PatientID", "ReferencedSeriesSequence"),
    "ReferencedFrameOfReferenceSequence",
)


def dicom_pairs(path: Path) -> FolderScan:
    """Find regions drawn on DICOM series under a folder; each series lies in a folder of its own.

    Returns:
        One case per series that exactly one object refers to; cases of one patient are one unit. Objects whose series
        is not there, and series with several objects, are problems.
    """
    folders: dict[str, set[Path]] = {}
    series_in: dict[Path, set[str]] = {}
    patients: dict[str, str] = {}
    truths: dict[str, list[Path]] = {}
    for file, header in _headers(path):
        if str(header.get("SOPClassUID", "")) in TRUTH_CLASSES:
            for uid in _referenced(header):
                truths.setdefault(uid, []).append(file)
            continue
        uid = str(header.get("SeriesInstanceUID", ""))
        folders.setdefault(uid, set()).add(file.parent)
        series_in.setdefault(file.parent, set()).add(uid)
        patients[uid] = str(header.get("PatientID", ""))
    cases, problems = [], []
    numbers = {patient: f"patient {number}" for number, patient in enumerate(sorted(set(patients.values())), start=1)}
    for uid, files in truths.items():
        places = folders.get(uid, set())
        where = files[0].relative_to(path).as_posix()
        folder = next(iter(places), path)
        if not places:
            problems.append(Problem(Fault.IMAGE_MISSING, where))
        elif len(places) > 1 or len(series_in[folder]) > 1:
            problems.append(
                Problem(Fault.LABEL_UNKNOWN, where, "its series shares a folder with another, or spans two")
            )
        elif len(files) > 1:
            problems.append(Problem(Fault.LABEL_UNKNOWN, where, f"{len(files)} objects refer to one series"))
        else:
            key = folder.relative_to(path).as_posix()
            unit = numbers[patients[uid]] if patients[uid] else key
            cases.append(Case(key, folder, files[0], None, "", unit))
    return FolderScan(tuple(sorted(cases, key=lambda case: (case.unit, case.key))), tuple(problems), has_patients=True)


def _headers(path: Path) -> Iterator[tuple[Path, Dataset]]:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    for folder, _, names in sorted(os.walk(path)):
        for name in sorted(names):
            file = Path(folder, name)
            try:
                yield file, dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
            except (InvalidDicomError, OSError, ValueError):
                continue


def _referenced(header: Dataset) -> set[str]:
    """Return the series that an object was drawn on (PS3.3 C.12.4 and C.8.8.5)."""
    found = {str(item.SeriesInstanceUID) for item in header.get("ReferencedSeriesSequence", ())}
    for frame in header.get("ReferencedFrameOfReferenceSequence", ()):
        for study in frame.get("RTReferencedStudySequence", ()):
            found |= {str(item.SeriesInstanceUID) for item in study.get("RTReferencedSeriesSequence", ())}
    return found
