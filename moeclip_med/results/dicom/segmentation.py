"""DICOM Segmentation (PS3.3, A.51): one segment per finding, on the source frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription

from moeclip_med.results.dicom.common import (
    ABNORMAL_STRUCTURE,
    algorithm,
    coded_site,
    finish,
    series_arguments,
    to_frames,
)
from moeclip_med.results.formats import ResultFormat, SegmentationKind
from moeclip_med.results.notes import keeps_empty_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeclip_med.results.dicom.identity import Identity
    from moeclip_med.results.dicom.sources import Sources
    from moeclip_med.results.formats import DicomOptions
    from moeclip_med.scoring.anomaly import AnomalyVolume, Finding

_FULL = 255
"""Maximum Fractional Value: the stored value that stands for a score of 1."""


def make_segmentation(
    anomaly: AnomalyVolume, sources: Sources, identity: Identity, options: DicomOptions
) -> Segmentation:
    """Make a Segmentation of the findings.

    Segment numbers are the ranks of the findings. Empty frames are kept, since some viewers show a segmentation only
    when it covers the whole series, unless that would be very large (`keeps_empty_frames`).

    Args:
        anomaly: A scored DICOM volume with at least one finding.
        sources: What it was made from.
        identity: Who made it.
        options: Which kind of segmentation.

    Returns:
        The object, ready to be saved. A fractional one holds the anomaly score inside each finding; scores are no
        calibrated probabilities, and the description of the content says so.
    """
    kind = options.segmentation
    result = segmentation_result(kind)
    is_fractional = kind is SegmentationKind.FRACTIONAL
    segmentation = Segmentation(
        source_images=sources.placeholders,
        pixel_array=to_frames(_ranks(anomaly)),
        segmentation_type=SegmentationTypeValues[kind.name],
        segment_descriptions=[_description(finding, identity) for finding in anomaly.findings],
        sop_instance_uid=identity.instance_uid(result),
        instance_number=1,
        content_label="ANOMALY",
        content_description=f"{'Scores, no probabilities' if is_fractional else 'Anomaly findings'}, research use only",
        omit_empty_frames=not keeps_empty_frames(anomaly, kind),
        max_fractional_value=_FULL,
        **series_arguments(identity, ResultFormat.SEG, result),
    )
    if is_fractional:
        _put_scores(segmentation, anomaly, sources)
    finish(segmentation, identity, result, sources)
    return segmentation


def segmentation_result(kind: SegmentationKind) -> str:
    """Return what identifiers of a segmentation are made from: each kind is a series of its own."""
    return ResultFormat.SEG.value if kind is SegmentationKind.BINARY else f"{ResultFormat.SEG.value} {kind.value}"


def tracking_id(finding: Finding) -> str:
    """Return what a finding is called in every object."""
    return f"Finding {finding.rank}"


def how_outlined(finding: Finding) -> str:
    """Return how a finding's outline came about, as DICOM says it (Segment Algorithm Type, C.8.20.2)."""
    if finding.review is None or not finding.review.is_edited:
        return "AUTOMATIC"
    return "MANUAL" if finding.review.is_drawn else "SEMIAUTOMATIC"


def _ranks(anomaly: AnomalyVolume) -> NDArray[np.uint16]:
    """(x, y, z) uint16: the rank of the finding at each voxel, 0 elsewhere."""
    rank_of_label = np.zeros(int(anomaly.labels.max()) + 1, dtype=np.uint16)
    for finding in anomaly.findings:
        rank_of_label[finding.label] = finding.rank
    ranks: NDArray[np.uint16] = rank_of_label[anomaly.labels]
    return ranks


def _put_scores(segmentation: Segmentation, anomaly: AnomalyVolume, sources: Sources) -> None:
    """Put scores in place of "inside" in every frame, at least 1: highdicom would need all segments in memory."""
    rows, columns = segmentation.Rows, segmentation.Columns
    size = rows * columns
    frames = np.frombuffer(segmentation.PixelData, dtype=np.uint8)[: segmentation.NumberOfFrames * size]
    frames = frames.reshape(-1, rows, columns).copy()
    for frame, groups in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        cited = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        scores = anomaly.scores[:, :, sources.slice_of_stand_in[str(cited)]].T
        frame[...] = np.where(frame > 0, np.clip(np.round(scores * _FULL), 1, _FULL), 0)
    segmentation.PixelData = frames.tobytes() + b"\0" * (frames.size % 2)


def _description(finding: Finding, identity: Identity) -> SegmentDescription:
    site = coded_site(finding)
    algorithm_type = SegmentAlgorithmTypeValues[how_outlined(finding)]
    is_manual = algorithm_type is SegmentAlgorithmTypeValues.MANUAL
    return SegmentDescription(
        segment_number=finding.rank,
        segment_label=tracking_id(finding),
        segmented_property_category=ABNORMAL_STRUCTURE,
        segmented_property_type=ABNORMAL_STRUCTURE,
        algorithm_type=algorithm_type,
        algorithm_identification=None if is_manual else algorithm(identity),
        tracking_uid=identity.tracking_uid(tracking_id(finding)),
        tracking_id=tracking_id(finding),
        anatomic_regions=None if site is None else [site],
    )
