"""Score a volume slice by slice, in batches, in any order, with the result on the volume's own grid.

The slices stream through the network: beside the volume itself only one more array of its size is held, the anomaly
scores (and another where planes are fused or the raw map is kept), so memory does not grow with the number of slices
in flight or of token maps.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from moeclip_transforms import ImageType, Plane, Volume, fit_window, foreground_box, slice_views
from moeclip_transforms.errors import InputError
from moeclip_transforms.hounsfield import looks_like_ct
from moeclip_transforms.intensity import CT_WINDOWS, finite_range
from moeclip_transforms.volume import FileFormat

from moeclip_med.engines.forked import refuse_forked_process
from moeclip_med.scoring.anomaly import AnomalyVolume
from moeclip_med.scoring.findings import find_findings, smallest_volume
from moeclip_med.scoring.record import USER_THRESHOLD, OutcomeRecord, SettingsRecord, make_record
from moeclip_med.scoring.scored_plane import plane_to_score
from moeclip_med.scoring.through_plane import (
    SIGMA_MM,
    FilteredSlice,
    ThroughPlaneFilter,
    sigma_for,
    slice_positions,
    slices_to_score,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from moeclip_transforms import SliceView, Window
    from numpy.typing import NDArray
    from torch import Tensor

    from moeclip_med.scoring.detector import Detector


@dataclass(frozen=True)
class SliceScores:
    """What is known after one batch: handed to `on_slices` for progress bars and live overlays.

    Attributes:
        view: The plane being scored.
        indices: The slices whose scores are new, as indices of the view: first those that are provisional, since
            neighbours that count are still to come, then those that are final for this plane. A slice that the
            network does not see has the provisional scores of the nearest one that it sees.
        n_provisional: How many of them are provisional.
        scores: (slice, rows, columns) float32, 0 to 1, in the view's orientation; where planes are fused, the fused
            scores so far.
        done: Slices that the network has seen so far, all planes counted.
        total: Slices that it has to see, all planes counted.
    """

    view: SliceView
    indices: tuple[int, ...]
    n_provisional: int
    scores: NDArray[np.float32]
    done: int
    total: int


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
    run = _ScoringRun(
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
            ),
            OutcomeRecord(
                slices_scored=run.done,
                slices_total=sum(view.n_slices for view in run.views),
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


class _ScoringRun:
    """The state of scoring one volume: its scores so far and what they are made of."""

    def __init__(  # noqa: PLR0913 - the choices of `score_volume`
        self,
        volume: Volume,
        detector: Detector,
        plane: Plane,
        image_type: ImageType,
        scores: NDArray[np.float32],
        *,
        keep_raw: bool,
        keep_routing: bool,
        through_plane_mm: float,
        every_slice: bool,
    ) -> None:
        self.views: tuple[SliceView, ...] = slice_views(volume, plane_to_score(volume, plane))
        self.image_type = image_type
        self.window: Window = fit_window(volume, image_type)
        self.scores = scores
        needs_raw = keep_raw or len(self.views) > 1  # a fused score is that of the mean map, not the mean of scores
        self.raw: NDArray[np.float32] | None = np.zeros(volume.shape, dtype=np.float32) if needs_raw else None
        self.routing: NDArray[np.uint8] | None = None
        self.done = 0
        self._sigmas = [sigma_for(volume, view, through_plane_mm) for view in self.views]
        self._positions = [slice_positions(volume, view) for view in self.views]
        self._to_score = [
            slices_to_score(positions, 0.0 if every_slice else sigma)
            for positions, sigma in zip(self._positions, self._sigmas, strict=True)
        ]
        self.total = sum(len(chosen) for chosen in self._to_score)
        self._volume = volume
        self._detector = detector
        self._keep_routing = keep_routing
        self._first_view_done: list[int] = []

    def score_all(
        self,
        order: Iterable[int],
        on_slices: Callable[[SliceScores], None],
        should_stop: Callable[[], bool],
        batch_size: int,
    ) -> None:
        """Score every view, batch by batch, until done or told to stop."""
        for views_before, view in enumerate(self.views):
            box = foreground_box(self._volume, view, self.window) if self._detector.crops_foreground else None
            to_score = self._to_score[views_before]
            along = ThroughPlaneFilter(self._positions[views_before], self._sigmas[views_before], to_score)
            wanted = (index for index in order if 0 <= index < view.n_slices) if views_before == 0 else ()
            batches = _batches((along.scored_for(index) for index in wanted), to_score, batch_size)
            for indices, slices in self._prepared(view, batches):
                if should_stop():
                    self._put(view, along.flush(), views_before)
                    return
                maps = self._detector.map_slices(slices, box, want_routing=self._keep_routing and views_before == 0)
                self.done += len(indices)
                if views_before == 0:
                    self._first_view_done.extend(other for index in indices for other in along.stood_for(index))
                    if maps.routing is not None:
                        self._keep_experts(view, indices, maps.routing.numpy(), along)
                new: NDArray[np.float32] = maps.raw.numpy()
                if not np.isfinite(new).all():
                    raise InputError(
                        "The model's map of this image holds NaN or infinity: its weights are damaged, or the "
                        "precision is too low for them; try --precision f32, or another model."
                    )
                final = along.add(indices, new)
                known = {one.index for one in final}
                waiting = [
                    FilteredSlice(other, raw)
                    for index, raw in zip(indices, new, strict=True)
                    for other in along.stood_for(index)
                    if other not in known
                ]
                scores = [
                    self._put(view, waiting, views_before, is_final=False),
                    self._put(view, final, views_before),
                ]
                changed = tuple(one.index for one in (*waiting, *final))
                on_slices(SliceScores(view, changed, len(waiting), np.concatenate(scores), self.done, self.total))

    @property
    def through_plane_mm(self) -> float:
        """The standard deviation of the filter along the slices, mm; 0 where no view was filtered."""
        return max(self._sigmas)

    def scored_voxels(self) -> NDArray[np.bool_] | None:
        """Return (x, y, z) True where a score was computed; None when everywhere."""
        view = self.views[0]
        if len(self._first_view_done) == view.n_slices:
            return None
        scored = np.zeros(self._volume.shape, dtype=bool)
        indices = tuple(self._first_view_done)
        view.put(np.ones((len(indices), view.rows, view.columns), dtype=bool), indices, into=scored)
        return scored

    def _prepared(
        self, view: SliceView, batches: Sequence[tuple[int, ...]]
    ) -> Iterator[tuple[tuple[int, ...], Tensor]]:
        """Cut and window the next batch while the network works on this one."""
        image = self._volume.tensor

        def prepare(indices: tuple[int, ...]) -> Tensor:
            return torch.as_tensor(self.window.apply(view.take(image, indices)))

        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prepare-slices") as pool:
            upcoming = pool.submit(prepare, batches[0])
            for indices, following in zip(batches, [*batches[1:], None], strict=True):
                slices = upcoming.result()
                if following is not None:
                    upcoming = pool.submit(prepare, following)
                yield indices, slices

    def _put(
        self, view: SliceView, slices: Sequence[FilteredSlice], views_before: int, *, is_final: bool = True
    ) -> NDArray[np.float32]:
        """Put scores in their place, and final raw maps where they are kept; return the scores."""
        indices = tuple(one.index for one in slices)
        raw = self._fused(view, slices, views_before)
        if is_final and self.raw is not None:
            view.put(raw, indices, into=self.raw)
        scores = self._detector.metadata.score_scale.score(raw)
        view.put(scores, indices, into=self.scores)
        return scores

    def _fused(self, view: SliceView, slices: Sequence[FilteredSlice], views_before: int) -> NDArray[np.float32]:
        """The mean with the views that reached these slices before, (slice, rows, columns)."""
        if not slices:
            return np.zeros((0, view.rows, view.columns), dtype=np.float32)
        raw = np.stack([one.raw for one in slices])
        if views_before and self.raw is not None:
            before = view.take(self.raw[None], tuple(one.index for one in slices))[:, 0]
            raw = (before * np.float32(views_before) + raw) / np.float32(views_before + 1)
        return raw

    def _keep_experts(
        self, view: SliceView, indices: tuple[int, ...], experts: NDArray[np.uint8], along: ThroughPlaneFilter
    ) -> None:
        """Keep the experts of slices, also for those that each stands for."""
        levels = experts.shape[1]
        if self.routing is None:
            self.routing = np.zeros((levels, *self._volume.shape), dtype=np.uint8)
        for index, own in zip(indices, experts, strict=True):
            for other in along.stood_for(index):
                for level in range(levels):
                    view.put(own[level][None], (other,), into=self.routing[level])


def _batches(first: Iterable[int], all_slices: Iterable[int], batch_size: int) -> list[tuple[int, ...]]:
    """Cut slices into batches, the named ones first and each once."""
    order = list(dict.fromkeys([*first, *(int(index) for index in all_slices)]))
    return [tuple(order[start : start + batch_size]) for start in range(0, len(order), batch_size)]
