"""Correct an outline by hand: a copy of one finding in napari's own labels tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms.errors import InputError

from moeclip_med.scoring.review import Decision, FindingReview, Outline
from napari_moeclip import layers

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image, Labels

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
            mask[session.labels == finding.label] = 1
            name = f"outline of finding {finding.rank}"
        self._session = session
        self._entry = None if finding is None else session.review.of(finding.key)
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
            msg = "No outline is being edited."
            raise InputError(msg)
        session = self._session
        mask = np.asarray(session.origin.placement.hide(np.asarray(self._layer.data))) > 0
        outline = Outline.of(mask)
        if self._entry is not None:
            from dataclasses import replace

            return replace(self._entry, outline=outline)
        return FindingReview(_free_voxel(mask, session), decision=Decision.ACCEPTED, outline=outline, is_drawn=True)

    def end(self) -> None:
        """Take the layer away."""
        layer, self._layer, self._session, self._entry = self._layer, None, None, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)


def _free_voxel(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], session: Session) -> tuple[int, int, int]:
    """Return the voxel of the highest score that no other finding is known by."""
    known = {finding.key for finding in session.findings} | {entry.voxel for entry in session.review.entries}
    voxels = np.argwhere(mask)
    scores = session.scores[tuple(voxels.T)]
    for place in np.argsort(-scores, kind="stable"):
        x, y, z = (int(value) for value in voxels[place])
        if (x, y, z) not in known:
            return (x, y, z)
    msg = "Every voxel of this outline is the peak of another finding; edit that finding instead."
    raise InputError(msg)
