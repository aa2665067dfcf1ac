"""The layers of a run: its map, the outlines of its findings, its experts; made once, used again by the next run."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_moeclip import layers
from napari_moeclip.navigation import cuts_along, shown_volume_slice

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari import Viewer
    from napari.layers import Image, Labels, Layer, Vectors

    from moeclip_med.scoring.measures import FindingMeasures
    from napari_moeclip.answers import Progress
    from napari_moeclip.session import Session

_PLANE, _DIMENSIONS = 2, 3
_OUTLINE_WIDTH = 2
_SOLID_OPACITY = 0.35
_ATTENUATION = 0.4
_DIAMETER_COLOUR = "#ffd166"
_DIAMETER_SHARE = 220
"""The lines are this part of the image's longest side wide."""
_REFRESH_MS = 30
_REFRESH_ACROSS_MS = 400
_REFRESH_3D_MS = 1500


class RunLayers:
    """What a run adds to the viewer.

    Attributes:
        image: The image that the last run was of; None before the first.
        on_refresh: Called with a layer whose array was written into, for those that show the same array elsewhere.

    Args:
        viewer: The viewer.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._layers: dict[str, Image | Labels | Vectors] = {}
        self.on_refresh: Callable[[Layer], None] = lambda _: None
        self.image: Image | None = None

    @property
    def shows_slices(self) -> bool:
        """Whether the viewer shows slices, not 3-D."""
        return bool(self._viewer.dims.ndisplay == _PLANE)

    @property
    def is_image_there(self) -> bool:
        """Whether the image is still among the viewer's layers."""
        return self.image is not None and self.image in self._viewer.layers

    def begin(self, image: Image, session: Session, threshold: float) -> None:
        """Put the map of a new run on its image; layers of an earlier run on the same image are used again."""
        self.put_extras_away()
        if self.image != image:  # napari wraps a layer anew each time it hands it out
            self._drop("anomaly", "findings")
        self.image = image
        outlines, overlay = self._kept("findings"), self._kept("anomaly")
        if outlines is not None:
            outlines.visible = False
        data = session.show(session.scores)
        if overlay is not None and not _lies_on(overlay, image, session):
            self._drop("anomaly", "findings")
            overlay = None
        if overlay is None:
            attributes = layers.anomaly_layer_attributes(image, session.origin_as("anomaly"), threshold)
            with layers.same_active(self._viewer):
                overlay = self._layers["anomaly"] = self._viewer.add_image(data, rgb=False, **attributes)
        else:
            overlay.metadata = {layers.METADATA_KEY: session.origin_as("anomaly")}
            overlay.data, overlay.contrast_limits = data, layers.anomaly_contrast(threshold)

    def put_extras_away(self) -> None:
        """Take away what belongs to one finding or was asked for; what a run always has is used again."""
        self._drop("experts", "diameters")

    def clear(self) -> None:
        """Take all layers away."""
        self._drop(*self._layers)
        self.image = None

    def refresh(self, role: str = "anomaly") -> None:
        """Show what was written into the run's arrays since."""
        layer = self._kept(role)
        if layer is not None:
            layer.refresh(extent=False, highlight=False)
            self.on_refresh(layer)

    def refresh_pause(self, session: Session, heard: Progress) -> int | None:
        """Say how soon to draw what was just scored, ms; None where it is not on screen.

        Drawing takes the processor from scoring where there is no graphics card, so nothing is drawn for nothing.
        """
        if self.image is None or not self.is_image_there:
            return None
        if not self.shows_slices:
            return _REFRESH_3D_MS
        if not cuts_along(self._viewer, session.origin, heard.axis):
            return _REFRESH_ACROSS_MS
        shown = shown_volume_slice(self._viewer, self.image, session.origin, heard.axis)
        return _REFRESH_MS if shown in heard.indices else None

    def show_threshold(self, threshold: float) -> None:
        """Show the map from a threshold on."""
        overlay = self._kept("anomaly")
        if overlay is not None:
            overlay.contrast_limits = layers.anomaly_contrast(threshold)

    def add_outlines(self, session: Session) -> None:
        """Outline the findings of a run that has ended, not to be seen yet: napari would draw at each step."""
        if self.image is None:
            return
        data, outlines = session.show(session.labels), self._kept("findings")
        colours = layers.outline_colormap(None)
        if outlines is None:
            attributes = layers.findings_layer_attributes(self.image, session.origin_as("findings"), colours)
            with layers.same_active(self._viewer):
                outlines = self._layers["findings"] = self._viewer.add_labels(data, visible=False, **attributes)
        else:
            outlines.metadata = {layers.METADATA_KEY: session.origin_as("findings")}
            outlines.data, outlines.colormap = data, colours
        outlines.editable = False  # an outline is corrected on a copy, see `editing`
        self._draw_outlines(outlines)

    def show_outlines(self) -> None:
        """Show the outlines that were added."""
        outlines = self._kept("findings")
        if outlines is not None:
            outlines.visible = True

    def colour_outlines(self, selected: int | None) -> None:
        """Colour the outlines: the finding of one label selected, or none."""
        outlines = self._kept("findings")
        if outlines is not None:
            outlines.colormap = layers.outline_colormap(selected)

    def show_diameters(self, session: Session, measures: FindingMeasures) -> None:
        """Draw the diameters of a finding, in the slice where it is longest; nothing where there are no mm."""
        lines, drawn = layers.diameter_lines(session.origin, measures), self._kept("diameters")
        if drawn is not None:
            drawn.data = lines
        elif len(lines) and self.image is not None:
            attributes = {
                "name": f"diameters · {self.image.name}",
                "edge_color": _DIAMETER_COLOUR,
                "edge_width": max(session.scores.shape) / _DIAMETER_SHARE,
                "vector_style": "line",
                **layers.layer_transform(self.image, session.origin.placement.leading),
            }
            with layers.same_active(self._viewer):
                self._layers["diameters"] = self._viewer.add_vectors(lines, **attributes)

    def show_experts(self, session: Session, level: int) -> tuple[float, ...]:
        """Show which expert took each patch at a level; -1 hides them.

        Returns:
            The share of patches of each expert; empty when hidden.
        """
        self._drop("experts")
        self.activate_map()
        if level < 0 or session.experts is None or session.outcome is None or self.image is None:
            return ()
        shares = session.outcome.expert_shares[level]
        attributes = layers.experts_layer_attributes(self.image, session.origin_as("experts"), level, shares)
        with layers.same_active(self._viewer):
            self._layers["experts"] = self._viewer.add_labels(session.show(session.experts[level]), **attributes)
        return shares

    def show_volume(self, *, on: bool) -> None:
        """Show image, map and findings in 3-D, or slices again."""
        if on:
            self.before_volume()  # napari would warn about contours before it says that it goes to 3-D
        self._viewer.dims.ndisplay = _DIMENSIONS if on else _PLANE

    def before_volume(self) -> None:
        """Make ready for 3-D: solid findings (napari draws contours in slices only), rays through the image."""
        overlay, outlines = self._kept("anomaly"), self._kept("findings")
        if overlay is not None and self.image is not None and not self.image.rgb:
            self.image.rendering, self.image.attenuation = "attenuated_mip", _ATTENUATION
            overlay.rendering = "mip"
        if outlines is not None:
            outlines.contour, outlines.opacity = 0, _SOLID_OPACITY

    def after_volume(self) -> None:
        """Outline the findings again, now that slices are shown."""
        outlines = self._kept("findings")
        if outlines is not None:
            self._draw_outlines(outlines)

    def activate_map(self) -> None:
        """Make the map the active layer, so that its controls and its status are shown."""
        overlay = self._kept("anomaly")
        if overlay is not None:
            self._viewer.layers.selection.active = overlay

    def _draw_outlines(self, outlines: Labels) -> None:
        outlines.contour, outlines.opacity = (_OUTLINE_WIDTH, 1.0) if self.shows_slices else (0, _SOLID_OPACITY)

    def _kept(self, role: str) -> Any:  # noqa: ANN401 - the layer of that role
        """Return a layer, if the user has not removed it."""
        layer = self._layers.get(role)
        return layer if layer is not None and layer in self._viewer.layers else None

    def _drop(self, *roles: str) -> None:
        for role in roles:
            layer = self._layers.pop(role, None)
            if layer is not None:
                with suppress(ValueError):  # the user removed it
                    self._viewer.layers.remove(layer)


def _lies_on(overlay: Layer, image: Layer, session: Session) -> bool:
    """Whether a layer of an earlier run lies where this run's map belongs: at the same time, on the same axes."""
    if overlay.ndim != image.ndim:
        return False
    there = layers.layer_transform(image, session.origin.placement.leading)
    return bool(
        np.allclose(overlay.translate, there["translate"])
        and np.allclose(overlay.scale, there["scale"])
        and np.allclose(overlay.affine.affine_matrix, there["affine"])
    )
