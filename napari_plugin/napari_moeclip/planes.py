"""The other two planes of what the viewer shows, beside it: one cursor, one window, one overlay.

Their layers share the arrays of the main viewer's and follow its settings.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Layer

from napari_moeclip.layers import origin_of, same_active
from napari_moeclip.linked_views import LinkedViews
from napari_moeclip.navigation import keep_in_sight

if TYPE_CHECKING:
    from napari import Viewer
    from numpy.typing import NDArray

CURSOR_LAYER = "cursor"
_FOLLOWED = ("visible", "opacity", "contrast_limits", "colormap", "gamma", "contour", "blending", "interpolation2d")
_DIMENSIONS = 3
_CURSOR_COLOUR = "#4c9be8"
_CURSOR_SHARE = 220
"""The lines are this part of the image's longest side wide."""


class LinkedPlanes(LinkedViews):
    """Two planes beside the viewer's own.

    Args:
        viewer: The viewer that leads.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer, "plane 2", "plane 3")
        self._twins: dict[Any, tuple[Layer, ...]] = {}
        self._image: Layer | None = None
        for layer in viewer.layers:
            self._add(layer)
        for emitter, callback in (
            (viewer.layers.events.inserted, self._on_inserted),
            (viewer.layers.events.removed, self._on_removed),
            (viewer.layers.events.reordered, self._on_reordered),
            (viewer.dims.events.order, self._turn),
        ):
            self.link(emitter, callback)
        self.link_points()
        self._add_cursor()
        self._turn()
        self._follow_point()
        self.fit()
        for model in self.models:
            self.link(model.canvas.events.size, keep_in_sight(model))

    def refresh(self, role_layer: Layer) -> None:
        """Show what was written into a layer's array since."""
        for twin in self._twins.get(role_layer.unique_id, ()):
            twin.refresh(extent=False, highlight=False)

    def let_go(self) -> None:
        """Take the cursor away, too."""
        super().let_go()
        self._twins.clear()
        if CURSOR_LAYER in self._viewer.layers:
            self._viewer.layers.remove(CURSOR_LAYER)

    def _add_cursor(self) -> None:
        """Add two lines that cross where the planes meet, across the first volume."""
        image = next((layer for layer in self._viewer.layers if origin_of(layer) or layer.ndim == _DIMENSIONS), None)
        if image is None or CURSOR_LAYER in self._viewer.layers or self._viewer.dims.ndim != _DIMENSIONS:
            return
        self._image = image
        step = max(image.extent.step)
        with same_active(self._viewer):
            self._viewer.add_vectors(
                self._cursor_lines(self._viewer.dims.point),
                name=CURSOR_LAYER,
                edge_color=_CURSOR_COLOUR,
                edge_width=np.ptp(image.extent.world, axis=0).max() / step / _CURSOR_SHARE,
                vector_style="line",
                opacity=0.6,
                scale=[step] * _DIMENSIONS,  # the same along all axes, so that lines are as wide in every plane
                units=image.units,
                axis_labels=image.axis_labels,
            )

    def _cursor_lines(self, point: Any) -> NDArray[np.float64]:  # noqa: ANN401 - numbers
        if self._image is None:
            return np.zeros((0, 2, _DIMENSIONS))
        lines = cross_lines(point, *self._image.extent.world)
        lines /= max(self._image.extent.step)
        return lines

    def _add(self, layer: Layer) -> None:
        twins = []
        for model in self.models:
            data, attributes, kind = layer.as_layer_data_tuple()
            twin = Layer.create(data, attributes, kind)
            model.layers.append(twin)
            twins.append(twin)
        self._twins[layer.unique_id] = tuple(twins)
        for name in _FOLLOWED:
            if hasattr(layer.events, name) and hasattr(twins[0], name):
                self._follow(layer, name)  # a layer's data tuple does not hold how labels are drawn
                self.link(getattr(layer.events, name), partial(self._follow, layer, name))
        self.link(layer.events.data, partial(self._follow, layer, "data"))

    def _follow(self, layer: Layer, name: str, _: object = None) -> None:
        value = getattr(layer, name)
        if name == "contour":
            value = min(value, 1)  # in voxels, which are long across slices
        for twin in self._twins.get(layer.unique_id, ()):
            setattr(twin, name, value)

    def _on_inserted(self, event: Any) -> None:  # noqa: ANN401 - napari's events are untyped
        self._add(event.value)
        self._on_reordered()
        if len(self._viewer.layers) == 1:
            self._add_cursor()
        self._turn()
        self._follow_point()
        if len(self.models[0].layers) <= 2:  # noqa: PLR2004 - the first image and the cursor
            self.fit()

    def _on_removed(self, event: Any) -> None:  # noqa: ANN401 - napari's events are untyped
        for twin, model in zip(self._twins.pop(event.value.unique_id, ()), self.models, strict=False):
            model.layers.remove(twin)

    def _on_reordered(self, _: object = None) -> None:
        for place, model in enumerate(self.models):
            wanted = [self._twins[layer.unique_id][place] for layer in self._viewer.layers]
            if wanted != list(model.layers):
                for target, twin in enumerate(wanted):
                    model.layers.move(model.layers.index(twin), target)

    def _turn(self, _: object = None) -> None:
        """Show in each model a plane that the viewer does not."""
        for model, order in zip(self.models, other_orders(self._viewer.dims.order), strict=False):
            if len(order) == model.dims.ndim:
                model.dims.order = order

    def _went(self, point: Any) -> None:  # noqa: ANN401 - a sequence of numbers
        if CURSOR_LAYER in self._viewer.layers and len(point) == _DIMENSIONS:
            self._viewer.layers[CURSOR_LAYER].data = self._cursor_lines(point)


def other_orders(order: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the orders of axes that show the two planes which an order does not.

    Args:
        order: As napari has it: hidden axes, then rows and columns; the last three are the image's.
    """
    if len(order) < _DIMENSIONS:
        return []
    leading, spatial = order[:-_DIMENSIONS], sorted(order[-_DIMENSIONS:])
    hidden = order[-_DIMENSIONS]
    return [(*leading, other, *(axis for axis in spatial if axis != other)) for other in spatial if other != hidden]


def cross_lines(point: Any, low: Any, high: Any) -> NDArray[np.float64]:  # noqa: ANN401 - numbers
    """Return a line along each axis through a point of a box, (3, 2, 3): start and direction."""
    lines = np.zeros((_DIMENSIONS, 2, _DIMENSIONS))
    for axis in range(_DIMENSIONS):
        lines[axis, 0] = point
        lines[axis, 0, axis] = low[axis]
        lines[axis, 1, axis] = high[axis] - low[axis]
    return lines
