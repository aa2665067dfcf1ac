"""One study of a PACS: fetched, scored, its results stored beside it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pydicom
from moeclip_transforms.errors import InputError
from moeclip_transforms.naming import OWN_NAME, OWN_RESULT

from moeclip_med.batch.filters import reason_to_leave_out
from moeclip_med.batch.pacs.server import PacsError
from moeclip_med.results.formats import DICOM_FORMATS, RESULT_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moeclip_transforms import ImageSource, Series
    from pydicom import Dataset

    from moeclip_med.batch.filters import SeriesFilter
    from moeclip_med.batch.pacs.server import PacsServer, RemoteSeries
    from moeclip_med.batch.pseudonyms import Pseudonyms
    from moeclip_med.pipeline import ScoreSettings
    from moeclip_med.scoring import Detector, SliceScores

_WITHOUT_PIXELS = frozenset(
    {
        "AU", "DOC", "ECG", "EPS", "FID", "HD", "KO", "PLAN", "PR", "REG", "RESP", "RTDOSE", "RTPLAN", "RTRECORD",
        "RTSTRUCT", "RWV", "SEG", "SR", "STAIN", "TEXTUREMAP",
    }
)  # fmt: skip
"""Modalities (PS3.3 C.7.3.1.1.1) that need not be fetched to know that there is no image to score."""


class Destination(Protocol):
    """Where results are sent: the PACS itself by STOW-RS, or another node by C-STORE."""

    def store(self, dataset: Dataset) -> bool:
        """Store an instance; gives whether it was sent, or was there already."""
        ...


@dataclass(frozen=True)
class PacsResult:
    """What became of one series.

    Attributes:
        series: Its pseudonym.
        state: "scored", "left out" or "failed"; also "failed" where nothing that was to be sent could be made.
        reason: Why it was left out or failed, or which results could not be made; may name files and UIDs, for the
            terminal only.
        score: Highest score, or None.
        findings: Number of findings.
        folder: Where its results lie, or None if they were not kept.
        stored: Instances sent.
        known: Instances that were there already.
        stored_series: SeriesInstanceUIDs of the results: never to be scored.
    """

    series: str
    state: str
    reason: str = ""
    score: float | None = None
    findings: int = 0
    folder: Path | None = None
    stored: int = 0
    known: int = 0
    stored_series: tuple[str, ...] = ()


@dataclass(frozen=True)
class PacsJob:
    """How studies of a PACS are scored.

    Attributes:
        server: The PACS.
        detector: The model, ready to run.
        settings: The choices that are the same for every series.
        names: The pseudonyms of the output.
        filters: Conditions that a series has to meet.
        output: Where results are kept; None to keep none.
        destination: Where DICOM results are sent; None to send none.
    """

    server: PacsServer
    detector: Detector
    settings: ScoreSettings
    names: Pseudonyms
    filters: tuple[SeriesFilter, ...] = ()
    output: Path | None = None
    destination: Destination | None = None

    def score_study(
        self,
        study_uid: str,
        *,
        on_series: Callable[[PacsResult], None] = lambda _: None,
        on_slices: Callable[[SliceScores], None] | None = None,
    ) -> list[PacsResult]:
        """Score every series of a study that is worth it; what was fetched is removed at the end.

        Args:
            study_uid: StudyInstanceUID.
            on_series: Told about each series when it is done.
            on_slices: Called after each batch of slices.

        Raises:
            PacsError: If the PACS cannot be reached, refuses, or has no such study.
        """
        results: list[PacsResult] = []
        for remote in self.server.find_series(study_uid):
            for result in self._score_remote(remote, on_slices):
                results.append(result)
                on_series(result)
        return results

    def _score_remote(
        self, remote: RemoteSeries, on_slices: Callable[[SliceScores], None] | None
    ) -> Iterator[PacsResult]:
        reason = reason_not_to_fetch(remote)
        if reason:
            yield PacsResult(self.names.series(remote.study_uid, remote.uid), "left out", reason)
            return
        with tempfile.TemporaryDirectory(prefix="moeclip-med-pacs-") as name:
            folder = Path(name, "fetched")
            self.server.fetch(remote, folder)
            yield from self._score_fetched(remote, folder, Path(name, "results"), on_slices)

    def _score_fetched(
        self, remote: RemoteSeries, folder: Path, results: Path, on_slices: Callable[[SliceScores], None] | None
    ) -> Iterator[PacsResult]:
        from moeclip_transforms.source import ImageSource

        with ImageSource(folder) as source:
            for path, reason in source.unreadable:
                yield PacsResult(self.names.series(remote.study_uid, path.name), "failed", reason)
            for series in source.series:
                name = self.names.series(remote.study_uid, series.uid)
                reason = reason_to_leave_out(series, self.filters)
                if reason:
                    yield PacsResult(name, "left out", reason)
                    continue
                target = results / name
                if self.output is not None:
                    target = self.output / "studies" / self.names.study(remote.study_uid) / name
                try:
                    yield self._score_one(source, series, name, target, on_slices)
                except PacsError:
                    raise
                except InputError as error:
                    yield PacsResult(name, "failed", str(error))

    def _score_one(
        self,
        source: ImageSource,
        series: Series,
        name: str,
        target: Path,
        on_slices: Callable[[SliceScores], None] | None,
    ) -> PacsResult:
        from moeclip_med.pipeline import score_series

        result = score_series(source, series, self.detector, self.settings, target, on_slices=on_slices)
        sent = [] if self.destination is None else [self._send(self.destination, path) for path in dicom_files(target)]
        return PacsResult(
            series=name,
            state="failed" if self.destination is not None and result.refused and not sent else "scored",
            reason=" ".join(dict.fromkeys(result.refused.values())),
            score=result.anomaly.peak_score,
            findings=len(result.anomaly.findings),
            folder=target if self.output is not None else None,
            stored=sum(was_sent for was_sent, _ in sent),
            known=sum(not was_sent for was_sent, _ in sent),
            stored_series=tuple(sorted({uid for _, uid in sent})),
        )

    def _send(self, destination: Destination, path: Path) -> tuple[bool, str]:
        """Send an instance unless the PACS holds it; gives whether it was sent, and its SeriesInstanceUID."""
        dataset = pydicom.dcmread(path)
        is_there = self.server.holds(str(dataset.StudyInstanceUID), str(dataset.SOPInstanceUID))
        return not is_there and destination.store(dataset), str(dataset.SeriesInstanceUID)


def reason_not_to_fetch(remote: RemoteSeries) -> str:
    """Say why a series need not be fetched, as far as the PACS tells; "" if it has to be looked at."""
    if remote.manufacturer == OWN_NAME:
        return OWN_RESULT
    if remote.modality in _WITHOUT_PIXELS:
        return f"modality {remote.modality}, not an image"
    return ""


def dicom_files(folder: Path) -> list[Path]:
    """List the DICOM results in a result folder: segmentation before the report that cites it."""
    found: list[Path] = []
    for fmt, name in RESULT_NAMES.items():
        if fmt in DICOM_FORMATS:
            path = folder / name
            found += sorted(path.rglob("*.dcm")) if path.is_dir() else [path] if path.is_file() else []
    return found
