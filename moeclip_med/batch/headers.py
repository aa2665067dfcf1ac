"""Which study a file belongs to: three attributes of its header, read for many files at once."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from typing import TYPE_CHECKING, Self

from moeclip_transforms.errors import InputError
from moeclip_transforms.naming import reason

from moeclip_med.batch.pseudonyms import Pseudonyms
from moeclip_med.batch.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path
    from types import TracebackType

_CHUNK = 200
_FEW = 1000
"""Starting processes takes longer than reading this many headers."""
_LEAST_BYTES = 512 * 2**20
"""What a process that reads headers has to be given."""

_KEYWORDS = [
    "AccessionNumber", "AcquisitionDate", "DeviceSerialNumber", "ImagePositionPatient", "Manufacturer",
    "ManufacturerModelName", "Modality", "PatientID", "SeriesInstanceUID", "SeriesNumber", "StationName", "StudyDate",
    "StudyInstanceUID",
]  # fmt: skip


_SCANNER = ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "StationName")


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
        scanner: Pseudonym of the scanner, or "".
        week: ISO week of the acquisition, such as "2024-W09", or "".
        problem: Why it cannot be read though it looks like an image, without names, or "".
    """

    path: Path
    study: str = ""
    patient: str = ""
    study_uid: str = ""
    patient_id: str = ""
    accession_number: str = ""
    scanner: str = ""
    week: str = ""
    problem: str = ""


def look_at_file(path: Path, pseudonyms: Pseudonyms) -> FileHeader:
    """Look at one file. The files of one DICOM study belong together; every other image is a study of its own."""
    from moeclip_transforms.library_warnings import quietly

    try:
        with quietly():
            return _look_at_readable_file(path, pseudonyms)
    except OSError as error:
        return FileHeader(path, problem=f"it cannot be opened ({reason(error)})")
    except InputError as error:
        return FileHeader(path, problem=Redactor.for_files([path])(str(error)))
    except Exception as error:  # noqa: BLE001 - one bad file costs that file, never the batch
        problem = f"its header cannot be read ({reason(error)})"
        return FileHeader(path, problem=Redactor.for_files([path])(problem))


def _look_at_readable_file(path: Path, pseudonyms: Pseudonyms) -> FileHeader:
    from moeclip_transforms.dicom_header import read_header, text
    from moeclip_transforms.discovery import reader_of
    from moeclip_transforms.file_types import FileType, file_type, header_of, is_named_as_whole_image, other_format

    kind = file_type(path)
    if kind is FileType.EMPTY and is_named_as_whole_image(path.name):
        return FileHeader(path, problem="it is empty (0 bytes)")
    if kind is FileType.EMPTY or path.name.upper() == "DICOMDIR":
        return FileHeader(path)
    if kind not in {FileType.DICOM, FileType.DICOM_WITHOUT_PREFIX}:
        # Both files of a pair are one study.
        header_path = header_of(path) if kind in {FileType.NIFTI, FileType.UNKNOWN} else None
        is_image = header_path or kind is not FileType.UNKNOWN or other_format(path.name) or reader_of(path, kind)
        if not is_image:
            return FileHeader(path)
        name = str(header_path or path)
        return FileHeader(path, pseudonyms.study(name), pseudonyms.patient(name), name)
    header = read_header(path, keywords=_KEYWORDS, force=kind is FileType.DICOM_WITHOUT_PREFIX)
    patient_id = text(header, "PatientID")
    study_uid = text(header, "StudyInstanceUID") or text(header, "SeriesInstanceUID")
    if not study_uid:  # slices of one folder, patient, number and modality belong together, as in a scan
        alike = [text(header, keyword) for keyword in ("PatientID", "SeriesNumber", "Modality")]
        study_uid = "\0".join([str(path.parent), *alike]) if text(header, "ImagePositionPatient") else str(path)
    return FileHeader(
        path,
        study=pseudonyms.study(study_uid),
        patient=pseudonyms.patient(patient_id or study_uid),
        study_uid=study_uid,
        patient_id=patient_id,
        accession_number=text(header, "AccessionNumber"),
        scanner=pseudonyms.scanner("\0".join(text(header, keyword) for keyword in _SCANNER)),
        week=iso_week(text(header, "AcquisitionDate") or text(header, "StudyDate")),
    )


def iso_week(day: str) -> str:
    """Return the ISO week of a DICOM date (YYYYMMDD), such as "2024-W09"; "" for what is no date."""
    try:
        year, week, _ = datetime.strptime(day.strip(), "%Y%m%d").replace(tzinfo=UTC).isocalendar()
    except ValueError:
        return ""
    return f"{year:04d}-W{week:02d}"


class HeaderScanner:
    """Looks at files, in processes of bounded memory where there are many files.

    A file that ends the process that reads it is found by halving, and costs nothing but itself.
    """

    def __init__(self, key: bytes, n_files: int, processes: int, memory_bytes: int | None = None) -> None:
        """Start no process yet.

        Args:
            key: The key of the pseudonyms.
            n_files: About how many files there will be.
            processes: How many processes may be used.
            memory_bytes: For all of them together; None for no limit.
        """
        self._key = key
        self._processes = processes if n_files > _FEW else 0
        share = None if memory_bytes is None else memory_bytes // max(1, processes)
        self._memory_bytes = None if share is None else max(share, _LEAST_BYTES)
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def scan(self, paths: Sequence[Path]) -> Iterator[list[FileHeader]]:
        """Look at files, some at a time."""
        chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
        if self._processes <= 1:
            yield from (_look_at_files(chunk, self._key) for chunk in chunks)
            return
        waiting = [(chunk, self._submit(chunk)) for chunk in chunks]
        for chunk, answer in waiting:
            try:
                yield answer.result()
            except BrokenProcessPool:
                self._stop()
                yield self._divide(chunk)

    def _divide(self, paths: Sequence[Path]) -> list[FileHeader]:
        """Look at files of which one may end the process, half of them at a time."""
        try:
            return self._submit(paths).result()
        except BrokenProcessPool:
            self._stop()
        if len(paths) == 1:
            return [FileHeader(paths[0], problem="the process that read its header was ended, perhaps for its memory")]
        middle = len(paths) // 2
        return self._divide(paths[:middle]) + self._divide(paths[middle:])

    def _submit(self, paths: Sequence[Path]) -> Future[list[FileHeader]]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._processes,
                mp_context=get_context("spawn"),
                initializer=bound_memory,
                initargs=(self._memory_bytes,),
            )
        return self._pool.submit(_look_at_files, paths, self._key)

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def bound_memory(limit: int | None) -> None:
    """Let this process raise MemoryError rather than take more than so many bytes (Linux: RLIMIT_DATA)."""
    if limit is not None and sys.platform == "linux":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (limit if hard < 0 else min(limit, hard), hard))


def default_processes() -> int:
    """How many processes read headers: one per core, at most 16, since then the storage is the limit."""
    return min(16, os.cpu_count() or 1)


def _look_at_files(paths: Sequence[Path], key: bytes) -> list[FileHeader]:
    pseudonyms = Pseudonyms(key)
    return [look_at_file(path, pseudonyms) for path in paths]
