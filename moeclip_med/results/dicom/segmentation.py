"""DICOM Segmentation (PS3.3, A.51): one binary segment per finding, on the source frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription

from moeclip_med.results.dicom.common import ABNORMAL_STRUCTURE, algorithm, finish, series_arguments, to_frames
from moeclip_med.results.formats import ResultFormat
from moeclip_med.results.notes import keeps_empty_frames

if TYPE_CHECKING:
    from moeclip_med.results.dicom.identity import Identity
    from moeclip_med.results.dicom.sources import Sources
    from moeclip_med.scoring.anomaly import AnomalyVolume, Finding


def make_segmentation(anomaly: AnomalyVolume, sources: Sources, identity: Identity) -> Segmentation:
    """The findings as a Segmentation.

    Segment numbers are the ranks of the findings. Empty frames are kept, since some viewers show a segmentation only
    when it covers the whole series, unless that would be very large (`keeps_empty_frames`).

    Args:
        anomaly: A scored DICOM volume with at least one finding.
        sources: Its source headers.
        identity: Who made it.

    Returns:
        The object, ready to be saved.
    """
    segmentation = Segmentation(
        source_images=sources.datasets,
        pixel_array=to_frames(_ranks(anomaly)),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(finding, identity) for finding in anomaly.findings],
        sop_instance_uid=identity.instance_uid(ResultFormat.SEG),
        instance_number=1,
        content_label="ANOMALY",
        content_description="Anomaly findings, research use only",
        omit_empty_frames=not keeps_empty_frames(anomaly),
        **series_arguments(identity, ResultFormat.SEG),
    )
    finish(segmentation, identity, ResultFormat.SEG, sources)
    return segmentation


def tracking_id(finding: Finding) -> str:
    """What a finding is called in every object."""
    return f"Finding {finding.rank}"


def _ranks(anomaly: AnomalyVolume) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    """(x, y, z) uint16: the rank of the finding at each voxel, 0 elsewhere."""
    rank_of_label = np.zeros(int(anomaly.labels.max()) + 1, dtype=np.uint16)
    for finding in anomaly.findings:
        rank_of_label[finding.label] = finding.rank
    return rank_of_label[anomaly.labels]


def _description(finding: Finding, identity: Identity) -> SegmentDescription:
    return SegmentDescription(
        segment_number=finding.rank,
        segment_label=tracking_id(finding),
        segmented_property_category=ABNORMAL_STRUCTURE,
        segmented_property_type=ABNORMAL_STRUCTURE,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm(identity),
        tracking_uid=identity.tracking_uid(tracking_id(finding)),
        tracking_id=tracking_id(finding),
    )
