"""One run on one image: its arrays, its layers' origins, its outcome. No Qt, no arithmetic."""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from moeclip_transforms import Plane, slice_views

from moeclip_med.results.formats import ACQUIRED_NAME
from moeclip_med.scoring.review import Review, now
from moeclip_med.scoring.review_file import REVIEW_NAME
from napari_moeclip import answers, messages
from napari_moeclip.layers import LayerOrigin
from napari_moeclip.placement import place
from napari_moeclip.shared import SharedArray
from napari_moeclip.volumes import SharedVolume, unstore

if TYPE_CHECKING:
    from moeclip_transforms import SliceView
    from numpy.typing import NDArray

    from moeclip_med.scoring import Finding
    from moeclip_med.scoring.measures import FindingMeasures
    from napari_moeclip.shared import SharedArrayReference

AUTO = "auto"


@dataclass(frozen=True)
class Choices:
    """What the user chose.

    Attributes:
        model: Name or folder.
        prompt: What to look for; "" takes the model's own.
        image_type: The image type, by its name.
        plane: The plane, by its name.
        device: Where to compute.
        every_slice: Whether to score each slice, also where some are enough.
        keep_experts: Whether to keep which expert took each patch.
    """

    model: str = "lite"
    prompt: str = ""
    image_type: str = "plain"
    plane: str = AUTO
    device: str = AUTO
    every_slice: bool = False
    keep_experts: bool = False

    @property
    def load(self) -> messages.LoadRequest:
        """The request that loads the model."""
        return messages.LoadRequest(self.model, self.device, self.prompt)


class Session:
    """A volume being scored or scored, with arrays that the scoring process fills, and what a reader says of it.

    Attributes:
        run: The id by which the scoring process knows the run.
        record_id: The id in the run's record, which its review names.
        origin: The volume and how it is shown.
        scores: (x, y, z) float32, 0 to 1; filled while the run goes on.
        labels: (x, y, z) uint16, the finding's label.
        experts: (level, x, y, z) uint8, expert + 1; None if not kept.
        outcome: What the run gave; None before its end.
        provisional: A volume axis, and the slices along it whose scores will change with their neighbours' scores.
        review: What the reader says of the findings.
        folder: Where the run's results lie; None while they were not written.
        is_autosaved: Whether that folder was chosen by the program, not by the user.
    """

    def __init__(
        self,
        origin: LayerOrigin,
        scores: NDArray[np.float32],
        labels: NDArray[np.uint16],
        experts: NDArray[np.uint8] | None = None,
        references: tuple[SharedArrayReference, ...] = (),
    ) -> None:
        self.run = self.record_id = uuid.uuid4().hex
        self.origin = origin
        self.scores = scores
        self.labels = labels
        self.experts = experts
        self.outcome: answers.RunOutcome | None = None
        self.provisional: tuple[int, set[int]] = (2, set())
        self.review = Review()
        self.folder: Path | None = None
        self.is_autosaved = False
        self._earlier: list[Review] = []
        self._references = references

    @classmethod
    def start(cls, origin: LayerOrigin, levels: int) -> Session:
        """Make the arrays of a new run.

        Args:
            origin: The volume.
            levels: Levels of experts to keep; 0 keeps none.

        Raises:
            InputError: When there is not enough memory.
        """
        reference = origin.volume.reference
        shape, storage = reference.voxels.shape[1:], reference.storage
        scores, labels = SharedArray.create(shape, np.float32), SharedArray.create(shape, np.uint16)
        arrays = [scores, labels]
        experts = None
        if levels:
            kept = SharedArray.create((levels, *shape), np.uint8)
            experts = unstore(kept.array, storage, leading=1)
            arrays.append(kept)
        references = tuple(array.reference for array in arrays)
        return cls(origin, unstore(scores.array, storage), unstore(labels.array, storage), experts, references)

    @classmethod
    def reopen(cls, run: str, opened: answers.OpenedRun, folder: Path) -> Session:
        """Take over a finished run whose map is a volume.

        Args:
            run: The id by which it was asked for.
            opened: What the scoring process read.
            folder: Where it lies.
        """
        volume = SharedVolume(opened.volume, owns=True)
        labels = unstore(SharedArray.adopt(opened.labels).array, opened.volume.storage)
        session = cls(LayerOrigin(volume, place(volume.light)), volume.voxels[0], labels)
        session.run, session.record_id = run, opened.record_id
        session.review, session.folder = opened.review, folder
        return session

    def request(self, choices: Choices, first_index: int) -> messages.ScoreRequest:
        """Make the request that fills the arrays.

        Args:
            choices: What the user chose.
            first_index: Volume index, along the axis of the first plane scored, of the slice to score first.
        """
        scores, labels, *experts = self._references
        return messages.ScoreRequest(
            run=self.run,
            volume=self.origin.volume.reference,
            load=choices.load,
            plane=choices.plane,
            image_type=choices.image_type,
            every_slice=choices.every_slice,
            threshold=None,
            order=self.order(choices.plane, first_index),
            scores=scores,
            labels=labels,
            routing=experts[0] if experts else None,
        )

    @property
    def storage(self) -> tuple[int, int, int]:
        """The volume axes in the order in which the arrays lie in memory."""
        return self.origin.volume.reference.storage

    def change(self, review: Review) -> None:
        """Take a new review over; the one before can come back."""
        if review != self.review:
            self._earlier.append(self.review)
            self.review = replace(review, changed=now())

    def undo(self) -> bool:
        """Take the last change of the review back; False where there was none."""
        if not self._earlier:
            return False
        self.review = replace(self._earlier.pop(), changed=now())
        return True

    def first_axis(self, plane: str) -> int:
        """Return the volume axis along which the first plane is scored.

        Raises:
            InputError: If the plane does not exist for this volume.
        """
        return self._first_view(plane).axes[0]

    def order(self, plane: str, first_index: int) -> tuple[int, ...]:
        """Order the slices of the first plane: the one on screen, then its neighbours outward."""
        view = self._first_view(plane)
        indices = range(view.n_slices)
        return tuple(sorted(indices, key=lambda index: abs(view.volume_index(index) - first_index)))

    def _first_view(self, plane: str) -> SliceView:
        from moeclip_med.scoring.scored_plane import plane_to_score

        volume = self.origin.volume.light
        return slice_views(volume, plane_to_score(volume, Plane(plane)))[0]

    def hear(self, heard: answers.Progress) -> None:
        """Take over how far scoring is, and which slices are not final yet."""
        waiting = set(heard.indices[: heard.n_provisional])
        final = set(heard.indices[heard.n_provisional :])
        axis, before = self.provisional
        self.provisional = (heard.axis, ((before if axis == heard.axis else set()) | waiting) - final)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings so far: none before the end."""
        return () if self.outcome is None else self.outcome.findings

    @property
    def measures(self) -> tuple[FindingMeasures, ...]:
        """Diameters and intensities of the findings."""
        return () if self.outcome is None else self.outcome.measures

    def take(self, outcome: answers.RunOutcome) -> None:
        """Take over the findings of another threshold or review; what is said of scoring itself stays."""
        if self.outcome is not None:
            self.outcome = replace(
                self.outcome,
                threshold=outcome.threshold,
                findings=outcome.findings,
                measures=outcome.measures,
                notes=outcome.notes,
                changes=outcome.changes,
            )

    def voxel_to_show(self, row: int) -> tuple[float, float, float]:
        """Return where to go for a finding: the slice of its longest diameter, else its peak."""
        finding = self.findings[row]
        x, y, z = (float(value) for value in finding.peak_voxel)
        longest = self.measures[row].longest if row < len(self.measures) else None
        if longest is None:
            return (x, y, z)
        middle = [(a + b) / 2 for a, b in zip(longest.start, longest.stop, strict=True)]
        return (middle[0], middle[1], middle[2])

    def rank_of(self, label: int) -> int:
        """Return the rank of the finding whose voxels have a label."""
        return next((finding.rank for finding in self.findings if finding.label == label), label)

    def show(self, array: NDArray[Any]) -> NDArray[Any]:
        """View an (x, y, z) array with the layer's axes."""
        return self.origin.placement.show(array)

    def origin_as(self, role: str) -> LayerOrigin:
        """Return the origin of one of this run's layers."""
        return LayerOrigin(self.origin.volume, self.origin.placement, role)

    def describe(self, voxel: tuple[int, int, int]) -> str:
        """Say what was found at a voxel: the score, the finding it belongs to, and the HU of a CT."""
        parts = [f"score {float(self.scores[voxel]):.3f}"]
        if label := int(self.labels[voxel]):
            parts.append(f"finding {self.rank_of(label)}")
        if self.origin.volume.light.series.modality == "CT":
            parts.append(f"{float(self.origin.volume.voxels[0][voxel]):.0f} HU")
        return ", ".join(parts)


def autosave_folder(record_id: str) -> Path:
    """Return where a run is kept that the user has not saved, once something was said of it."""
    return Path.home() / "moeclip-med-results" / f"unsaved-{record_id[:12]}"


def remove_autosave(folder: Path) -> None:
    """Remove a run that was kept until the user saved it elsewhere; other files in its folder stay."""
    for name in ("anomaly.nii.gz", ACQUIRED_NAME, "run.json", REVIEW_NAME):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
