"""What has to be said beside every result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms import slice_views

from moeclip_med.results.formats import ResultFormat
from moeclip_med.scoring.planes import was_replaned

if TYPE_CHECKING:
    from collections.abc import Collection

    from moeclip_med.scoring.anomaly import AnomalyVolume

RESEARCH_USE = "Research use only. Not a medical device."

UNCALIBRATED = "The threshold is uncalibrated"
"""How the note on a threshold that is no measured operating point begins."""
_NO_SEGMENT = "No DICOM segmentation was written: there is no finding, and a DICOM SEG needs at least one segment."
_RESAMPLED = (
    "The slices do not lie on one regular grid (tilted gantry or uneven gaps): NIfTI results were resampled "
    "to an orthogonal grid, so their shape differs from the series; DICOM results keep the acquired slices."
)
_NO_ORIENTATION = "The image holds no patient orientation, so results carry no R, L, A or P; places are in voxels."
_NO_SPACING = "The image holds no patient orientation, so results are in pixels and carry no R, L, A or P."
_REPLANED = (
    "The slices were acquired in the {acquired} plane and scored in {scored} slices, which hold both sides of the "
    "body; --plane {acquired} scores them as acquired."
)

_FRAMES_LEFT_OUT = (
    "The DICOM segmentation leaves out frames without a finding, since all of them would fill more than 128 MiB; "
    "some viewers show such a segmentation only in part."
)

MOST_SEGMENT_BYTES = 128 * 2**20
"""A segmentation with a frame for every segment and slice may be this large; a larger one holds no empty frames."""

_ON_A_GRID = frozenset({ResultFormat.NIFTI, ResultFormat.RAW, ResultFormat.ROUTING})


def keeps_empty_frames(anomaly: AnomalyVolume) -> bool:
    """Whether a DICOM segmentation has a frame for every finding and slice, one bit a pixel, or only filled ones."""
    return len(anomaly.findings) * anomaly.scores.size / 8 <= MOST_SEGMENT_BYTES


def _uncalibrated(anomaly: AnomalyVolume) -> str:
    return (
        f"{UNCALIBRATED} ({anomaly.record.settings.threshold_source}): calibrate the model on healthy "
        "cases of your own before relying on findings."
    )


def result_notes(anomaly: AnomalyVolume, formats: Collection[ResultFormat] = ()) -> tuple[str, ...]:
    """Everything a reader of the results has to know, one sentence each.

    Args:
        anomaly: The scored volume.
        formats: The formats that are written: some of them have a caveat of their own.

    Returns:
        The reader's notes about the input first, then those about scores and files.
    """
    window = anomaly.record.settings.window
    return (*anomaly.volume.notes, *window.notes, *_scoring_notes(anomaly), *_file_notes(anomaly, frozenset(formats)))


def _scoring_notes(anomaly: AnomalyVolume) -> list[str]:
    """What has to be said about scores and findings."""
    notes = []
    if not anomaly.is_calibrated:
        notes.append(_uncalibrated(anomaly))
    engine, outcome = anomaly.record.engine, anomaly.record.outcome
    if engine.is_fallback:
        notes.append(engine.fallback_reason)
    if was_replaned(anomaly):
        notes.append(_REPLANED.format(acquired=slice_views(anomaly.volume)[0].plane, scored=" + ".join(anomaly.planes)))
    if outcome.weak_kind_warning:
        notes.append(outcome.weak_kind_warning)
    if outcome.regions_too_small:
        notes.append(f"Regions above the threshold left out as too small: {outcome.regions_too_small}.")
    if anomaly.scored is not None:
        share = float(np.mean(anomaly.scored))
        notes.append(f"Scoring was stopped early: {share:.0%} of the voxels have a score, the others are 0.")
    return notes


def _file_notes(anomaly: AnomalyVolume, formats: frozenset[ResultFormat]) -> list[str]:
    """What has to be said about the files that are written."""
    notes = []
    if not anomaly.volume.has_orientation:
        notes.append(_NO_ORIENTATION if anomaly.volume.has_spacing else _NO_SPACING)
    if not anomaly.volume.is_regular and _ON_A_GRID & formats:
        notes.append(_RESAMPLED)
    if ResultFormat.SEG in formats and not anomaly.findings:
        notes.append(_NO_SEGMENT)
    if ResultFormat.SEG in formats and not keeps_empty_frames(anomaly):
        notes.append(_FRAMES_LEFT_OUT)
    return notes
