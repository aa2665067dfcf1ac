"""What has to be said beside every result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms import slice_views

from moeclip_med.results.formats import DicomOptions, ResultFormat, SegmentationKind
from moeclip_med.scoring.scored_plane import was_replaned

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from moeclip_med.scoring.anomaly import AnomalyVolume

RESEARCH_USE = "Research use only. Not a medical device."

UNCALIBRATED = "The threshold is uncalibrated"
"""How the note on a threshold that is no measured operating point begins."""
_NOTHING_TO_MARK = {
    ResultFormat.SEG: "No DICOM segmentation was written: there is no finding to be a segment.",
    ResultFormat.RTSTRUCT: "No RT Structure Set was written: there is no finding to be a region of interest.",
}
_SCORES_NOT_PROBABILITIES = (
    "The fractional DICOM segmentation holds anomaly scores where DICOM has only the word PROBABILITY: they rank "
    "voxels, and no share of them is known to be diseased."
)
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
_SOME_SLICES = (
    "{scored} of {total} slices were scored: they lie close together, and the map between them was interpolated "
    '(the filter along the slices has a standard deviation of {sigma:.2g} mm); --every-slice (napari: "Score every '
    'slice") scores each.'
)

_FRAMES_LEFT_OUT = (
    "The DICOM segmentation omits frames without a finding, since all of them would fill more than 128 MiB; "
    "some viewers show such a segmentation only in part."
)

MOST_SEGMENT_BYTES = 128 * 2**20
"""A segmentation with a frame for every segment and slice may be this large; a larger one holds no empty frames."""

_ON_A_GRID = frozenset({ResultFormat.NIFTI, ResultFormat.RAW, ResultFormat.ROUTING})


def keeps_empty_frames(anomaly: AnomalyVolume, kind: SegmentationKind = SegmentationKind.BINARY) -> bool:
    """Return whether a DICOM segmentation has a frame for every finding and slice, or only filled ones.

    A label map has one frame a slice, whatever the number of findings.
    """
    if kind is SegmentationKind.LABELMAP:
        return True
    bits = 8 if kind is SegmentationKind.FRACTIONAL else 1
    return len(anomaly.findings) * anomaly.scores.size * bits / 8 <= MOST_SEGMENT_BYTES


def _uncalibrated(anomaly: AnomalyVolume) -> str:
    return (
        f"{UNCALIBRATED} ({anomaly.record.settings.threshold_source}): calibrate the model on healthy "
        "cases of your own before relying on findings."
    )


def _some_slices(anomaly: AnomalyVolume) -> str:
    outcome, sigma = anomaly.record.outcome, anomaly.record.settings.through_plane_mm
    return _SOME_SLICES.format(scored=outcome.slices_scored, total=outcome.slices_total, sigma=sigma)


def _too_small(count: int, smallest_ml: float | None) -> str:
    if smallest_ml is None:
        return f"Regions above the threshold excluded as too small: {count}."
    return (
        f"Regions above the threshold excluded as too small (less than {smallest_ml:.2g} ml reach it): {count}; "
        "--min-volume lists smaller ones."
    )


def result_notes(
    anomaly: AnomalyVolume, formats: Collection[str] = (), options: DicomOptions | None = None
) -> tuple[str, ...]:
    """Everything a reader of the results has to know, one sentence each.

    Args:
        anomaly: The scored volume.
        formats: The formats that are written: some of them have a caveat of their own.
        options: What the user chose about DICOM results; the defaults if None.

    Returns:
        The reader's notes about the input first, then those about scores and files.
    """
    wanted = frozenset(formats)
    return (
        *anomaly.volume.notes,
        *anomaly.record.settings.window.notes,
        *_scoring_notes(anomaly),
        *_file_notes(anomaly, wanted),
        *_finding_notes(anomaly, wanted, options or DicomOptions()),
    )


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
        notes.append(_too_small(outcome.regions_too_small, anomaly.record.settings.smallest_finding_ml))
    if anomaly.scored is None and outcome.slices_scored < outcome.slices_total:
        notes.append(_some_slices(anomaly))
    if anomaly.scored is not None:
        share = float(np.mean(anomaly.scored))
        notes.append(f"Scoring was stopped early: {share:.0%} of the voxels have a score, the others are 0.")
    return notes


def _file_notes(anomaly: AnomalyVolume, formats: frozenset[str]) -> list[str]:
    """What has to be said about the files that are written."""
    notes = []
    if not anomaly.volume.has_orientation:
        notes.append(_NO_ORIENTATION if anomaly.volume.has_spacing else _NO_SPACING)
    if not anomaly.volume.is_regular and _ON_A_GRID & formats:
        notes.append(_RESAMPLED)
    return notes


def _finding_notes(anomaly: AnomalyVolume, formats: frozenset[str], options: DicomOptions) -> Iterator[str]:
    """Say what the objects that mark findings cannot show."""
    if not anomaly.findings:
        yield from (note for fmt, note in _NOTHING_TO_MARK.items() if fmt in formats)
    elif ResultFormat.SEG in formats:
        if options.segmentation is SegmentationKind.FRACTIONAL:
            yield _SCORES_NOT_PROBABILITIES
        if not keeps_empty_frames(anomaly, options.segmentation):
            yield _FRAMES_LEFT_OUT
