"""Correct an outline by hand: a copy of one finding in napari's own labels tools."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms.errors import InputError

from moeclip_med.scoring.review import Decision, FindingReview, Outline
from napari_moeclip import layers

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image, Labels, Layer

    from moeclip_med.scoring import Finding
    from napari_moeclip.session import Session

_OPACITY = 0.5


class OutlineEditor:
    """One outline at a time.

    Args:
        viewer: The viewer.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._layer: Labels | None = None
        self._session: Session | None = None
        self._entry: FindingReview | None = None
        self._active: Layer | None = None

    @property
    def is_active(self) -> bool:
        """Whether an outline is being edited."""
        return self._layer is not None

    @property
    def is_there(self) -> bool:
        """Whether the layer that is edited is still among the viewer's."""
        return self._layer is not None and self._layer in self._viewer.layers

    def begin(self, session: Session, image: Image, finding: Finding | None) -> None:
        """Open a copy of a finding's voxels for painting, or an empty one for a new finding.

        Args:
            session: The run.
            image: The layer that the run is of.
            finding: What to correct; None draws a new one.
        """
        self.end()
        mask: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = np.zeros(session.labels.shape, np.uint8)
        name = "new finding"
        if finding is not None:
            if finding.label:
                mask[session.labels == finding.label] = 1
            else:
                _put_rejected(mask, finding, session)
            name = f"outline of finding {finding.rank}"
        self._session = session
        self._entry = None if finding is None else session.review.of(finding.key)
        self._active = self._viewer.layers.selection.active
        attributes = layers.edit_layer_attributes(image, session.origin_as("edit"), name)
        self._layer = self._viewer.add_labels(session.show(mask), opacity=_OPACITY, **attributes)
        self._layer.selected_label = 1
        self._layer.mode = "paint"
        self._layer.brush_size = max(1, round(min(mask.shape[:2]) / 40))

    def outline(self) -> FindingReview:
        """Return what was painted, as the reader's word on the finding.

        Raises:
            InputError: When nothing is painted.
        """
        if self._layer is None or self._session is None:
            raise InputError("No outline is being edited.")
        session = self._session
        mask = np.asarray(session.origin.placement.hide(np.asarray(self._layer.data))) > 0
        outline = Outline.of(mask)
        if self._entry is not None:
            decision = self._entry.decision
            decision = Decision.ACCEPTED if decision is Decision.REJECTED else decision  # corrected, so meant to stay
            return replace(self._entry, outline=outline, decision=decision)
        return FindingReview(_free_voxel(mask, session), decision=Decision.ACCEPTED, outline=outline, is_drawn=True)

    def end(self) -> None:
        """Take the layer away."""
        layer, self._layer, self._session, self._entry = self._layer, None, None, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
            self._viewer.layers.selection.active = self._active if self._active in self._viewer.layers else None
        self._active = None


def _put_rejected(mask: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], finding: Finding, session: Session) -> None:
    """Mark the voxels of a rejected finding, which gave up its label: the reader's outline, else as it was found."""
    from moeclip_med.scoring.findings import region_of

    if finding.review is not None and finding.review.outline is not None:
        mask[finding.review.outline.box()][finding.review.outline.mask()] = 1
        return
    threshold = 0.5 if session.outcome is None else session.outcome.threshold
    box = tuple(slice(start, stop) for start, stop in zip(finding.box_start, finding.box_stop, strict=True))
    mask[box][region_of(finding, session.scores, session.origin.volume.light, threshold)] = 1


def _free_voxel(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], session: Session) -> tuple[int, int, int]:
    """Return the voxel of the highest score that no other finding is known by."""
    known = {finding.key for finding in session.findings} | {entry.voxel for entry in session.review.entries}
    voxels = np.argwhere(mask)
    scores = session.scores[tuple(voxels.T)]
    for place in np.argsort(-scores, kind="stable"):
        x, y, z = (int(value) for value in voxels[place])
        if (x, y, z) not in known:
            return (x, y, z)
    raise InputError("Every voxel of this outline is the peak of another finding; edit that finding instead.")
