"""The runs that the scoring process holds: as the model found them, as reviewed, and beside a prior. No Qt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_moeclip import answers
from napari_moeclip.shared import SharedArray
from napari_moeclip.volumes import store_shape, unstore

if TYPE_CHECKING:
    from collections.abc import Callable

    from moeclip_transforms import Volume
    from numpy.typing import NDArray

    from moeclip_med.scoring import AnomalyVolume, Detector, SliceScores
    from moeclip_med.scoring.prior import FindingChange
    from moeclip_med.scoring.record import SettingsRecord
    from moeclip_med.scoring.registration import RigidFit
    from moeclip_med.scoring.review import Review

_RELATED = 0.5
"""From this correlation on a straight line relates the values of two images."""
_STEP = 3


class Run:
    """A run that a widget shows.

    Attributes:
        found: The run with the findings of its threshold; its labels are those of `reviewed`.
        reviewed: The run with the review in effect.
        review: What the reader said.
        prior: The earlier run beside it, or None.
    """

    def __init__(self, name: str, found: AnomalyVolume, model_threshold: float) -> None:
        from moeclip_med.scoring.review import Review

        self._name = name
        self.found = self.reviewed = found
        self._own = found.record.settings
        self.review = Review()
        self.prior: Prior | None = None
        self._model_threshold = model_threshold

    def find(self, threshold: float | None, review: Review) -> None:
        """List the findings at a threshold (None: as before) under a review."""
        from moeclip_med.scoring.review import apply_review

        limit = self.found.threshold if threshold is None else threshold
        self.found = find_at(self.found, limit, self._own)
        self.reviewed, self.review = apply_review(self.found, review), review
        if self.prior is not None:
            self.prior.follow(self.found)

    def changes(self) -> tuple[FindingChange, ...]:
        """Return how the findings changed since the prior; nothing without one."""
        return () if self.prior is None else self.prior.changes(self.reviewed)

    def outcome(self) -> answers.RunOutcome:
        """Return what the viewer shows of it."""
        from moeclip_med.results import result_notes

        reviewed, outcome = self.reviewed, self.reviewed.record.outcome
        rejected = reviewed.rejected
        return answers.RunOutcome(
            run=self._name,
            threshold=reviewed.threshold,
            model_threshold=self._model_threshold,
            findings=(*reviewed.findings, *(one.finding for one in rejected)),
            measures=(*reviewed.measures, *(one.measures for one in rejected)),
            notes=result_notes(reviewed),
            is_complete=reviewed.scored is None,
            slices_scored=outcome.slices_scored,
            slices_needed=outcome.slices_total if outcome.slices_needed is None else outcome.slices_needed,
            seconds=outcome.seconds,
            changes=self.changes(),
        )


class Prior:
    """An earlier run of the same patient, laid on the image of a current one.

    Attributes:
        run: The earlier run; of a finished one, under its own review.
        fit: How it lies on the current image.
        can_align: Whether it can be registered: its image is there.
        arrays: Its image (its map, where the image is not there), float32, and its labels, uint16, on the current
            grid in the current volume's order of memory; written anew whenever it is moved.
    """

    def __init__(
        self, current: AnomalyVolume, prior: AnomalyVolume, review: Review | None, storage: tuple[int, int, int]
    ) -> None:
        """Lay a prior on the current image: registered, unless both share a frame of reference.

        Args:
            current: The current run.
            prior: The earlier one.
            review: What a reader said of it; None for one that was scored just now, whose threshold follows.
            storage: The volume axes in the order in which the current volume lies in memory.

        Raises:
            InputError: When one of them has no patient coordinates.
        """
        from moeclip_med.scoring.registration import check_placed, shares_frame
        from moeclip_med.scoring.review import apply_review

        for volume in (current.volume, prior.volume):
            check_placed(volume)
        self._follows = review is None
        self.run = prior if review is None else apply_review(prior, review)
        self.can_align = current.has_image and prior.has_image
        self._registered: RigidFit | None = None
        self._storage = storage
        shape = store_shape(current.volume.shape, storage)
        self.arrays = (SharedArray.create(shape, np.float32), SharedArray.create(shape, np.uint16))
        self.fit = self._fit(current, on=self.can_align and not shares_frame(current.volume, prior.volume))
        self._move(current)

    def window(self, current: AnomalyVolume) -> tuple[float, float]:
        """Return the window that shows its image as the current image's shows that one.

        In HU that is the same window. Elsewhere values are related by a straight line through the aligned voxels; where
        the images are too different for that, it is a window of the prior's own.

        Args:
            current: The current run.
        """
        from napari_moeclip.sharing import windows_of

        if not self.run.has_image:
            return (0.0, 1.0)
        windows = windows_of(current.volume)
        low, high = windows.get(current.volume.series.image_type.value, next(iter(windows.values())))
        if current.volume.series.modality == self.run.volume.series.modality == "CT":
            return (low, high)
        if (self.fit.correlation or 0.0) >= _RELATED:
            part = (slice(None, None, _STEP),) * 3
            pairs = current.volume.array[0][part].ravel(), self._on_grid(0)[part].ravel()
            slope, offset = (float(value) for value in np.polyfit(*pairs, 1))
            return (slope * low + offset, slope * high + offset)
        return next(iter(windows_of(self.run.volume).values()))

    def notes(self, current: AnomalyVolume) -> tuple[str, ...]:
        """Return what has to be said before the two are compared, one sentence each."""
        from moeclip_med.scoring.registration import is_other_patient

        notes = []
        if is_other_patient(current.volume, self.run.volume):
            notes.append("The headers name two different patients; check that the prior is of this patient.")
        if not self.run.has_image:
            notes.append(
                "The prior's image is not open, so it lies by its own patient coordinates, and its map is shown; open "
                "its image first to align them."
            )
        if self.run.record.model.sha256 != current.record.model.sha256:
            notes.append("The prior was scored with another model; volumes of the two cannot be compared.")
        if self.run.threshold != current.threshold:
            notes.append(f"The prior's threshold is {self.run.threshold:.2f}, not {current.threshold:.2f}.")
        return tuple(notes)

    def align(self, current: AnomalyVolume, *, on: bool) -> None:
        """Register it with the current image, or let it lie by its own patient coordinates."""
        self.fit = self._fit(current, on=on and self.can_align)
        self._move(current)

    def follow(self, current: AnomalyVolume) -> None:
        """List its findings at the threshold of the current run, if it was scored with it."""
        if self._follows and self.run.threshold != current.threshold:
            self.run = find_at(self.run, current.threshold)
            self._move_labels(current)

    def changes(self, current: AnomalyVolume) -> tuple[FindingChange, ...]:
        """Return how the findings changed until the current run."""
        from moeclip_med.scoring.prior import match_findings

        return match_findings(current, self.run, self.fit.to_prior, self._on_grid(1))

    def _fit(self, current: AnomalyVolume, *, on: bool) -> RigidFit:
        from moeclip_transforms import Affine

        from moeclip_med.scoring.registration import RigidFit, measure_fit, register

        if not self.can_align:
            return RigidFit(Affine(np.eye(4)))
        if not on:
            return measure_fit(current.volume, self.run.volume)
        if self._registered is None:
            self._registered = register(current.volume, self.run.volume)
        return self._registered

    def _move(self, current: AnomalyVolume) -> None:
        from moeclip_med.scoring.registration import resample

        values = self.run.volume.array[0] if self.run.has_image else self.run.scores
        self._on_grid(0)[...] = resample(values, self.run.affine, current.volume, self.fit.to_prior)
        self._move_labels(current)

    def _move_labels(self, current: AnomalyVolume) -> None:
        from moeclip_med.scoring.prior import prior_labels

        self._on_grid(1)[...] = prior_labels(current, self.run, self.fit.to_prior)

    def _on_grid(self, place: int) -> NDArray[Any]:
        return unstore(self.arrays[place].array, self._storage)


def find_at(found: AnomalyVolume, threshold: float, own: SettingsRecord | None = None) -> AnomalyVolume:
    """Return a run with the findings of another threshold; its labels are written into.

    Args:
        found: The run.
        threshold: Score that a finding reaches.
        own: The settings it was scored with, whose threshold keeps its source; None: those of `found`.
    """
    from moeclip_med.scoring import find_findings
    from moeclip_med.scoring.record import USER_THRESHOLD

    record = found.record
    settings = record.settings
    smallest = settings.smallest_finding_ml
    result = find_findings(found.scores, found.volume, threshold, into=found.labels, min_volume_ml=smallest)
    own = settings if own is None else own
    source = own.threshold_source if threshold == own.threshold else USER_THRESHOLD
    settings = replace(settings, threshold=threshold, threshold_source=source)
    outcome = replace(record.outcome, regions_too_small=result.too_small)
    record = replace(record, settings=settings, outcome=outcome)
    return replace(found, findings=result.findings, record=record)


def prior_run(
    current: AnomalyVolume,
    volume: Volume,
    detector: Detector,
    on_slices: Callable[[SliceScores], None],
    should_stop: Callable[[], bool],
) -> AnomalyVolume:
    """Score an earlier image as the current one was scored: same planes, image type, threshold and choice of slices.

    Raises:
        InputError: When the image has no patient coordinates, or the user stopped.
    """
    from moeclip_transforms import Plane
    from moeclip_transforms.errors import InputError

    from moeclip_med.scoring import score_volume
    from moeclip_med.scoring.registration import check_placed

    for one in (current.volume, volume):
        check_placed(one)
    settings = current.record.settings
    found = score_volume(
        volume,
        detector,
        plane=Plane(settings.planes[0]) if len(settings.planes) == 1 else Plane.ALL,
        image_type=settings.kind,
        threshold=settings.threshold,
        on_slices=on_slices,
        should_stop=should_stop,
        min_volume_ml=settings.smallest_finding_ml,
        every_slice=settings.every_slice,
    )
    if found.scored is not None:
        raise InputError("The comparison was stopped; no prior is shown.")
    return found
