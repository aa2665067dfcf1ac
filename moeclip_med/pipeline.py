"""One series from its files to its results: what `score`, `batch` and `pacs` all do.

The walk: `ImageSource.read` gives a `Volume`; `score_volume` gives an `AnomalyVolume` on the same grid;
`write_results` writes it, and a format that fails costs itself alone.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from moeclip_transforms.volume import Plane

from moeclip_med.results.formats import DicomOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from moeclip_transforms import ImageType, Series, Volume

    from moeclip_med.scoring import AnomalyVolume, Detector, SliceScores

_log = logging.getLogger(__name__)


class ReadsSeries(Protocol):
    """What series can be read from: an `ImageSource`, or the files of one study in a batch."""

    def read(self, series: Series, *, time_point: int = 0) -> Volume:
        """Read one series as a volume."""
        ...


@dataclass(frozen=True)
class ScoreSettings:
    """The choices that are the same for every series of a run.

    Attributes:
        plane: The plane to cut slices along.
        image_type: The image type; from each header if None.
        threshold: The score that a finding reaches; the model's own if None.
        formats: The results to write.
        time_point: Which time point of a 4-D series, from 0.
        batch_size: Slices per batch; the scorer's default if None.
        min_volume_ml: How much of a finding has to reach the threshold, ml; the scorer's rule if None.
        every_slice: Let the network see each slice, also where some are enough.
        dicom: What the user chose about DICOM results.
    """

    formats: frozenset[str]
    plane: Plane = Plane.AUTO
    image_type: ImageType | None = None
    threshold: float | None = None
    time_point: int = 0
    batch_size: int | None = None
    min_volume_ml: float | None = None
    every_slice: bool = False
    dicom: DicomOptions = field(default_factory=DicomOptions)


@dataclass(frozen=True)
class SeriesResult:
    """What became of one series.

    Attributes:
        anomaly: The scores and findings.
        files: The results written, by format name.
        refused: The formats that were asked for and cannot be written for this series, each with the reason.
        header_notes: What the DICOM results hold otherwise than the source's header.
    """

    anomaly: AnomalyVolume
    files: dict[str, Path] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    header_notes: tuple[str, ...] = ()


def score_series(
    source: ReadsSeries,
    series: Series,
    detector: Detector,
    settings: ScoreSettings,
    folder: Path,
    *,
    on_slices: Callable[[SliceScores], None] | None = None,
    replaces: bool = True,
) -> SeriesResult:
    """Read, score and write one series.

    Args:
        source: What the series is read from.
        series: One of its series.
        detector: The model, ready to run.
        settings: The choices of the run.
        folder: Where the results go; made whole or not at all.
        on_slices: Called after each batch of slices.
        replaces: Whether results of another run in the folder are replaced.

    Raises:
        InputError: If the series cannot be read, scored along this plane, or written in any of these formats.
    """
    from moeclip_transforms import InputError

    from moeclip_med.results import ResultFormat, refusals, write_results
    from moeclip_med.scoring import score_volume

    started = time.perf_counter()
    volume = source.read(series, time_point=settings.time_point)
    _tell("read", started, kind=str(series.image_type), shape=list(volume.shape))
    refused = refusals(volume, settings.formats)
    formats = settings.formats - refused.keys()
    if not formats:
        raise InputError(next(iter(refused.values())))
    started = time.perf_counter()
    anomaly = score_volume(
        volume,
        detector,
        plane=settings.plane,
        image_type=settings.image_type,
        threshold=settings.threshold,
        keep_raw=ResultFormat.RAW in formats,
        keep_routing=ResultFormat.ROUTING in formats,
        on_slices=on_slices,
        batch_size=settings.batch_size,
        min_volume_ml=settings.min_volume_ml,
        every_slice=settings.every_slice,
    )
    _tell("scored", started, findings=len(anomaly.findings), engine=detector.engine.name)
    started = time.perf_counter()
    written = write_results(anomaly, folder, formats, settings.dicom, replaces=replaces)
    _tell("written", started, formats=sorted(written.files))
    return SeriesResult(anomaly, written.files, refused | written.failed, written.header_notes)


def _tell(what: str, started: float, **facts: object) -> None:
    """Log what was done with a series and how long it took; no fact may identify a patient."""
    seconds = round(time.perf_counter() - started, 3)
    listed = ", ".join(f"{name} {value}" for name, value in facts.items())
    _log.info("series %s in %.1f s: %s", what, seconds, listed, extra={"facts": {"seconds": seconds, **facts}})
