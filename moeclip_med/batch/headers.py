"""Which study a file belongs to: three attributes of its header, read for many files at once."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

from moeclip_med.batch.pseudonyms import Pseudonyms
from moeclip_med.batch.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_CHUNK = 200
_FEW = 1000
"""Starting processes takes longer than reading this many headers."""

_IMAGE_SUFFIXES = frozenset({"", ".dcm", ".ima", ".nii", ".gz", ".mha", ".nrrd", ".zip", ".png", ".jpg", ".tif"})
_KEYWORDS = ["AccessionNumber", "PatientID", "SeriesInstanceUID", "StudyInstanceUID"]


@dataclass(frozen=True)
class FileHeader:
    """What a first look at a file says.

    Attributes:
        path: The file.
        study: Pseudonym of the study it belongs to, or "" where it is no image.
        patient: Pseudonym of the patient, or "".
        study_uid: StudyInstanceUID; for other formats the path.
        patient_id: PatientID, or "".
        accession_number: AccessionNumber, or "".
        problem: Why it cannot be read though it looks like an image, without names, or "".
    """

    path: Path
    study: str = ""
    patient: str = ""
    study_uid: str = ""
    patient_id: str = ""
    accession_number: str = ""
    problem: str = ""


def look_at_file(path: Path, pseudonyms: Pseudonyms) -> FileHeader:
    """Look at one file. The files of one DICOM study belong together; every other image is a study of its own."""
    try:
        return _look_at_readable_file(path, pseudonyms)
    except OSError as error:
        return FileHeader(path, problem=f"it cannot be opened ({error.strerror or type(error).__name__})")
    except InputError as error:
        return FileHeader(path, problem=Redactor.for_files([path])(str(error)))
    except MemoryError:
        return FileHeader(path, problem="its header asks for more memory than there is")
    except Exception as error:  # noqa: BLE001 - one bad file costs that file, never the batch
        return FileHeader(path, problem=f"its header cannot be read ({type(error).__name__})")


def _look_at_readable_file(path: Path, pseudonyms: Pseudonyms) -> FileHeader:
    from moeclip_transforms.dicom_header import read_header, text
    from moeclip_transforms.discovery import FileType, file_type

    kind = file_type(path)
    if kind is FileType.EMPTY and path.suffix.lower() in _IMAGE_SUFFIXES:
        return FileHeader(path, problem="it is empty (0 bytes)")
    if kind in {FileType.EMPTY, FileType.UNKNOWN} or path.name.upper() == "DICOMDIR":
        return FileHeader(path)
    if kind not in {FileType.DICOM, FileType.DICOM_WITHOUT_MARK}:
        name = str(path)
        return FileHeader(path, pseudonyms.study(name), pseudonyms.patient(name), name)
    header = read_header(path, keywords=_KEYWORDS, force=kind is FileType.DICOM_WITHOUT_MARK)
    patient_id = text(header, "PatientID")
    study_uid = text(header, "StudyInstanceUID") or text(header, "SeriesInstanceUID") or str(path)
    return FileHeader(
        path,
        study=pseudonyms.study(study_uid),
        patient=pseudonyms.patient(patient_id or study_uid),
        study_uid=study_uid,
        patient_id=patient_id,
        accession_number=text(header, "AccessionNumber"),
    )


@contextmanager
def header_scanner(
    key: bytes, n_files: int, processes: int
) -> Iterator[Callable[[Sequence[Path]], Iterator[list[FileHeader]]]]:
    """Give a function that looks at files, in parallel where there are many.

    Args:
        key: The key of the pseudonyms.
        n_files: About how many files there will be.
        processes: How many processes may be used.
    """
    if n_files <= _FEW or processes <= 1:
        yield lambda paths: (_look_at_files(chunk, key) for chunk in _chunks(paths))
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:

        def scan(paths: Sequence[Path]) -> Iterator[list[FileHeader]]:
            try:
                yield from pool.map(_look_at_files, _chunks(paths), repeat(key))
            except BrokenProcessPool:
                msg = (
                    "a process that reads headers was ended, probably by the system for lack of memory; "
                    "free some memory and run the same command again"
                )
                raise InputError(msg) from None

        yield scan


def default_processes() -> int:
    """How many processes read headers: one per core, at most 16, since then the storage is the limit."""
    return min(16, os.cpu_count() or 1)


def _look_at_files(paths: Sequence[Path], key: bytes) -> list[FileHeader]:
    pseudonyms = Pseudonyms(key)
    return [look_at_file(path, pseudonyms) for path in paths]


def _chunks(paths: Sequence[Path]) -> list[Sequence[Path]]:
    return [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
