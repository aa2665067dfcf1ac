"""What driver, workers and ledger tell each other: plain values that can be pickled and stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - Ray resolves the annotations of what it pickles
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moeclip_med.batch.filters import SeriesFilter
    from moeclip_med.batch.selection import Selection
    from moeclip_med.pipeline import ScoreSettings


class StudyState(StrEnum):
    """Where a study is on its way."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class SeriesState(StrEnum):
    """What became of a series."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True)
class FileStamp:
    """A file as it was when it was found; a different size or time means that it has changed.

    Attributes:
        path: Where it lies.
        size: Bytes.
        mtime_ns: Time of the last change, ns since 1970.
    """

    path: Path
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class StudyJob:
    """One study to score: the unit that a worker takes, and that is retried or marked as a whole.

    Attributes:
        study: Its pseudonym.
        patient: The pseudonym of its patient.
        files: Its files, wherever in the archive they lie.
        signature: Keyed hash over names, sizes and times of its files.
    """

    study: str
    patient: str
    files: tuple[FileStamp, ...]
    signature: str


@dataclass(frozen=True)
class FindingRecord:
    """One line of the table of findings; lengths in mm, volume in ml, None where the image has no spacing in mm.

    Attributes:
        rank: 1 for the highest.
        peak: Highest score, 0 to 1.
        mean: Mean score.
        voxels: Voxels (pixels).
        volume_ml: Volume.
        long_mm: Longest diameter in a slice.
        short_mm: Longest diameter perpendicular to it in that slice.
        value_mean: Mean of the image's values inside (HU in CT).
        value_sd: Their standard deviation.
        value_unit: "HU" or "arbitrary".
        place: Where it lies, in words.
        first_slice: First slice that it reaches, from 1.
        last_slice: Last slice.
        peak_voxel: Index (x, y, z) of the highest score: what a reader's decision knows it by.
    """

    rank: int
    peak: float
    mean: float
    voxels: int
    volume_ml: float | None = None
    long_mm: float | None = None
    short_mm: float | None = None
    value_mean: float | None = None
    value_sd: float | None = None
    value_unit: str = ""
    place: str = ""
    first_slice: int = 0
    last_slice: int = 0
    peak_voxel: tuple[int, int, int] = (-1, -1, -1)


@dataclass(frozen=True)
class SeriesRecord:
    """One line of the triage list: nothing in it identifies a patient.

    Attributes:
        series: The series' pseudonym.
        state: What became of it.
        reason: Why it was skipped or failed, one sentence, or "".
        modality: DICOM modality, or "".
        kind: The image type that chose the window.
        format: The family of file.
        columns: Pixels along a row.
        rows: Pixels along a column.
        slices: Slices.
        channels: 1 for grey, 3 for colour.
        time_points: Time points; one of them is scored.
        score: Highest score, 0 to 1; None unless done.
        findings: Number of findings.
        largest_ml: Volume of the largest finding, ml; None without one or without spacing in mm.
        largest_pixels: Voxels (pixels) of the largest finding.
        threshold: The score that a finding reaches.
        is_calibrated: Whether that threshold was calibrated for the model.
        seconds: From opening to results written, s.
        folder: Result folder below the output folder, with "/" between names, or "".
        report: Whether that folder holds `report.html`.
        notes: What has to be known about the input, one sentence each.
        rule: The rule of `--select` that took it, or "".
        is_filtered: Whether a filter or the rules left it out: with others it may be scored.
        engine_note: Why a slower or less exact engine scored it than was meant to, or "".
        found: Its findings.
    """

    series: str
    state: SeriesState
    reason: str = ""
    modality: str = ""
    kind: str = ""
    format: str = ""
    columns: int = 0
    rows: int = 0
    slices: int = 0
    channels: int = 1
    time_points: int = 1
    score: float | None = None
    findings: int = 0
    largest_ml: float | None = None
    largest_pixels: int = 0
    threshold: float | None = None
    is_calibrated: bool = False
    seconds: float = 0.0
    folder: str = ""
    report: bool = False
    notes: tuple[str, ...] = ()
    rule: str = ""
    is_filtered: bool = False
    engine_note: str = ""
    found: tuple[FindingRecord, ...] = ()


@dataclass(frozen=True)
class PrivateDetail:
    """What only the owner of the output may read about a study or series.

    Attributes:
        item: The pseudonym it belongs to.
        identifier: The real UID or path.
        message: The reason with its real names, or "".
    """

    item: str
    identifier: str
    message: str = ""


@dataclass(frozen=True)
class StudyReport:
    """What a worker says about a study.

    Attributes:
        study: Its pseudonym.
        state: `DONE`, also when some of its series failed; `FAILED` when none could be looked at.
        reason: Why it failed, one sentence, or "".
        series: One record per series.
        private: The same with real names, for the owner alone.
        seconds: Time spent, s.
    """

    study: str
    state: StudyState
    reason: str = ""
    series: tuple[SeriesRecord, ...] = ()
    private: tuple[PrivateDetail, ...] = field(default=())
    seconds: float = 0.0


@dataclass(frozen=True)
class Halt:
    """Something that no other study would survive either: the disk is full, or the archive is gone.

    Attributes:
        study: The study that met it; it stays waiting.
        reason: One sentence, with the remedy.
    """

    study: str
    reason: str


@dataclass(frozen=True)
class WorkOrder:
    """What is the same for every study of a run; sent to each worker once.

    Attributes:
        root: The archive.
        output: The output folder.
        settings: The choices of the run.
        filters: Conditions that a series has to meet.
        key: The key of the pseudonyms.
        fingerprint: Hash over everything that changes a result.
        memory_bytes: What a worker may use for one series; None for no limit.
        thumbnails: Whether small pictures are made for the triage list.
        selection: The rules of `--select`; None without.
    """

    root: Path
    output: Path
    settings: ScoreSettings
    filters: tuple[SeriesFilter, ...]
    key: bytes
    fingerprint: str
    memory_bytes: int | None
    thumbnails: bool
    selection: Selection | None = None

    @property
    def private(self) -> Path:
        """The folder of ledger, key and unfinished results."""
        return self.output / ".batch"
