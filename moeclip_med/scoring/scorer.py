"""Score a volume slice by slice, in batches, in any order, with the result on the volume's own grid.

The slices stream through the network: beside the volume itself only one more array of its size is held, the anomaly
scores (and another where planes are fused or the raw map is kept), so memory does not grow with the number of slices
in flight or of token maps.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from moeclip_transforms import ImageType, Plane, Volume
from moeclip_transforms.errors import InputError
from moeclip_transforms.hounsfield import looks_like_ct
from moeclip_transforms.intensity import CT_WINDOWS, finite_range
from moeclip_transforms.volume import FileFormat

from moeclip_med.engines.forked import refuse_forked_process
from moeclip_med.scoring.anomaly import AnomalyVolume
from moeclip_med.scoring.findings import find_findings, smallest_volume
from moeclip_med.scoring.record import USER_THRESHOLD, OutcomeRecord, SettingsRecord, make_record
from moeclip_med.scoring.slice_scoring import SliceScores, SliceScoring
from moeclip_med.scoring.through_plane import SIGMA_MM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from moeclip_med.scoring.detector import Detector


class ResultArrays(NamedTuple):
    """Arrays on the volume's grid that a caller wants the result in, in shared memory for example.

    Attributes:
        scores: (x, y, z) float32 of zeros.
        labels: (x, y, z) uint16.
    """

    scores: NDArray[np.float32]
    labels: NDArray[np.uint16]


def score_volume(  # noqa: PLR0913 - each is one independent choice of the user
    volume: Volume,
    detector: Detector,
    *,
    plane: Plane | str = Plane.AUTO,
    image_type: ImageType | str | None = None,
    threshold: float | None = None,
    keep_raw: bool = False,
    keep_routing: bool = False,
    order: Iterable[int] | None = None,
    on_slices: Callable[[SliceScores], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    batch_size: int | None = None,
    into: ResultArrays | None = None,
    run_id: str | None = None,
    through_plane_mm: float = SIGMA_MM,
    every_slice: bool = False,
    min_volume_ml: float | None = None,
) -> AnomalyVolume:
    """Score a volume.

    Args:
        volume: The volume, as read.
        detector: The model, ready to run.
        plane: The plane to cut slices along (`plane_to_score` says what AUTO is); `Plane.ALL` scores three and
            averages their maps.
        image_type: The image type, which decides the intensity window; from the header if None.
        threshold: The score that a finding reaches; the model's own if None.
        keep_raw: Keep the network's unbounded map as well.
        keep_routing: Keep which expert each patch took (of the first plane scored).
        order: Slice indices in the order to score them (the slice on screen first), or the nearest ones that the
            network sees; others follow. From the first to the last if None. Applies to the first plane.
        on_slices: Called after each batch.
        should_stop: Asked before each batch; True ends the run and keeps what was scored.
        batch_size: Slices per batch; what suits the engine if None.
        into: Arrays to hold the result, its scores filled batch by batch; new ones if None.
        run_id: The run's identifier, where the caller made one; a new one if None.
        through_plane_mm: Standard deviation of the Gaussian along the slice axis, mm (`through_plane`); 0 for none.
        every_slice: Let the network see each slice, also where they lie so close together that some are enough for
            the Gaussian (`slices_to_score`).
        min_volume_ml: Regions of which less reaches the threshold are not listed; `smallest_volume` says what None is.

    Returns:
        Scores on the volume's own grid, and findings. The same for every batch size and order.

    Raises:
        TypeError: The volume is none, but an array or a path; the detector is none, but a name.
        RuntimeError: This process was forked after a model had been loaded.
        InputError: The plane does not exist for this volume, a number lies outside what it may be, or the model's map
            is not finite.
    """
    started = time.perf_counter()
    _check(volume, detector, threshold, batch_size, through_plane_mm, min_volume_ml)
    plane = Plane(plane)
    image_type = None if image_type is None else ImageType(image_type)
    scores = np.zeros(volume.shape, dtype=np.float32) if into is None else into.scores
    run = SliceScoring(
        volume,
        detector,
        plane,
        image_type or volume.series.image_type,
        scores,
        keep_raw=keep_raw,
        keep_routing=keep_routing,
        through_plane_mm=through_plane_mm,
        every_slice=every_slice,
    )
    run.score_all(
        order=() if order is None else order,
        on_slices=on_slices or (lambda _: None),
        should_stop=should_stop or (lambda: False),
        batch_size=batch_size or detector.engine.batch_size,
    )
    if not keep_raw:
        run.raw = None
    if volume.padding_mask is not None:
        scores[volume.padding_mask] = 0.0
    own = detector.metadata.threshold_for(run.views[0].n_slices if volume.has_orientation else 1)
    limit = own.value if threshold is None else threshold
    result = find_findings(
        scores, volume, limit, into=None if into is None else into.labels, min_volume_ml=min_volume_ml
    )
    return AnomalyVolume(
        volume=volume,
        scores=scores,
        labels=result.labels,
        findings=result.findings,
        record=make_record(
            volume,
            detector,
            SettingsRecord(
                kind=run.image_type,
                window=run.window,
                planes=tuple(view.plane for view in run.views),
                asked_plane=plane,
                threshold=limit,
                threshold_source=own.source if threshold is None else USER_THRESHOLD,
                is_calibrated=own.is_calibrated,
                through_plane_mm=run.through_plane_mm,
                smallest_finding_ml=smallest_volume(volume, min_volume_ml) if volume.has_spacing else None,
                every_slice=every_slice,
            ),
            OutcomeRecord(
                slices_scored=run.done,
                slices_total=sum(view.n_slices for view in run.views),
                slices_needed=run.total,
                regions_too_small=result.too_small,
                weak_kind_warning=_weakness(volume, detector, image_type),
                seconds=time.perf_counter() - started,
            ),
            run_id=run_id,
        ),
        raw=run.raw,
        routing=run.routing,
        scored=run.scored_voxels(),
    )


def _check(
    volume: object,
    detector: object,
    threshold: float | None,
    batch_size: int | None,
    through_plane_mm: float,
    min_volume_ml: float | None,
) -> None:
    """Refuse what cannot be scored, and numbers that would be taken without a word."""
    refuse_forked_process()
    if not isinstance(volume, Volume):
        raise TypeError(
            f"score_volume takes a Volume, not {type(volume).__name__}: read_volume reads files, "
            "Volume.from_array takes arrays, tensors and SimpleITK images."
        )
    if isinstance(detector, str):
        raise TypeError(f'score_volume takes a Detector, not the name "{detector}": load_detector loads it.')
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise InputError(f"The threshold is {threshold:g}; expected a score from 0 to 1.")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"The batch size is {batch_size}; expected 1 or more.")
    for name, number in (("through_plane_mm", through_plane_mm), ("min_volume_ml", min_volume_ml)):
        if number is not None and not 0.0 <= number < math.inf:
            raise InputError(f"{name} is {number:g}; expected 0 or more.")


def _weakness(volume: Volume, detector: Detector, asked: ImageType | None) -> str:
    """Say that the model is weak on this image type, or that a CT was taken for MR since its file does not tell."""
    weak = detector.metadata.weak_kinds
    image_type = asked or volume.series.image_type
    if asked is not None or image_type is not ImageType.MR or volume.series.format is FileFormat.DICOM:
        return weak.get(image_type.value, "")
    lowest, _ = finite_range(volume.array)
    if not looks_like_ct(lowest):
        return weak.get(image_type.value, "")
    choices = '", "'.join(CT_WINDOWS)
    sentence = (
        f"The lowest value is {lowest:g}, as in CT; the file does not tell the modality, so this is taken for MR: "
        f'choose one of the presets "{choices}" if it is a CT.'
    )
    return " ".join((sentence, *(weak[name] for name in CT_WINDOWS if name in weak)))
