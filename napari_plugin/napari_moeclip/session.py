"""One run on one image: its arrays, its layers' origins, its outcome. No Qt, no arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from moeclip_transforms import slice_views

from napari_moeclip import messages
from napari_moeclip.layers import LayerOrigin
from napari_moeclip.placement import place
from napari_moeclip.shared import SharedArray
from napari_moeclip.volumes import unstore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeclip_med.scoring import Finding
    from napari_moeclip.shared import SharedArrayReference
    from napari_moeclip.volumes import SharedVolume

AUTO = "auto"


@dataclass(frozen=True)
class Choices:
    """What the user chose.

    Attributes:
        model: Name or folder.
        prompt: What to look for; "" takes the model's own.
        kind: The kind of image, by its name.
        plane: The plane, by its name.
        device: Where to compute.
        keep_experts: Whether to keep which expert took each patch.
    """

    model: str = "lite"
    prompt: str = ""
    kind: str = "plain"
    plane: str = AUTO
    device: str = AUTO
    keep_experts: bool = False

    @property
    def load(self) -> messages.LoadRequest:
        """The request that loads the model."""
        return messages.LoadRequest(self.model, self.device, self.prompt)


class Session:
    """A volume being scored or scored, with arrays that the scoring process fills.

    Attributes:
        origin: The volume and how it is shown.
        scores: (x, y, z) float32, 0 to 1; filled while the run goes on.
        labels: (x, y, z) uint16, the finding's label.
        experts: (level, x, y, z) uint8, expert + 1; None if not kept.
        outcome: What the run gave; None before its end.
        progress: The last that was heard of the run.
    """

    def __init__(
        self,
        origin: LayerOrigin,
        scores: NDArray[np.float32],
        labels: NDArray[np.uint16],
        experts: NDArray[np.uint8] | None = None,
        references: tuple[SharedArrayReference, ...] = (),
    ) -> None:
        self.origin = origin
        self.scores = scores
        self.labels = labels
        self.experts = experts
        self.outcome: messages.RunOutcome | None = None
        self.progress: messages.Progress | None = None
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
    def reopen(cls, volume: SharedVolume, labels: SharedArrayReference) -> Session:
        """Take over a finished run whose map is a volume."""
        adopted = SharedArray.adopt(labels)
        return cls(
            LayerOrigin(volume, place(volume.light)),
            volume.voxels[0],
            unstore(adopted.array, volume.reference.storage),
        )

    def request(self, choices: Choices, threshold: float | None, first_index: int) -> messages.ScoreRequest:
        """Make the request that fills the arrays.

        Args:
            choices: What the user chose.
            threshold: The threshold; None takes the model's.
            first_index: Volume index, along the axis of the first plane scored, of the slice to score first.
        """
        scores, labels, *experts = self._references
        return messages.ScoreRequest(
            volume=self.origin.volume.reference,
            load=choices.load,
            plane=choices.plane,
            kind=choices.kind,
            threshold=threshold,
            order=self.order(choices.plane, first_index),
            scores=scores,
            labels=labels,
            routing=experts[0] if experts else None,
        )

    def first_axis(self, plane: str) -> int:
        """Give the volume axis along which the first plane is scored.

        Raises:
            InputError: If the plane does not exist for this volume.
        """
        from moeclip_transforms import Plane

        return slice_views(self.origin.volume.light, Plane(plane))[0].axes[0]

    def order(self, plane: str, first_index: int) -> tuple[int, ...]:
        """Order the slices of the first plane: the one on screen, then its neighbours outward."""
        from moeclip_transforms import Plane

        view = slice_views(self.origin.volume.light, Plane(plane))[0]
        indices = range(view.n_slices)
        return tuple(sorted(indices, key=lambda index: abs(view.volume_index(index) - first_index)))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings so far: none before the end."""
        return () if self.outcome is None else self.outcome.findings

    def show(self, array: NDArray[Any]) -> NDArray[Any]:
        """View an (x, y, z) array with the layer's axes."""
        return self.origin.placement.show(array)

    def origin_as(self, role: str) -> LayerOrigin:
        """Give the origin of one of this run's layers."""
        return LayerOrigin(self.origin.volume, self.origin.placement, role)

    def describe(self, voxel: tuple[int, int, int]) -> str:
        """Say what was found at a voxel: the score, the finding it belongs to, and the HU of a CT."""
        parts = [f"score {float(self.scores[voxel]):.3f}"]
        if label := int(self.labels[voxel]):
            parts.append(f"finding {label}")
        if self.origin.volume.light.series.modality == "CT":
            parts.append(f"{float(self.origin.volume.voxels[0][voxel]):.0f} HU")
        return ", ".join(parts)
