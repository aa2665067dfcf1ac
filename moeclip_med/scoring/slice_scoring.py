"""Run the slices of a volume through the network, batch by batch, and put their scores in place."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from moeclip_transforms import fit_window, foreground_box, slice_views
from moeclip_transforms.errors import InputError

from moeclip_med.scoring.scored_plane import plane_to_score
from moeclip_med.scoring.through_plane import (
    FilteredSlice,
    ThroughPlaneFilter,
    sigma_for,
    slice_positions,
    slices_to_score,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from moeclip_transforms import ImageType, Plane, SliceView, Volume, Window
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


class SliceScoring:
    """The state of scoring one volume: its scores so far and what they are made of.

    Attributes:
        views: The planes that are scored, in this order.
        image_type: The image type that chose the window.
        window: The intensity window.
        scores: (x, y, z) float32, filled batch by batch.
        raw: (x, y, z) float32, the network's unbounded map; None where it is neither kept nor needed.
        routing: (level, x, y, z) uint8, the expert of each patch; None where it is not kept.
        done: Slices that the network has seen, all planes counted.
        total: Slices that it has to see, all planes counted.
    """

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
