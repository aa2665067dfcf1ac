"""The DICOM results of one volume, written from one reading of the source headers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError
from moeclip_transforms.library_warnings import quietly

from moeclip_med.results.attempts import attempt, unexpected
from moeclip_med.results.dicom.identity import make_identity
from moeclip_med.results.dicom.objects import OBJECTS
from moeclip_med.results.dicom.parametric_map import make_parametric_map
from moeclip_med.results.dicom.refusal import UncitableError, refusals
from moeclip_med.results.dicom.report_document import make_report_document
from moeclip_med.results.dicom.secondary_capture import make_secondary_captures
from moeclip_med.results.dicom.segmentation import make_segmentation
from moeclip_med.results.dicom.sources import load_sources
from moeclip_med.results.dicom.structure_set import make_structure_set
from moeclip_med.results.formats import AS_FOUND_NAMES, RESULT_NAMES, ResultFormat
from moeclip_med.scoring.review import Site, as_found, put_site

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from highdicom.seg import Segmentation
    from highdicom.sr import Comprehensive3DSR
    from moeclip_transforms import Volume

    from moeclip_med.results.dicom.identity import Identity
    from moeclip_med.results.dicom.sources import Sources
    from moeclip_med.results.formats import DicomOptions
    from moeclip_med.scoring.anomaly import AnomalyVolume


@dataclass(frozen=True)
class DicomOutcome:
    """What became of the DICOM results.

    Attributes:
        failed: The formats that could not be written, each with the reason in one sentence.
        notes: What was corrected in or excluded from the source's header, one sentence each.
    """

    failed: dict[ResultFormat, str]
    notes: tuple[str, ...] = ()


def write_dicom(
    anomaly: AnomalyVolume, folder: Path, formats: Collection[ResultFormat], options: DicomOptions
) -> DicomOutcome:
    """Write DICOM results into a folder; one that fails costs itself and no other.

    Args:
        anomaly: A scored volume that was read from DICOM.
        folder: An existing folder.
        formats: DICOM formats; `seg` and `rtstruct` ask for at least one finding.
        options: The user's choices.

    Returns:
        What failed, and what there is to say about the source's header.

    Raises:
        OSError: Where the folder cannot be written.
    """
    failed = refusals(anomaly.volume, formats)
    wanted = [fmt for fmt in ResultFormat if fmt in formats and fmt not in failed]
    if not wanted:
        return DicomOutcome(failed)
    try:
        with quietly():
            sources = load_sources(anomaly.volume)
    except UncitableError as error:
        return DicomOutcome(failed | dict.fromkeys(wanted, str(error)))
    except Exception as error:  # noqa: BLE001 - headers come from strangers
        return DicomOutcome(failed | {fmt: unexpected(f"DICOM {OBJECTS[fmt].name}", error) for fmt in wanted})
    writer = _Writer(anomaly, sources, make_identity(anomaly), options)
    for fmt in wanted:
        reason = attempt(partial(writer.write, fmt), folder / RESULT_NAMES[fmt], f"DICOM {OBJECTS[fmt].name}")
        if reason:
            failed[fmt] = reason
    return DicomOutcome(failed, sources.notes)


def header_notes(volume: Volume) -> tuple[str, ...]:
    """Return what DICOM results of a volume hold otherwise than its header; nothing where none can be written."""
    try:
        with quietly():
            return load_sources(volume).notes
    except UncitableError:
        return ()


@dataclass
class _Writer:
    """Writes the formats of one volume; the segmentation is kept, since the report cites it."""

    anomaly: AnomalyVolume
    sources: Sources
    identity: Identity
    options: DicomOptions
    segmentation: Segmentation | None = None

    def write(self, fmt: ResultFormat, path: Path) -> None:
        parts = (self.anomaly, self.sources, self.identity)
        if fmt is ResultFormat.SEG:
            segmentation = make_segmentation(*parts, self.options)
            segmentation.save_as(path)
            self.segmentation = segmentation
        elif fmt is ResultFormat.PM:
            make_parametric_map(*parts).save_as(path)
        elif fmt is ResultFormat.SR:
            if self.anomaly.findings and self.segmentation is None:
                raise InputError(
                    "The structured report cites the segments of the Segmentation, which could not be written."
                )
            first = self._write_as_found(path.parent) if self.anomaly.is_reviewed else None
            make_report_document(*parts, self.segmentation, first).save_as(path)
        elif fmt is ResultFormat.RTSTRUCT:
            make_structure_set(*parts).save_as(path)
        else:
            path.mkdir()
            for number, capture in enumerate(make_secondary_captures(*parts), start=1):
                capture.save_as(path / f"{number:04d}.dcm")

    def _write_as_found(self, folder: Path) -> Comprehensive3DSR:
        """Write the report before the review, and its segments; the same objects as an unreviewed run gives."""
        found, site = as_found(self.anomaly), self.options.finding_site
        if site is not None:
            found = put_site(found, Site(site.meaning, site.value, site.scheme))
        parts = (found, self.sources, make_identity(found))
        segmentation = make_segmentation(*parts, self.options) if found.findings else None
        if segmentation is not None:
            segmentation.save_as(folder / AS_FOUND_NAMES[ResultFormat.SEG])
        document = make_report_document(*parts, segmentation)
        document.save_as(folder / AS_FOUND_NAMES[ResultFormat.SR])
        return document
